"""Python and notebooks: `import pomelo_lab as pl`, then `pl.explain`, `pl.configured` and `pl.run`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.check import ConfigError, resolved, validate, validate_resolved
from pomelo_lab.config.entry import CONF, search_path
from pomelo_lab.plugins import plugin_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor, nn

    from pomelo_lab.engine.job import Job


def configured(*overrides: str, config_dir: str | None = None) -> dict[str, Any]:
    """The checked config of a job, as `pomelo-lab run` composes it from the same words.

    Args: config_dir: a config folder of yours.
    Raises: ConfigError with all problems in one message.
    """
    return validate(_composed(overrides, config_dir))


def explain(
    model: nn.Module | Callable[[Tensor], Any],
    images: Tensor | Sequence[Image],
    method: str = "lime",
    *overrides: str,
    target: int | str | Sequence[int] | Tensor | None = None,
    reference: Tensor | Sequence[Image] | None = None,
    outputs: str | None = None,
) -> Explained:
    """Explains a model's answers for images.

    Args:
        model: a torch module that answers logits [B,K], or a function from images to probabilities [B,K].
        images: float [B,C,H,W] in [0,1], or PIL images of one size, of 8 bits, without transparency.
        method: a name of conf/explainer, such as lime, rise, grad_cam or integrated_gradients.
        overrides: further words of a command line: "sampler=blur", "explainer.n_samples=500", "metrics=fidelity",
            "classifier.mean=[0.485,0.456,0.406]".
        target: the explained class of all images (a number, or one of `classifier.class_names`), or of each; None = the
            predicted one.
        reference: training images like `images`, for methods that learn from some.
        outputs: a folder that keeps results between calls; None = nothing is kept.
    Shapes: maps have the size of the images, also where the network wants another one (`classifier.input_px`).
    Raises: ConfigError or ValueError, which say what to change. Gradients of a function are refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = _config(model, images, [f"explainer={method}", *overrides], target, reference)
        config["paths"] = {**config["paths"], "outputs": outputs or folder}
        return _gathered(_job(config))


@dataclass(frozen=True)
class Result:
    """A finished job. folder: its score folder; config: its checked config."""

    folder: Path
    config: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """Mean, interval and number of images of each metric, by its key."""
        from pomelo_lab.engine.score_files import read_summary

        return read_summary(self.folder)

    @property
    def scores(self) -> dict[str, list[Any]]:
        """One row per image: image ids, classes, and the value of each metric, by column."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "scores.parquet").to_pydict()

    @property
    def explained(self) -> Explained:
        """The stored explanations of the job's images."""
        return _gathered(_job(self.config).reader)


@dataclass(frozen=True)
class Explained:
    """Explanations of B images.

    images: float [B,C,H,W]; target: int64 [B], the explained classes; probability: float [B,K], the model's answers.
    attribution: float [B,H,W], larger = speaks more for the target; None where the method gives none.
    counterfactual: float [B,C,H,W] in [0,1]; None where the method gives none.
    extra: what else the method tells, by name. scores: float64 [B] of each metric, by its key.
    """

    images: Tensor
    target: Tensor
    probability: Tensor
    attribution: Tensor | None
    counterfactual: Tensor | None
    extra: dict[str, Tensor]
    scores: dict[str, Tensor]

    def show(self) -> Figure:
        """Draws a row for each image: the image, its map over it (red for the class, blue against), and the
        counterfactual."""
        from matplotlib.figure import Figure

        from pomelo_lab.results.sheet import rgb
        from pomelo_lab.results.sheet_page import overlays

        columns = {"image": [rgb(image) for image in self.images]}
        if self.attribution is not None:
            columns["attribution"] = overlays(self.images, self.attribution)
        if self.counterfactual is not None:
            columns["counterfactual"] = [rgb(image) for image in self.counterfactual]
        n = len(self.images)
        figure = Figure(figsize=(2.2 * len(columns), 2.2 * n), layout="constrained")
        for j, (name, pictures) in enumerate(columns.items()):
            for i, picture in enumerate(pictures):
                axes = figure.add_subplot(n, len(columns), i * len(columns) + j + 1)
                axes.imshow(picture.permute(1, 2, 0).clamp(0, 1))
                axes.set_axis_off()
                target = int(self.target[i])
                title = {0: f"class {target}: {float(self.probability[i, target]):.2f}"}.get(j, name)
                axes.set_title(title, fontsize=8)
        return figure

    def save(self, folder: str | Path) -> Path:
        """Writes maps and counterfactuals as .npy, scores as scores.json and the picture as sheet.png."""
        import json

        import numpy as np

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("attribution", "counterfactual", "target", "probability"):
            if (value := getattr(self, name)) is not None:
                np.save(folder / f"{name}.npy", value.numpy())
        (folder / "scores.json").write_text(json.dumps({key: value.tolist() for key, value in self.scores.items()}))
        self.show().savefig(folder / "sheet.png", dpi=150)
        return folder


