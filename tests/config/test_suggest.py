"""The help that follows Hydra's refusal names what was meant, and never something that exists."""

import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from pomelo_lab.config.check import ConfigError, problems, resolved
from pomelo_lab.config.command import command
from pomelo_lab.config.entry import CONF, config_folders, search_path
from pomelo_lab.config.schema import register
from pomelo_lab.config.suggest import blank_in_list, find_error, printable, suggestions

register()


def said(*arguments: str) -> list[str]:
    """The suggestions for a command line that Hydra refuses."""
    folders, overrides = config_folders(arguments)
    with initialize_config_dir(CONF, version_base="1.3"), pytest.raises(HydraException) as error:
        compose("run", overrides=[*search_path(folders), *overrides])
    return suggestions(error.value, arguments)


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("sampler=blurr", "sampler=blurr does not exist, did you mean 'blur'?; there are: black, "),
        ("sampler=lime", "sampler=lime does not exist: lime is a choice of explainer (explainer=lime)"),
        ("scale=tiny", "scale=tiny does not exist: tiny is a choice of networks (networks=tiny)"),
        ("metrics=ssim", "metrics=ssim does not exist: ssim is a choice of metric (+metric@metrics.ssim=ssim)"),
        ("+metric@metrics.deletion_blur=deletion", "two metrics have the key metrics.deletion_blur: give one of them"),
        ("metrics=[explanation,fidelty]", "metrics=fidelty does not exist, did you mean 'fidelity'?"),
        ("explainer.n_smaples=3", "explainer.n_smaples does not exist, did you mean 'n_samples'?"),
        ("tracking=wandb", "tracking=wandb does not exist, did you mean 'wandb_offline' or 'wandb_online'?"),
        ("seed=a", "seed must be a whole number, got 'a'"),
        ("n_images=2.5", "n_images must be a whole number, got '2.5'"),
        ("force=perhaps", "force must be true or false, got 'perhaps'"),
        ("experiment.nope=1", "experiment.nope does not exist: experiment is one value"),
        (
            "metrics=fidelity,cost",
            "metrics=fidelity,cost: metrics=[fidelity,cost] (at once) or -m metrics=fidelity,cost",
        ),
        ("explainer=lime,rise", "explainer=lime,rise is a grid over several choices: -m explainer=lime,rise"),
        ("seed=0,1", "seed=0,1 is a grid over several values: -m seed=0,1; as one value, Hydra reads '0,1' as"),
        ("method=ace_l1", "method=ace_l1: the config has no method yet that this could replace: +method=ace_l1 works"),
        ("method=ace_l7", "method=ace_l7 does not exist, did you mean 'ace_l"),
        ("batchsize=3", "batchsize does not exist, did you mean 'batch_size'?"),
    ],
)
def test_what_was_meant_is_named(override, start):
    [line] = said(override)
    assert line.startswith(start)


@pytest.mark.parametrize(
    "value", ["/a/epoch=3", "/a/birds (1)", "/a/vögel", "/a/it's", "/a[1]", "~/data", 'C:\\x "y" (2)']
)
def test_a_value_that_hydra_cannot_read_is_shown_as_it_is_typed(value):
    import shlex

    from pomelo_lab.config.suggest import parse_override

    [line] = said("explainer=lime", f"dataset.root={value}")
    [typed] = shlex.split(line[line.index(", '") + 2 :] if ", '" in line else line.rpartition(" ")[2])
    assert parse_override(typed).value() == value


def test_a_blank_in_a_list_is_named():
    assert blank_in_list(["-m", "sampler=black,", "gray"]).endswith("no blank behind its commas: sampler=black,gray")
    assert not blank_in_list(["sampler=black,gray", "seed=0"]) and not blank_in_list(["sampler=black,", "seed=0"])


