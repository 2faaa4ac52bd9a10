"""What a job fills into its classifier."""

import weakref

import pytest
import torch

from pomelo_lab.config.training_data import full_network_node
from pomelo_lab.engine.components import Components, release
from pomelo_lab.run import run
from pomelo_lab.training.trained import training_key
from pomelo_lab.weights import FILE, save
from tests.running import config

LABEL = ("dataset=portraits", "dataset.size_px=16", "classifier=plain", "classifier.width=4", "metrics=none")


def parts(tmp_path, *overrides) -> Components:
    return Components(config(tmp_path, *LABEL, "dataset.label=Smiling", *overrides))


def test_one_output_is_counted_in_the_attributes_of_the_data_set(tmp_path):
    components = parts(tmp_path, "classifier.column=${dataset.label}")
    names = components.dataset.attribute_names
    assert components.classifier.column == names.index("Smiling") and components.classifier.n_outputs == len(names)
    assert components.classifier.num_classes == components.dataset.num_classes == 2
    same = parts(tmp_path, f"classifier.column={names.index('Smiling')}").classifier
    assert same.digest() == components.classifier.digest() != parts(tmp_path).classifier.digest()


def test_outputs_that_are_no_attributes_are_counted_by_the_user(tmp_path):
    classifier = parts(tmp_path, "classifier.column=2", "classifier.n_outputs=3").classifier
    assert classifier.network.head.out_features == 3 and classifier.probability(torch.rand(2, 3, 16, 16)).shape == (
        2,
        2,
    )


@pytest.mark.parametrize("label", ["Smiling", "Young"])
def test_outputs_share_the_training_of_the_whole_network(tmp_path, label):
    multi = parts(tmp_path, "classifier.output=sigmoid", "classifier.init_seed=5")
    node, dataset = {**multi.config["classifier"], "weights": "auto"}, multi.config["dataset"]
    save(
        multi.classifier.network,
        tmp_path / "weights" / "plain_portraits-1" / FILE,
        {"component": node, "dataset": dataset},
    )
    one = parts(
        tmp_path,
        f"dataset.label={label}",
        f"classifier.column={label}",
        "classifier.init_seed=5",
        "classifier.weights=auto",
    )
    images = torch.rand(2, 3, 16, 16)
    expected = multi.classifier.probability(images)[:, one.dataset.attribute_names.index(label)]
    torch.testing.assert_close(one.classifier.probability(images)[:, 1], expected)
    assert (
        training_key(one.config["classifier"], dataset)
        == training_key(node, dataset)
        == training_key(full_network_node(node), dataset)
    )


def test_a_network_without_a_rule_is_refused_before_it_is_trained(tmp_path):
    overrides = (
        "classifier=resnet18",
        "classifier.architecture=swin_t",
        "classifier.weights=auto",
        "explainer=deep_lift",
        "sampler=mean_dataset",
    )
    for dry in ("true", "false"):
        with pytest.raises(
            ValueError,
            match=r"DeepLiftExplainer has no rule for this network: features.0.2 "
            r"\(LayerNorm\) calls native_layer_norm",
        ):
            run(config(tmp_path, *overrides, "dataset.size_px=32", f"dry_run={dry}"))
    assert not list(tmp_path.rglob("*.safetensors")) and not (tmp_path / "explanation").exists()


def test_a_judge_inside_a_metric_learns_the_number_of_classes_from_the_data_set(tmp_path):
    judge = (
        "metrics=removal",
        "metrics.removal_lpips_oracle=null",
        "+classifier@metrics.removal_accuracy.judge=resnet18",
    )
    given = (*LABEL[:2], "classifier=plain", "sampler=gray", *judge, "metrics.removal_accuracy.judge.weights=null")
    actual = Components(config(tmp_path, *given)).metrics["removal_accuracy"].judge
    assert actual.num_classes == 5 and actual.architecture == "resnet18"


def test_networks_are_released_when_no_later_job_names_them(tmp_path):
    """A grid over thirty classifiers held all of them."""
    first, second = (
        parts(tmp_path, "sampler=ddim", "networks=tiny", "generator.weights=null", f"classifier.init_seed={seed}")
        for seed in (0, 1)
    )
    classifier, generator, dataset = (weakref.ref(one) for one in (first.classifier, first.generator, first.dataset))
    config = first.config
    del first
    release([second.config, config])
    assert classifier() is not None, "a later job names it"
    release([second.config])
    assert classifier() is None and generator() is not None and dataset() is not None, (
        "the later job shares the generator and the data"
    )
    assert second.generator is generator() and second.dataset is dataset()
    generator_of_second = weakref.ref(second.generator)
    del second
    release([])
    assert generator_of_second() is None


def test_weights_that_are_found_later_are_the_ones_that_a_config_names(tmp_path):
    """`auto` names whatever was found; a file names itself."""
    one = parts(tmp_path)
    classifier = weakref.ref(one.classifier)
    node = {**one.config["classifier"]}
    del one
    release([{"classifier": {**node, "weights": "auto"}}])
    assert classifier() is not None
    (tmp_path / "other.pth").touch()
    release([{"classifier": {**node, "weights": str(tmp_path / "other.pth")}}])
    assert classifier() is None


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            ("metrics=localization", "metrics.localization.part=nos"),
            r"localization.part must be label or a mask of the "
            r"data set \(.*\), got 'nos'",
        ),
        (
            ("metrics=sanity", "metrics.sanity_check.window_px=17"),
            "metrics.sanity_check.window_px must be at most 16, the images' side, got 17",
        ),
    ],
)
def test_masks_and_windows_that_do_not_fit_are_refused_before_anything_is_computed(tmp_path, overrides, text):
    """Both failed in the metric, after all explanations were made."""
    with pytest.raises(ValueError, match=text):
        run(config(tmp_path, *LABEL[:-1], "explainer=random", *overrides))
    assert not (tmp_path / "explanation").exists()
