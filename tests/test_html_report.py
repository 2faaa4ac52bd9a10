"""The page of `pomelo-lab report`: well-formed, complete without a network, its numbers those of the scores."""

from __future__ import annotations

import json
import math
import re
import subprocess
from html.parser import HTMLParser
from shutil import which
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from pomelo_lab.html_report.command import main
from pomelo_lab.html_report.content import interval
from pomelo_lab.html_report.distributions import draw_distribution
from pomelo_lab.html_report.jobs import folders_table, job_names
from pomelo_lab.html_report.page import script_json
from pomelo_lab.results.grid import cells
from pomelo_lab.results.report import load_report
from pomelo_lab.run import run
from tests.running import config, scores

VOID = {"meta", "link", "input", "img", "br"}  # elements of HTML without an end
EVIL = "<script>alert('&')</script>"
PORTRAITS = ("dataset=portraits", "dataset.size_px=16", "dataset.label=Smiling", "metrics=flips", "target=label")


class Page(HTMLParser):
    """The elements of a page, whose ends match their starts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.ids = [], [], {}, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(text)

    @property
    def data(self):
        [text] = [text for text in self.texts["script"] if text.startswith("{")]
        return json.loads(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(score folders of three jobs, their page): maps by two methods, and counterfactuals."""
    outputs = tmp_path_factory.mktemp("outputs")
    folders = [
        run(config(outputs, *words, "n_images=12"), brief=True)
        for words in (
            ("explainer=random", "sampler=blur"),
            ("explainer=lime", "sampler=blur"),
            (*PORTRAITS, "explainer=ideal_counterfactual", "sampler=none"),
        )
    ]
    to = outputs / "a page #1" / "maps & more.html"
    assert main([*map(str, folders), "--to", str(to)]) == 0
    return folders, to


