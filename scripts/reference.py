"""The reference pages: python scripts/reference.py writes docs/components.md, docs/presets.md and docs/weights.md from
config files, docstrings, and the cards of the shipped weights."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.signature import locate
from pomelo_lab.results.report import load_reports

WIDTH = 120
ROLES = {  # config group: (heading, how a job chooses one)
    "dataset": ("Data sets", "`dataset=<name>`"),
    "classifier": ("Classifiers", "`classifier=<name>`"),
    "segmenter": ("Segmenters", "`segmenter=<name>`"),
    "generator": ("Generators", "A sampler or an explainer chooses its own; `generator=<name>` names another one."),
    "sampler": ("Samplers and fillers", "`sampler=<name>`"),
    "explainer": ("Explainers", "`explainer=<name>`"),
    "metric": ("Metrics", "As part of a suite, or alone under a key of your own: `+metric@metrics.<key>=<name>`"),
}
SYMBOLS = "Heads of columns"
SUITES = ("Suites of metrics", "`metrics=<name>`, several at once `metrics=[<name>,<name>]`")
PAPERS = {  # prefix of presets: heading
    "pomelo": "POMELO (Ademi, Noppel & Wressnegger)",
    "agarwal": "Removal by generative in-painting (Agarwal & Nguyen)",
    "fisher": "Fisher divergence for attribution",
    "dime": "DiME (Jeanneret, Simon & Jurie)",
    "gcd": "Global counterfactual directions (Sobieski & Biecek)",
}
SECTION = re.compile(r"^([A-Z][a-z]+): ?", re.MULTILINE)
IN_SUITE = re.compile(r"/metric/(\w+)@(\w+)")
WORDS = re.compile(r"\d+|\D+")
ZOO = ROOT / "pomelo_lab" / "zoo"
WEIGHTS = """# Shipped weights and data: cards

`python scripts/reference.py` wrote this page from the cards beside the weights, `pomelo_lab/zoo/*.json`, which hold
every setting. `make zoo` trains all of them again.

## The data: portraits

**The faces are synthetic.** A renderer of this project draws them from random attributes. No person is shown, no
photograph was used, and nobody's consent is needed. The dependencies between attributes are stated by hand. They are
modelled on those that CelebA is known for, so that explanations can be tested for them. They say nothing about people.

- Contents: 20,000 training, 4,000 validation and 4,000 test images of any size, drawn when they are read
- Labels: hair colour in five classes, or any of 26 attributes; exact masks of each part of a face
- Intended use: tests and demonstrations of explanation methods, where the true cause has to be known
- Not intended: the training of networks for photographs of people, or statements about people
- Licence: MIT, as the software

