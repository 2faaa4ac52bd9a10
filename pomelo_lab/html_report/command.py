"""`pomelo-lab report`: one HTML page of finished jobs, which opens from its folder without a server or a network.

The page is one file with its styles, script and numbers. Pictures are PNG files in the folder `<name>_files` beside it,
which the page loads as they are scrolled to; 1,000 images therefore stay usable. Move both together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.entry import config_folders, rename_row_group, search_path
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.files import write_text
from pomelo_lab.html_report.content import describe_job
from pomelo_lab.html_report.jobs import folders_table, paper_table, shown_jobs
from pomelo_lab.html_report.page import page_html
from pomelo_lab.html_report.pictures import Pictures
from pomelo_lab.results.show import folder_name, take_flag
from pomelo_lab.results.table import Table

MOST = 1_000  # images of a job that get pictures by default
FLAGS = ("--to", "--pictures", "--clip", "--config-dir", "--help")
USAGE = f"""usage: pomelo-lab report <score folder> ... [--to FILE] [--pictures N] [--clip Q]
       pomelo-lab report <table id> [overrides] [--to FILE] [--pictures N] [--clip Q] [--config-dir DIR]

Writes one HTML page of finished jobs, which opens in a browser without a server or a network: the table with intervals
and the verdicts on its claims, distributions, a gallery of maps and counterfactuals, costs, configs and versions. Its
pictures are files in a folder beside it.

  --to FILE         the page; default: report.html in the score folder or in the folder of the table
  --pictures N      number of images of each job that get pictures; default: {MOST}
  --clip Q          quantile of a map's magnitudes that gets the full colour; default: 1.0, the largest
  --config-dir DIR  a folder with components and presets of yours, as for the run
  overrides         as for the run: scale=quick paths.outputs=DIR"""


@dataclass(frozen=True)
class Asked:
    """What a command line asks for. `to` is None for the usual place; `words` are folders, or a table's id and its
    overrides."""

    words: tuple[str, ...]
    to: Path | None = None
    n_images: int = MOST
    clip: float = 1.0
    folders: tuple[str, ...] = ()

    def table(self) -> tuple[Table, Path]:
        """The table of the page, and where the page is written by default. Says which folders are left out."""
        if not all(Path(word).is_dir() for word in self.words):
            name, overrides = self.words[0], [*search_path(list(self.folders)), *rename_row_group(self.words[1:])]
            made = paper_table(name, overrides)
            outputs = next(Path(c.config["paths"]["outputs"]) for row in made.finished.values() for c in row)
            return made, outputs / "tables" / name / folder_name(made.scale, overrides) / "report.html"
        folders = [Path(word).resolve() for word in self.words]
        made, left_out = folders_table(folders)
        for line in left_out:
            print(line, file=sys.stderr)
        one = len(folders) == 1
        name = digest([folder.name for folder in folders])[:8]
        return made, folders[0] / "report.html" if one else folders[0].parents[1] / "reports" / name / "report.html"


def write_report(table: Table, to: Path, n_images: int = MOST, clip: float = 1.0) -> Path:
    """Writes the page of a table's finished jobs, and its pictures to the folder `<name>_files` beside it.

    Args: n_images: number of images of each job that get pictures. clip: quantile of a map's magnitudes that gets the
        full colour.
    Returns: the page.
    """
    shown = shown_jobs(table)
    pictures = Pictures(to.parent / f"{to.stem}_files", n_images, clip)
    jobs = [describe_job(job, pictures) for job in shown]
    write_text(to, page_html(table, shown, jobs, pictures.folder.name))
    pictures.remove_others()
    return to


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page that the command line asks for, and returns the exit status."""
    from hydra.errors import HydraException

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE, file=sys.stderr)
        return 0 if arguments else 2
    sys.path.append(str(Path.cwd()))  # makes the user's components importable
    try:
        asked = parse(arguments)
        table, place = asked.table()
        print(f"report: {write_report(table, asked.to or place, asked.n_images, asked.clip)}")
    except (KeyError, ValueError, OSError, HydraException) as error:
        print(error.args[0] if isinstance(error, KeyError) and error.args else error, file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str]) -> Asked:
    """What a command line asks for. Raises: ValueError for wrong or missing words."""
    folders, rest = config_folders(list(arguments))
    values = {}
    for flag in ("--to", "--pictures", "--clip"):
        given, rest = take_flag(flag, rest)
        values[flag] = given[-1] if given else None
    if unknown := next((word for word in rest if word.startswith("-")), None):
        raise ValueError(f"{unknown} is unknown{did_you_mean(unknown, FLAGS)}; the flags are {', '.join(FLAGS)}")
    if not rest or "=" in rest[0] and not Path(rest[0]).is_dir():
        raise ValueError(f"expected score folders or a table's id\n{USAGE}")
    for word in rest[1:]:
        if "=" not in word and not Path(word).is_dir():
            raise ValueError(f"{word} is no score folder and no override")
    to = Path(values["--to"]).expanduser() if values["--to"] else None
    n_images = number(values["--pictures"], "--pictures", MOST)
    clip = number(values["--clip"], "--clip", 1.0)
    if n_images < 0 or n_images != int(n_images) or not 0 <= clip <= 1:
        raise ValueError("--pictures must be a whole number, 0 or more, and --clip from 0 to 1")
    return Asked(tuple(rest), to, int(n_images), clip, tuple(folders))


def number(text: str | None, flag: str, default: float) -> float:
    """The number of a flag."""
    try:
        return default if text is None else float(text)
    except ValueError:
        raise ValueError(f"{flag} must be a number, got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
