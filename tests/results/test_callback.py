from omegaconf import OmegaConf

from pomelo_lab.results.callback import PrintTable, is_table, split


def config(overrides, dry_run=False):
    return OmegaConf.create({"dry_run": dry_run, "seed": 3, "hydra": {"overrides": {"task": overrides}}})


def test_split_finds_presets_by_name_list_and_glob():
    rest = ["scale=smoke", "sampler=black,gray"]
    assert split(["experiment=pomelo_table1", *rest]) == (["pomelo_table1"], rest)
    assert split(["experiment=pomelo_table1,pomelo_fig4"])[0] == ["pomelo_table1", "pomelo_fig4"]
    assert "pomelo_table2" in split(["experiment=glob(pomelo_table*)"])[0]
    assert split(["seed=1,2"]) == ([], ["seed=1,2"])
    assert is_table("pomelo_table1") and not is_table("mine")


def test_failure_is_told_and_not_raised(monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no disk")

    monkeypatch.setattr("pomelo_lab.results.show.show", broken)
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1"]))
    assert "no table: RuntimeError: no disk" in capsys.readouterr().err


def test_table_is_shown_with_the_command_lines_overrides(monkeypatch):
    asked = []
    monkeypatch.setattr("pomelo_lab.results.show.show", lambda *a: asked.append(a))
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1", "scale=smoke", "classifier.init_seed=${seed}"]))
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1"], dry_run=True))
    PrintTable().on_multirun_end(config(["seed=1,2"]))
    assert asked == [("pomelo_table1", ["scale=smoke", "classifier.init_seed=${seed}"])]