The weights below have the same licence. They are small, they know portraits only, and none of them is meant for
photographs."""
USES = {  # what each network is for
    "ddpm": "The diffusion model of the samplers and of DiME.",
    "diffusion_autoencoder": "The diffusion autoencoder of Global Counterfactual Directions.",
    "glow": "The normalizing flow of POMELO.",
    "identity": "Recognises 500 drawn persons; scores whether a counterfactual shows the same person.",
    "inpainter": "Fills removed pixels, for the methods of Agarwal & Nguyen.",
    "judge": "A second, independently trained network of attributes; decides whether the oracle is right.",
    "oracle": "An independently trained network of attributes; scores whether a counterfactual shows the change.",
    "perceptual": "Its layers are the perceptual distance inside DiME.",
    "residual": "The classifier of hair colour that is explained by default.",
    "smile": "The classifier of smiles that counterfactual methods explain.",
    "young": "The classifier of age that counterfactual methods explain.",
}
NOTHING = ("none", "none known")


def main() -> int:
    for name, page in pages().items():
        (ROOT / "docs" / f"{name}.md").write_text(page)
        print(f"docs/{name}.md: {page.count(chr(10))} lines")
    return 0


def pages() -> dict[str, str]:
    """Name -> content of each page."""
    return {"components": components_page(), "presets": presets_page(), "weights": weights_page()}


# --- components -------------------------------------------------------------------------------------------------------


def components_page() -> str:
    """The Markdown page with every component and every suite of metrics."""
    headings = [*(heading for heading, _ in (*ROLES.values(), SUITES)), SYMBOLS]
    lines = [
        "# Components",
        "",
        "`python scripts/reference.py` wrote this page from the config files and the docstrings. A class that several "
        "config files describe stands here once, with all their names. A config file lists every argument with its "
        "unit: `conf/<group>/<name>.yaml`.",
        "",
        *(f"- [{heading}](#{heading.lower().replace(' ', '-')})" for heading in headings),
    ]
    for group, (heading, how) in ROLES.items():
        lines += ["", f"## {heading}", "", how]
        for target, names in classes(group).items():
            lines += ["", *component(group, names, locate(target))]
    lines += ["", f"## {SUITES[0]}", "", SUITES[1], ""]
    lines += [f"- `{file.stem}`: {first_sentence(header(file))}" for file in files("metrics")]
    lines += ["", f"## {SYMBOLS}", "", "The heads of columns, the keys of their metrics, and what they are.", ""]
    return fold([*lines, *symbols()])


def symbols() -> Iterator[str]:
    """A line for each head of a column in the papers' tables."""
    suites = "".join(file.read_text() for file in files("metrics"))
    known = {key: name for name, key in IN_SUITE.findall(suites)}  # the name of a metric by its key in a suite
    columns = {(c.symbol, c.metric): c for report in load_reports().values() for c in report.columns}
    for (symbol, metric), column in sorted(columns.items()):
        if symbol.startswith("("):  # continues the column before it
            continue
        name = known.get(metric.partition("[")[0])
        kind = locate((file_content(f"metric/{name}") or {})["_target_"]) if name else None
        said = [text for text in (read_docstring(kind)[0] if kind else "", column.note) if text]
        told = " ".join(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in said)
        yield f"- {symbol} (`{metric}`): {told}".rstrip(": ")


def classes(group: str) -> dict[str, list[str]]:
    """The classes of a group with the names of the config files that describe them, sorted by the first name."""
    by_class: dict[str, list[str]] = {}
    for file in files(group):
        by_class.setdefault((file_content(f"{group}/{file.stem}") or {}).get("_target_", ""), []).append(file.stem)
    by_class.pop("", None)  # no component, such as `none`
    return by_class


def component(group: str, names: list[str], kind: type) -> list[str]:
    """The lines of a component: its names, its sentence, and what its class declares and its docstring says."""
    summary, sections = read_docstring(kind)
    source, _, departures = sections.get("Source", "").partition(" Departures: ")
    facts = dict(declared(group, kind)) | {
        "Source": source,
        "Departures": "" if departures.rstrip(".") in NOTHING else departures,
        "Random": sections.get("Random", ""),
        "Cost": sections.get("Cost", ""),
    }
    listed = [f"- {name}: {text}" for name, text in facts.items() if text]
    return [f"### {', '.join(f'`{name}`' for name in names)}", "", summary, *([""] if listed else []), *listed]


def declared(group: str, kind: type) -> Iterator[tuple[str, str]]:
    """What a class declares: its access to the classifier, what it reads and gives, and the better direction."""
    if group == "explainer":
        access = kind.access if isinstance(kind.access, str) else "that of the networks it is given"
        yield "Access", access.replace("_", " ")
        yield "Gives", ", ".join(sorted(kind.gives or ()))
    if group == "metric":
        yield "Better", kind.direction or "neither direction, the metric describes"
    yield "Reads", ", ".join(sorted(kind.needs | getattr(kind, "reads", frozenset()))).replace("_", " ")


