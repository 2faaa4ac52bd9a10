"""A class, its name, its position and an output of the network are not taken for one another."""

import pytest

from pomelo_lab.config.target import check_target, class_index, order_problem, output_problem

FOLDERS = ("1", "10", "2", "3")


@pytest.mark.parametrize(("rule", "index"), [("1", 0), ("10", 1), (10, 1), ("3", 3), (0, 0)])
def test_a_name_comes_first_and_a_number_that_is_no_name_is_a_position(rule, index):
    assert class_index(rule, FOLDERS) == index


def test_names_that_are_their_positions_may_be_written_as_numbers():
    assert [class_index(k, [str(d) for d in range(10)]) for k in range(10)] == list(range(10))


def test_a_number_with_two_meanings_is_refused_with_both():
    with pytest.raises(
        ValueError,
        match=r"target=1 is the name of one class and the position of another, '10': quote "
        r".*target='1'.*target='10'",
    ):
        class_index(1, FOLDERS)
    assert class_index(2, FOLDERS) == 2  # both mean the same


@pytest.mark.parametrize("rule", [True, False, 17.5, 4, -1, "blondd"])
def test_anything_else_is_refused(rule):
    with pytest.raises(ValueError, match="target must be predicted, label, one of blond, black or a position below 2"):
        class_index(rule, ("blond", "black"))


def test_a_long_list_of_classes_is_cut():
    with pytest.raises(ValueError) as error:
        class_index("x", [f"class {k}" for k in range(1000)])
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("rule", ["label", "predicted"])
def test_a_rule_that_is_also_the_name_of_a_class_is_refused_with_the_way_to_say_either(rule):
    names = ("a", rule, "z")
    with pytest.raises(
        ValueError,
        match=f"target={rule} is a rule, and .* a class called {rule}: say target=1 for this class, or rename",
    ):
        check_target(rule, names)
    check_target(1, names)
    check_target(rule, ("a", "z"))


@pytest.mark.parametrize(
    ("node", "n_outputs", "n_classes", "target", "images", "problem"),
    [
        ({}, 2, 2, "label", "all", ""),
        ({}, 1000, 10, "predicted", "all", ""),
        (
            {},
            1000,
            10,
            "label",
            "all",
            "target=label takes the data set's 10 classes for the classifier's 1000 outputs",
        ),
        ({}, 1000, 10, "predicted", "correct", "images=correct takes"),
        ({}, 1, 2, "predicted", "all", "classifier.num_classes=1: the data set has 2 classes"),
        ({"class_names": None}, 2, 3, "predicted", "all", "classifier: its network has 2 outputs, the data set has 3"),
        ({"output": "sigmoid"}, 1, 2, "predicted", "all", ""),
        (
            {"output": "sigmoid"},
            1,
            2,
            "label",
            "all",
            "target=label takes the data set's 2 classes for the classifier's 1 outputs",
        ),
        ({"output": "sigmoid", "column": 3}, 2, 2, "label", "all", ""),
    ],
)
def test_outputs_that_are_not_the_classes(node, n_outputs, n_classes, target, images, problem):
    actual = output_problem(node, n_outputs, n_classes, target, images)
    assert actual.startswith(problem) and bool(actual) == bool(problem)


def test_outputs_of_the_same_names_in_another_order():
    cats, dogs = ("cat", "dog"), ("dog", "cat")
    text = "target=label: class 0 of the data set is 'dog', output 0 of the classifier is 'cat'"
    assert order_problem(cats, dogs, "label", "all").startswith(text)
    assert order_problem(cats, dogs, "predicted", "correct").startswith("images=correct")
    for outputs, classes, target in ((cats, cats, "label"), (cats, dogs, "cat"), (None, dogs, "label")):
        assert order_problem(outputs, classes, target, "all") == ""
    assert order_problem(cats, ("Katze", "Hund"), "label", "all") == ""
