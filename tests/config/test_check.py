"""Choices that are right by themselves and wrong together."""

import pytest

from pomelo_lab.config.check import ConfigError, NotForThisData
from pomelo_lab.results.grid import cells
from tests.running import config

PORTRAITS = ("dataset=portraits", "dataset.label=Smiling", "metrics=none")


def problems(tmp_path, *overrides) -> str:
    """What the config check says, or nothing."""
    try:
        config(tmp_path, *overrides)
    except ConfigError as error:
        return str(error)
    return ""


def test_what_only_the_data_lacks_is_told_apart_from_mistakes(tmp_path):
    """A cell of a grid that another data set could build, against a config that is wrong on every data set."""
    with pytest.raises(NotForThisData, match="sampler.dataset needs a Portraits, the job has Digits") as ideal:
        config(tmp_path, "sampler=ideal")
    assert ideal.value.reason == "needs Portraits, not Digits" and set(ideal.value.lacking) == {"sampler"}
    with pytest.raises(NotForThisData) as masks:
        config(tmp_path, "explainer=ideal_mask", "metrics=none")
    assert masks.value.reason == "needs masks, Digits has none"
    with pytest.raises(ConfigError) as both:
        config(tmp_path, "sampler=ideal", "n_images=0")
    assert not isinstance(both.value, NotForThisData) and "2 problems" in str(both.value)


def test_a_papers_suite_leaves_out_what_the_data_cannot_give(tmp_path):
    """A metric that a user asked for is refused; the suite of a published table was not chosen for this data set."""
    asked = ("metrics=explanation", "sampler=gray", "explainer=lime")
    with pytest.raises(NotForThisData, match="IoU needs masks"):
        config(tmp_path, *asked)
    made = config(tmp_path, *asked, "paper_table=pomelo_table2")
    assert made["metrics"]["iou"] is None and made["left_out"]["metrics.iou"] == "needs masks, Digits has none"
    assert any(made["metrics"].values()) and "left_out" not in config(tmp_path, "paper_table=pomelo_table2")
    with pytest.raises(NotForThisData, match="no metric is left: metrics.localization: needs boxes"):
        others = [f"metrics.{name}=null" for name in ("degenerate", "moving", "left", "unreached")]
        config(tmp_path, "metrics=localization", *others, "paper_table=agarwal_table2")


@pytest.mark.parametrize("column", ["Smiling", "${dataset.label}", "3 classifier.n_outputs=7"])
def test_one_output_goes_with_the_label(tmp_path, column):
    assert problems(tmp_path, *PORTRAITS, *f"classifier.column={column}".split()) == ""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["classifier.column=Young"],
            "column=Young explains Young, dataset.label is Smiling: take classifier.column=Smiling",
        ),
        (
            ["classifier.column=0"],
            "dataset.label is Smiling: take classifier.column=Smiling; where the outputs are others",
        ),
        (
            ["classifier.column=Smilling"],
            "column must be a position or an attribute of Portraits, got 'Smilling', did you mean 'Smiling'?",
        ),
        (["classifier.column=99"], "classifier.column must be below"),
        (
            ["classifier.column=Smiling", "classifier.n_outputs=3"],
            "column must be a position, got 'Smiling': the 3 outputs are not the",
        ),
        (
            ["classifier.column=Smiling", "dataset.label=hair_color"],
            "answers two classes, absent and present, dataset Portraits has 5: choose",
        ),
    ],
)
def test_one_output_and_another_label_are_refused(tmp_path, overrides, expected):
    texts = problems(tmp_path, *PORTRAITS, *overrides)
    assert expected in texts and "1 problem" in texts


def test_without_attributes_the_user_says_how_many_outputs_there_are(tmp_path):
    folder = ("dataset=image_folder", "dataset.root=x", "metrics=none", "classifier.column=0")
    assert "classifier.n_outputs is missing: dataset ImageFolder has no attributes" in problems(tmp_path, *folder)
    assert problems(tmp_path, *folder, "classifier.n_outputs=3", "classifier.weights=x") == ""
    learnt = problems(tmp_path, *folder, "classifier.n_outputs=3", "classifier.weights=auto")
    assert "no attributes from which the 3 outputs could be learnt, got auto" in learnt