def test_the_page_is_well_formed_and_needs_no_network(made):
    page = Page(made[1].read_text())
    links = [value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")]
    assert links and all(link.startswith("#") or link == "data:," for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", "".join(page.texts["script"][-1:]))
    assert not re.search(r"https?://|@import|url\(", "".join(page.texts["style"]))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_the_numbers_are_the_scores(made):
    folders, to = made
    data = Page(to.read_text()).data
    assert [job["fingerprint"] for job in data["jobs"]] == [folder.name for folder in folders]
    for job, folder in zip(data["jobs"], folders, strict=True):
        stored = scores(folder)
        assert job["images"] == stored.pop("image_id") and len(job["label"]) == len(stored.pop("label"))
        assert len(job["target"]) == len(stored.pop("target")) and not job["problem"]
        assert job["scores"].keys() == stored.keys()
        for name, values in stored.items():
            told = [value if value is not None and math.isfinite(value) else None for value in values]
            assert job["scores"][name] == told


def test_every_picture_is_there_and_no_other(made):
    data = Page(made[1].read_text()).data
    folder = made[1].parent / unquote(data["folder"])
    names = [name for job in data["jobs"] for part in job["pictures"].values() for name in part]
    assert {path.name for path in folder.iterdir()} == set(names)
    for job in data["jobs"]:
        parts = {"image", "counterfactual", "difference"} if "l1" in job["means"] else {"image", "map"}
        assert parts <= set(job["pictures"]) and {len(part) for part in job["pictures"].values()} == {12}
    assert data["jobs"][0]["pictures"]["image"] == data["jobs"][1]["pictures"]["image"]  # one file for both
    with Image.open(folder / data["jobs"][0]["pictures"]["map"][0]) as picture:
        assert picture.size == (16, 16) and picture.mode == "RGBA"


BROWSER = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
BEFORE = "<script>var errors = []; addEventListener('error', (e) => errors.push(String(e.message)), true)</script>"
AFTER = """<script>
const told = { n: [], place: [] };
const choose = (form, name, value) => {
  document.querySelector(form).elements[name].value = value;
  document.querySelector(form).elements[name].dispatchEvent(new Event("change", { bubbles: true }));
};
const note = () => {
  told.n.push(document.querySelectorAll(".card").length);
  told.place.push($("#place").textContent);
};
const firstMetric = () => [...document.querySelectorAll(".card figcaption")].map((c) => c.lastChild.textContent);
note();
document.querySelector("[data-go=last]").click(); note();
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })); note();
choose("#controls", "order", "best"); told.best = firstMetric();
choose("#controls", "order", "worst"); told.worst = firstMetric();
choose("#controls", "label", "=" + data.jobs[0].label[0]); note();
told.only = [...document.querySelectorAll(".card figcaption")].map((c) => c.children[1].textContent);
choose("#controls", "job", "2"); document.querySelector("#flicker").click();
told.flicker = [$("#flicker").hidden, $("#flicker").getAttribute("aria-pressed")];
document.querySelector("#flicker").click();
told.frames = [...document.querySelectorAll(".card")][0].querySelectorAll("img").length;
told.lazy = [...document.images].every((image) => image.loading === "lazy" && image.hasAttribute("alt"));
const rows = () => [...document.querySelectorAll("#table tbody tr")].map((row) => row.cells[2].dataset.value);
document.querySelectorAll("#table thead button")[2].click(); told.sorted = rows();
document.querySelectorAll("#table thead button")[2].click(); told.reversed = rows();
told.points = document.querySelectorAll("#plot circle").length;
addEventListener("load", () => {
  told.errors = errors;
  document.body.append(make("pre", { id: "told" }, JSON.stringify(told)));
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_browser_pages_filters_and_sorts_a_thousand_images(made):
    text, times = made[1].read_text(), 84
    data = Page(text).data
    for job in data["jobs"]:
        for key in ("images", "label", "target", "probability"):
            job[key] *= times
        for key in ("scores", "pictures"):
            job[key] = {name: values * times for name, values in job[key].items()}
    start, end = text.index('id="data">') + len('id="data">'), text.rindex("</script>", 0, text.rindex("<script>"))
    text = text[:start] + script_json(data) + text[end:]
    path = made[1].with_name("thousand.html")
    path.write_text(text.replace("<head>", f"<head>{BEFORE}").replace("</body>", f"{AFTER}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={path.parent / 'user'}"]
    end = subprocess.run([BROWSER, *flags, path.as_uri()], capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(re.search(r'<pre id="told">(.*?)</pre>', end.stdout)[1].replace("&gt;", ">"))
    assert told["errors"] == [] and told["lazy"]
    assert told["n"][:3] == [24, 24, 24] and told["place"][0] == "page 1 of 42, images 1 to 24 of 1008"
    assert told["place"][1] == "page 42 of 42, images 985 to 1008 of 1008" and told["place"][2].startswith("page 41 ")
    values = {order: [float(line.split()[1]) for line in told[order]] for order in ("best", "worst")}
    assert values["best"] == sorted(values["best"]) and values["worst"] == sorted(values["worst"], reverse=True)
    assert max(values["best"]) < min(values["worst"])  # deletion: lower is better
    assert told["only"] and all(line.startswith(f"label {data['jobs'][0]['label'][0]};") for line in told["only"])
    assert told["flicker"] == [False, "true"] and told["frames"] == 7 and told["points"] == 2
    numbers = [float(value) for value in told["sorted"][:2]]
    assert numbers == sorted(numbers) and told["sorted"][2] == told["reversed"][2] == ""
    assert told["reversed"][:2] == told["sorted"][1::-1]


def test_what_an_earlier_page_had_is_removed_and_other_files_stay(made, tmp_path):
    folders, to = made[0], tmp_path / "report.html"
    assert main([str(folders[0]), "--to", str(to)]) == 0
    before = set((tmp_path / "report_files").iterdir())
    (tmp_path / "report_files" / "mine.png").write_bytes(b"")
    assert main([str(folders[0]), "--to", str(to), "--pictures", "2"]) == 0
    after = {path for path in (tmp_path / "report_files").iterdir() if path.name != "mine.png"}
    assert after < before and (tmp_path / "report_files" / "mine.png").exists()
    [job] = Page(to.read_text()).data["jobs"]
    assert {len(part) for part in job["pictures"].values()} == {2} and len(job["images"]) == 12


def test_texts_of_users_are_no_html(made, tmp_path, monkeypatch):
    from pomelo_lab.dataset.base import Dataset
    from pomelo_lab.html_report import pictures

    monkeypatch.setattr(Dataset, "class_name", lambda self, k: f"{EVIL}{k}")
    monkeypatch.setattr(pictures, "class_name", lambda names, k: f"{EVIL}{k}")
    monkeypatch.setattr("pomelo_lab.html_report.jobs.default_name", lambda config: EVIL)
    assert main([str(made[0][0]), "--to", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text()
    page = Page(text)
    assert EVIL not in text and sum(tag == "script" for tag, _ in page.elements) == 2
    [job] = page.data["jobs"]
    assert job["name"] == EVIL and all(name.startswith(EVIL) for name in job["target"] + job["label"])
    assert EVIL in "".join(page.texts["th"])


def test_json_of_a_script_cannot_end_it():
    text = script_json({"</script>": "<!-- &"})
    assert not set("<>&") & set(text) and json.loads(text) == {"</script>": "<!-- &"}


def test_an_interval_holds_the_mean_and_shrinks_to_a_constant(made):
    table, left_out = folders_table(made[0][:2])
    assert not left_out
    for row in table.rows:
        for column in table.columns:
            low, high = interval(table, row, column)
            assert low <= table.entry(row, column).mean <= high
            values = np.array(scores(table.finished[row.key][0].folder)[column.metric])
            if values.std() == 0:
                assert low == pytest.approx(high)


def test_a_table_has_its_verdicts_and_its_rows(tmp_path):
    words = ["dataset=portraits", "dataset.size_px=32", "classifier.weights=null", "scale=smoke", "networks=tiny"]
    words += ["images=all", "n_images=4", "tracking=none", "method=random_pixel", f"paths.outputs={tmp_path}"]
    [cell] = cells("agarwal_table2", words)
    assert main(["agarwal_table2", *words]) == 2  # nothing is finished
    run(cell.config, brief=True)
    assert main(["agarwal_table2", *words]) == 0
    [to] = tmp_path.glob("tables/agarwal_table2/*/report.html")
    page, report = Page(to.read_text()), load_report("agarwal_table2")
    told = "".join(page.texts["td"])
    assert report.claims and all(claim.says in told for claim in report.claims)
    assert {row.label for row in report.rows} <= {text.split(" *")[0] for text in page.texts["th"]}
    [job] = page.data["jobs"]
    assert job["scores"] and len(job["pictures"]["map"]) == 4


def test_names_tell_jobs_apart(made, tmp_path):
    chosen = {"explainer": "lime", "sampler": "blur"}
    folders = [tmp_path / name for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc")]
    configs = [{"choices": {**chosen, "sampler": s}, "seed": 0, "explainer": {}} for s in ("blur", "black", "gray")]
    assert list(job_names(dict(zip(folders, configs, strict=True))).values()) == ["blur", "black", "gray"]
    configs = [{"choices": chosen, "seed": seed, "explainer": {}} for seed in (0, 1, 1)]
    names = list(job_names(dict(zip(folders, configs, strict=True))).values())
    assert names == ["lime, seed=0", "lime, seed=1, bbbbbb", "lime, seed=1, cccccc"]
    table, _ = folders_table(made[0])
    assert [row.label for row in table.rows] == ["random", "lime", "ideal_counterfactual"]


def test_a_distribution_has_a_bar_for_every_image_and_one_axis():
    text = draw_distribution("a < b", {"x": [0.0, 1.0], "y & z": [0.5, 0.5]})
    page = Page(text)
    assert sum(tag == "rect" for tag, _ in page.elements) == 3
    assert page.texts["title"] == [
        "a < b: x from 0 to 1, mean 0.5, 2 images; y & z from 0.5 to 0.5, mean 0.5, 2 images"
    ]
    assert {"x", "y & z", "0", "1"} <= set(page.texts["text"])
    assert Page(draw_distribution("constant", {"x": [2.0, 2.0]})).texts["text"]


def test_a_job_without_stored_maps_keeps_its_scores(made, tmp_path, monkeypatch):
    from pomelo_lab.html_report import content

    def refuse(folder):
        raise ValueError("the data have changed")

    monkeypatch.setattr(content, "open_job", refuse)
    assert main([str(made[0][0]), "--to", str(tmp_path / "x.html")]) == 0
    page = Page((tmp_path / "x.html").read_text())
    [job] = page.data["jobs"]
    assert job["pictures"] == {} and len(job["images"]) == 12
    assert any(f"no pictures of {job['name']}: the data have changed" in text for text in page.texts["li"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["."], "no folder has a finished job"),
        (["pomelo_table9"], "pomelo_table9"),
        ([".", "--too", "x"], "--too is unknown, did you mean '--to'?"),
        ([".", "nowhere"], "nowhere is no score folder and no override"),
        ([".", "--pictures", "many"], "--pictures must be a number, got 'many'"),
        ([".", "--clip", "2"], "--clip from 0 to 1"),
        (["scale=smoke"], "expected score folders or a table's id"),
    ],
)
def test_wrong_words_are_named(words, text, capsys):
    assert main(words) == 2
    assert text in capsys.readouterr().err