def _composed(overrides: Sequence[str], config_dir: str | None = None) -> Any:
    """The composed config of the words of a command line."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from pomelo_lab.config.schema import register
    from pomelo_lab.config.suggest import find_error, suggestions

    register()
    folders = [*([str(Path(config_dir).resolve())] if config_dir else []), *plugin_folders()]
    if text := find_error(list(overrides)):
        raise ConfigError(text)
    session = GlobalHydra.instance()
    before, session.hydra = session.hydra, None  # a Hydra that the session uses itself
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("run", overrides=[*search_path(folders), *overrides])
    except HydraException as error:
        raise ConfigError("\n".join(suggestions(error, overrides)) or str(error)) from None
    finally:
        session.hydra = before


def _config(model: Any, images: Any, overrides: Sequence[str], target: Any, reference: Any) -> dict[str, Any]:
    """The checked config of a job on a model and images of this session."""
    from torch.nn import Module

    from pomelo_lab.held import HeldImages, as_images, as_target, count_classes, hold, hold_images

    if taken := sorted(
        {text.partition("=")[0] for text in overrides} & {"classifier", "dataset", "n_images", "target"}
    ):
        raise ValueError(
            f"{taken[0]}= is an argument of pl.explain: the model, the images and target; leave the word out"
        )
    if "explainer=none" in overrides:
        raise ValueError("method must explain, got 'none'")
    images = as_images(images)
    k = count_classes(model, images)
    labels = as_target(target, len(images), k)
    words = {
        "classifier": "module" if isinstance(model, Module) else "callable",
        ("classifier.factory" if isinstance(model, Module) else "classifier.function"): hold(model),
        "dataset": "digits",
        "dataset.size_px": images.shape[-2],
        "tracking": "none",
        "metrics": "none",
        "scale": "paper",
        "n_images": len(images),
        "target": "label" if labels is not None else "predicted" if target is None else str(target),
    }
    typed = {text.partition("=")[0] for text in overrides}
    plain = resolved(_composed([*(f"{key}={value}" for key, value in words.items() if key not in typed), *overrides]))
    plain["dataset"] = {
        "_target_": f"{HeldImages.__module__}.{HeldImages.__name__}",
        "name": hold_images(images, labels),
        "training": None if reference is None else hold_images(as_images(reference, "reference")),
        "names": [str(i) for i in range(k or 1000)],
        "split": "test",
    }
    return validate_resolved(plain)


def _job(config: dict[str, Any]) -> Job:
    """A job on this machine's device."""
    from pomelo_lab.devices import pick_device
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.store import Store

    return Job(config, Store(config["paths"]["outputs"]), pick_device(config["device"]))


def _gathered(job: Job) -> Explained:
    """The explanations and scores of all images of a job."""
    import torch

    parts = [
        (job.batch(g).image, job.clean(g), job.explanation(g), {m: job.score(m, g) for m in job.parts.metrics})
        for g in range(job.selection.n_groups)
    ]
    images, probability = (torch.cat([part[i] for part in parts]).cpu() for i in (0, 1))
    made = [part[2] for part in parts]

    def joined(name: str) -> Tensor | None:
        values = [getattr(one, name) for one in made]
        return None if values[0] is None else torch.cat(values).cpu()

    return Explained(
        images=images,
        target=joined("target"),
        probability=probability,
        attribution=joined("attribution"),
        counterfactual=joined("counterfactual"),
        extra={name: torch.cat([one.extra[name] for one in made]).cpu() for name in made[0].extra},
        scores={m: torch.cat([part[3][m].tensors["value"] for part in parts]).cpu() for m in job.parts.metrics},
    )
