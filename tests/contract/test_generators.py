"""What holds for every generator that has a yaml; `pomelo_lab.conformance.generator` says it."""

from tests.contract.trials import each, keep, names, trial

LARGE = tuple(name for name in names("generator") if not name.endswith("_tiny"))


@each("generator", slow=LARGE)
def test_every_generator(name, rule):
    keep(rule, trial("generator", name))
