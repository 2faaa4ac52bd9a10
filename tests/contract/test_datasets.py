"""What holds for every data set that has a yaml and needs no files; those of files are tried in tests/dataset."""

from tests.contract.trials import each, keep, trial

FILES = (
    "celeba",
    "celebahq",
    "celebamask_hq",
    "chexpert",
    "cifar10",
    "fss1000",
    "image_folder",
    "imagenet",
    "imagenet_birds",
    "places365",
)


@each("dataset", left_out=dict.fromkeys(FILES, "of a user's files"))
def test_every_data_set(name, rule):
    keep(rule, trial("dataset", name))