def read_docstring(kind: type) -> tuple[str, dict[str, str]]:
    """The first paragraph of a class's docstring, and the text of its sections by name, each on one line."""
    text = inspect.cleandoc(kind.__doc__ or "")
    marks = list(SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    sections = {mark[1]: join(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)}
    return join(text.partition("\n\n")[0]), sections


# --- presets ----------------------------------------------------------------------------------------------------------


def presets_page() -> str:
    """The Markdown page with every preset."""
    lines = [
        "# Presets",
        "",
        "A preset is a grid for one table or figure of a paper: `python -m pomelo_lab.run -m experiment=<preset> "
        "scale=smoke|demo|quick|paper`. `python scripts/reference.py` wrote this page from the headers of "
        "`conf/experiment`, which say more: the files that a paper's own experiment needs, for example.",
        "",
        "`python scripts/table.py <preset> --figure perturbation_sheet` draws another figure of the table's jobs: a "
        "module of `pomelo_lab/results/figure`, or the dotted path of a module of yours with `draw(cells, path)`. "
        "`--matched` scores the same jobs on the images that all methods brought to their class, so that a method that "
        "reaches few is not judged on its easy ones. [What a table says](claims.md) explains verdicts and marks.",
    ]
    for paper, heading in PAPERS.items():
        lines += ["", f"## {heading}", ""]
        presets = [file for file in files("experiment") if file.stem.partition("_")[0] == paper]
        lines += [f"- `{file.stem}`: {first_sentence(header(file))}" for file in presets]
    return fold(lines)


# --- weights ----------------------------------------------------------------------------------------------------------


def weights_page() -> str:
    """The Markdown page with the card of each shipped network."""
    lines = [*WEIGHTS.splitlines()]
    for file in sorted(ZOO.glob("*.json")):
        card = json.loads(file.read_text())
        data, scores = card["dataset"], {k: v for k, v in card["scores"].items() if isinstance(v, (int, float))}
        n = scores.pop("n")
        told = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in scores.items())
        kind = card["component"]["_target_"].rpartition(".")[2]
        lines += [
            "",
            f"## `{file.stem}`",
            "",
            USES[file.stem.removeprefix("portraits_")],
            "",
            f"- Network: {kind}, {card['parameters']:,} parameters, {card['bytes'] / 1e6:.1f} MB",
            f"- Trained on: {data['_target_'].rpartition('.')[2]}, {card['n_train']:,} images of {data['size_px']} px",
            f"- Training: {card['steps']:,} steps of {card['recipe']['batch_size']} images, {card['seconds'] / 60:.0f} "
            f"minutes on {card['device'].replace('cuda', 'a GPU').replace('cpu', 'a CPU')}, seed {card['seed']}",
            f"- Scores on {n:,} validation images: {told}",
        ]
    return fold(lines)


# --- files and text ---------------------------------------------------------------------------------------------------


def files(group: str) -> list[Path]:
    """The config files of a group, fig4 before fig10."""
    return sorted(
        Path(CONF, group).glob("*.yaml"),
        key=lambda file: [
            (not part.isdigit(), int(part) if part.isdigit() else part) for part in WORDS.findall(file.stem)
        ],
    )


def header(file: Path) -> str:
    """The comment on top of a config file, on one line, without the command and the package that it begins with."""
    lines = file.read_text().splitlines()
    said = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    told = [line.removeprefix("#").strip() for line in said]
    return join(" ".join(line for line in told if not line.startswith(("@package", "python -m pomelo_lab"))))


def first_sentence(text: str) -> str:
    """The first sentence of a text, without what it says to type. An abbreviated name does not end a sentence."""
    end = re.search(r"(?<![A-Z.])(?<!Fig)(?<!Figs)[.](?= |$)|[:.]? (?=[Aa]dd )|:? (?=metrics=)|:$", text)
    return text if end is None else f"{text[: end.start()]}."


def join(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def fold(lines: list[str]) -> str:
    """The lines of a page, cut to its width. Items of a list are indented."""
    return "".join(
        textwrap.fill(
            line,
            WIDTH,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