def test_metrics_of_a_label_name_themselves_on_data_without_labels(tmp_path):
    """It ended in "Interpolation key 'dataset.label' not found" of the first one."""
    text = problems(
        tmp_path, "dataset=digits", "networks=tiny", "explainer=dime", "sampler=none", "metrics=counterfactual"
    )
    assert "metrics.mnac_rest.oracle" in text and "metrics.target_seen.oracle" in text and "Interpolation" not in text


def test_data_that_a_judge_is_trained_on(tmp_path):
    data = ("dataset=portraits", "dataset.label=Smiling", "dataset.spurious.attribute=Smiling")
    marks = ("explainer=ideal_counterfactual", "sampler=none", *data, "metrics=mark")
    node = "metrics.cd_mark.oracle.trained_on"
    assert problems(tmp_path, *marks) == ""
    assert f"{node}.spurious.rate must be a number in [0, 1], got 1.5" in problems(
        tmp_path, *marks, f"{node}.spurious.rate=1.5"
    )
    assert f"{node}.size_pix" in problems(tmp_path, *marks, f"+{node}.size_pix=64")


def test_features_of_a_black_box_come_from_an_embedder():
    black_box = [
        "sampler=gray",
        "scale=smoke",
        "classifier=callable",
        "classifier.function=f:g",
        "classifier.num_classes=5",
    ]
    with pytest.raises(
        ConfigError,
        match=r"metrics.mahalanobis: Mahalanobis needs features or gradients, classifier "
        r"CallableClassifier",
    ):
        cells("pomelo_generators", black_box)
    (cell,) = cells("pomelo_generators", [*black_box, "+classifier@metrics.mahalanobis.embedder=resnet18"])
    assert cell.config["metrics"]["mahalanobis"]["embedder"]["architecture"] == "resnet18"


def test_what_an_explainer_does_not_give_is_said_before_the_job(tmp_path):
    given = problems(
        tmp_path, "explainer=rise", "metrics=[flips,explanation]", "~metrics.iou", "~metrics.emr", "~metrics.emp"
    )
    text = "metrics.flip_rate: FlipRate scores the counterfactual of an explanation, RiseExplainer gives none"
    assert f"{text}; drop it with ~metrics.flip_rate" in given
    assert "metrics.stability: Stability scores the coefficient of an explanation, RiseExplainer gives none" in given
    assert "coefficient" in problems(
        tmp_path, "explainer=random", "explainer.level=pixel", "metrics=explanation", "~metrics.iou"
    )
    kept = ("metrics=explanation", "~metrics.iou", "~metrics.emr", "~metrics.emp")
    assert not problems(tmp_path, *kept) and not problems(tmp_path, "explainer=random", *kept)


def test_every_explainer_says_what_it_gives():
    """Contract: a new component that does not say it is found out by metrics in the middle of a job."""
    import yaml

    from pomelo_lab.config.signature import locate
    from tests.running import ROOT

    for path in sorted((ROOT / "conf" / "explainer").glob("*.yaml")):
        node = yaml.safe_load(path.read_text())
        if "_target_" in node:
            assert locate(node["_target_"]).gives is not None, path.name


@pytest.mark.parametrize(
    ("dataset", "file"),
    [("chexpert", "CheXpert-v1.0-small/train"), ("image_folder", "<root>"), ("celeba", "list_attr_celeba")],
)
def test_a_missing_root_says_what_the_folder_holds(tmp_path, dataset, file):
    texts = problems(tmp_path, f"dataset={dataset}", "metrics=none", "sampler=gray")
    assert "dataset.root is missing: expected a text, the folder that holds\n" in texts and file in texts