def test_choices_of_a_user_s_folder_exist(tmp_path):
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "red.yaml").write_text("_target_: mine.Red\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.yaml").write_text("x: 1\n")
    assert said("--config-dir", str(tmp_path), "sampler=red", "explainer.n_smaples=3") == [
        line for line in said("explainer.n_smaples=3")
    ]
    [line] = said("--config-dir", str(tmp_path), "sampler=rad")
    assert line.startswith("sampler=rad does not exist, did you mean 'red'?")


def test_an_error_that_says_all_is_left_alone():
    assert suggestions(ConfigError("the config has 1 problem"), ["sampler=nonsense", "explainer.n_smaples=3"]) == []
    assert (
        suggestions(RuntimeError("a job failed"), ["sampler=nonsense"]) == [] == suggestions(None, ["sampler=nonsense"])
    )


def test_control_characters_and_lists_of_single_choices_are_refused_before_hydra():
    assert find_error(["sampler=x\x1b[31m"]) == "the argument 'sampler=x\\\\x1b[31m' holds control characters"
    assert find_error(["explainer=[lime,rise]"]).endswith("-m explainer=lime,rise")
    assert find_error(["-m", "metrics=[a,b]", "explainer=lime,rise", "dataset.root=/a b"]) is None
    assert "\x1b" not in str(ConfigError("class \x1b]0;title\x07")) and printable("one\ntwo\tü") == "one\ntwo\tü"


def test_an_unknown_top_level_key_is_refused():
    with initialize_config_dir(CONF, version_base="1.3"):
        config = resolved(compose("run", overrides=["+foo=1", "+sheets=3"]))
    texts = problems(config)
    assert [text.partition(";")[0] for text in texts] == ["foo is unknown", "sheets is unknown, did you mean 'sheet'?"]


@pytest.mark.parametrize("override", ["metrics=[]", "~metrics"])
def test_no_suite_at_all_is_refused_in_one_sentence(override):
    with initialize_config_dir(CONF, version_base="1.3"):
        config = resolved(compose("run", overrides=[override]))
    assert problems(config) == ["metrics must be a suite or a list of suites, got []; none is metrics=none"]


def test_a_command_ends_with_the_help_and_without_advice_on_hydra(capsys, monkeypatch, tmp_path):
    def main():
        try:
            with initialize_config_dir(CONF, version_base="1.3"):
                compose("run", overrides=["sampler=lime"])
        except HydraException as error:
            sys.stderr.write(str(error) + "\n")
            sys.stderr.write("\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n")
            sys.exit(1)

    monkeypatch.setattr(sys, "argv", ["run", "sampler=lime"])
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    before = sys.stderr
    with pytest.raises(SystemExit):
        command(main)
    assert sys.stderr is before and str(tmp_path) in sys.path  # modules of the current folder can be imported
    lines = capsys.readouterr().err.strip().splitlines()
    assert "lime is a choice of explainer" in lines[-1] and len(lines) < 5, lines


def test_lists_of_hydra_are_shown_where_nothing_better_is_known(capsys, monkeypatch):
    def main():
        sys.stderr.write("Could not find 'x'\n\nAvailable options in 'x':\n\ta\n\tb\n")
        sys.exit(1)

    monkeypatch.setattr(sys, "argv", ["run"])
    with pytest.raises(SystemExit):
        command(main)
    assert capsys.readouterr().err == "Could not find 'x'\nAvailable options in 'x':\n\ta\n\tb\n"


def test_a_preset_with_the_former_name_of_methods_is_told_the_present_one():
    from hydra.errors import MissingConfigException

    error = MissingConfigException("In 'experiment/mine': Could not find 'row/sp'")
    (line,) = suggestions(error, ["experiment=mine"])
    assert "the group row is called method" in line


@pytest.mark.parametrize(
    "override", ["classifier.compile=true", "+classifier.compile=true", "+classifier.compile=false"]
)
def test_the_removed_key_compile_names_the_runtime(override):
    if override.startswith("+"):
        with initialize_config_dir(CONF, version_base="1.3"):
            (line,) = problems(resolved(compose("run", overrides=[override])))
    else:
        (line,) = said(override)
    assert "runtime=compiled" in line and line.startswith("classifier.compile ")
