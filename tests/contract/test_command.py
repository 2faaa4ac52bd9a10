"""`python -m pomelo_lab.conformance`: a component from outside is tried, and what it breaks is named."""

from textwrap import dedent

import pytest

from pomelo_lab.conformance.__main__ import main
from pomelo_lab.conformance.trial import Broken, NotAsked, Trial, judge

CARELESS = """
from dataclasses import dataclass
from pomelo_lab.sampler.base import BaseImageFiller

@dataclass(kw_only=True)
class {name}Sampler(BaseImageFiller):
    level: float = 0.5

    def base(self, image, streams, image_ids, segments):
        {body}
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder of a user's, from which a sampler is tried: its class and the yaml beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def tried(name: str, body: str, *overrides: str) -> int:
        (tmp_path / f"{name}.py").write_text(CARELESS.format(name=name.title(), body=dedent(body)))
        (tmp_path / "conf" / "sampler").mkdir(parents=True, exist_ok=True)
        node = f"_target_: {name}.{name.title()}Sampler\nrate: 0.5\nkeep_first: true\ndesign: bernoulli\nlevel: 0.5\n"
        (tmp_path / "conf" / "sampler" / f"{name}.yaml").write_text(node)
        return main(["--config-dir", "conf", f"sampler={name}", *overrides])

    return tried


def test_a_careful_component_keeps_all_rules(outside, capsys):
    assert outside("flat", "return image * 0 + self.level") == 0
    said = capsys.readouterr().out
    assert "all rules are kept" in said and "FAIL" not in said and max(map(len, said.splitlines())) <= 80


def test_what_a_careless_component_breaks_is_named(outside, capsys):
    assert outside("careless", "return image.sub_(image.mean()).clamp_(0, 1)") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "nor is the global random generator used it changes batch.image in place" in said


def test_a_component_that_looks_at_its_neighbours_is_found(outside, capsys):
    assert outside("crowd", "return image.mean(0, keepdim=True).expand_as(image)") == 1
    said = capsys.readouterr().out
    assert "FAIL Perturbations of an image are the same in any batch" in said and "1 of 12 rules is broken" in said


def test_a_config_that_does_not_exist_is_a_sentence(outside, capsys):
    assert outside("flat", "return image", "sampler.levle=1") == 2
    assert "level" in capsys.readouterr().err
    assert main(["scale=quick"]) == 2


def test_an_error_breaks_its_rule_and_says_where():
    def broken(_):
        """It holds.

        More.
        """
        raise Broken("it does not")

    def silent(_):
        """It may hold."""
        raise NotAsked("nobody asks")

    def wrong(_):
        """It runs."""
        raise KeyError("x")

    verdicts = list(judge((broken, silent, wrong), Trial(component=None)))
    assert [(v.rule, v.state) for v in verdicts] == [("It holds", "fail"), ("It may hold", "skip"), ("It runs", "fail")]
    assert verdicts[0].why == "it does not" and "KeyError: 'x' (test_command.py, line" in verdicts[2].why
