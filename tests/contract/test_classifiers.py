"""What holds for every classifier that has a yaml; `pomelo_lab.conformance.classifier` says it."""

from tests.contract.trials import each, keep, trial

CHOSEN = {
    "callable": ("classifier.function=tests.every:brightness", "classifier.num_classes=10"),
    "module": ("classifier.factory=tests.every:small_network",),
    "perceptual_vgg19": ("classifier.weights=null",),
}
LARGE = ("resnet50", "vgg16", "densenet121", "inception_v3", "oracle_resnet50", "perceptual_vgg19")


@each("classifier", slow=LARGE)
def test_every_classifier(name, rule):
    keep(rule, trial("classifier", name, *CHOSEN.get(name, ())))
