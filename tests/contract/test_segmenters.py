"""What holds for every segmenter that has a yaml; `pomelo_lab.conformance.segmenter` says it."""

from tests.contract.trials import each, keep, trial


@each("segmenter")
def test_every_segmenter(name, rule):
    keep(rule, trial("segmenter", name))
