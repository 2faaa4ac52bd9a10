"""What holds for every classifier that has a yaml; `pomelo_lab.conformance.classifier` says it."""

from importlib.util import find_spec

import pytest
import torch

from pomelo_lab.runtime.onnx import export
from tests.contract.trials import each, keep, trial
from tests.every import make_folder, small_network

CHOSEN = {
    "callable": ("classifier.function=tests.every:brightness", "classifier.num_classes=10"),
    "huggingface": ("classifier.model=${oc.env:VIT_FOLDER}",),
    "timm": ("classifier.model=test_vit",),
    "module": ("classifier.factory=tests.every:small_network",),
    "onnx": ("classifier.file=${oc.env:ONNX_FILE}",),
    "perceptual_vgg19": ("classifier.weights=null",),
}
PACKAGES = {"timm": "timm", "huggingface": "transformers", "onnx": "onnxruntime"}
ABSENT = {name: f"{package} is not installed" for name, package in PACKAGES.items() if find_spec(package) is None}
LARGE = ("resnet50", "vgg16", "densenet121", "inception_v3", "oracle_resnet50", "perceptual_vgg19")


@pytest.fixture(autouse=True, scope="module")
def files(tmp_path_factory):
    """The folder of a small network of transformers, and an ONNX file."""
    with pytest.MonkeyPatch.context() as patch:
        if "huggingface" not in ABSENT:
            patch.setenv("VIT_FOLDER", str(make_folder(tmp_path_factory.mktemp("vit"), "ViT")))
        if "onnx" not in ABSENT:
            file = tmp_path_factory.mktemp("onnx") / "small.onnx"
            file.write_bytes(export(small_network(), (torch.rand(2, 3, 16, 16),)))
            patch.setenv("ONNX_FILE", str(file))
        yield


@each("classifier", slow=LARGE, left_out=ABSENT)
def test_every_classifier(name, rule):
    keep(rule, trial("classifier", name, *CHOSEN.get(name, ())))
