"""Global counterfactual directions: the search from one image, and walks along them for others."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import BlackBox, NetworkClassifier
from pomelo_lab.classifier.layer_distance import layer_distance
from pomelo_lab.config.hints import Count, Natural, Positive
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.base import Keep, make_again
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer
from pomelo_lab.explainer.proxy import Proxy, Surrogate, curvature, gradient
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.types import Perturbations

log = logging.getLogger(__name__)

LEAST = 1e-7  # of a probability before its log-odds are taken: a black box answers in float32


def log_odds(probability: Tensor) -> Tensor:
    """log p - log(1 - p), finite: what a black box tells of a logit."""
    return torch.logit(probability.double(), eps=LEAST).float()


@dataclass(kw_only=True)
class DirectionExplainer(CounterfactualExplainer, ABC):
    """Moves the semantic code of an image along a direction found around the code of another one, the source.

    Source: paper 003, section 4, and its code: codes around the source's are rendered with the source's noise, a proxy learns what classifier and
        perceptual distance say of them, its gradient is the g-direction and the eigenvectors of its Hessian are the h-directions. Of several classes
        the directions tell the source's class from the rest. Departures: class scores are log-odds of the answered probabilities (there
        logits, which a black box does not give); renders are kept in 8 bits; the h-directions come from a symmetric solver.
    Args:
        generator: the autoencoder; left out of the config it is the job's generator.
        perceptual, layers: network of the distance to the source and its layers (the paper: LPIPS with VGG).
        proxy: the network that imitates both.
        source: place of the source image in the fixed order of the training images.
        sampling: uniform_radius = any direction, length uniform up to the radius (the code); uniform_ball = uniform in the ball (the
            paper; nearly all codes have the full length).
        radius: of the sampled codes.
        n_renders, chunk: sampled codes, and how many of them are rendered and stored at once.
        n_invert, fixed_point, n_render: steps of the inversion, its fixed-point iterations, steps of a render.
        published_grid: invert and render as the published code does, whose round trip is only near (n_invert 250, n_render 100).
        g_weights: pairs of weights (class score, distance), a g-direction for each.
        loss_weights: that pair in the loss of the line search (eq. 1 and 5), and of the Hessian "loss".
        n_h: h-directions that are kept, of each Hessian.
        seed: of codes and starts of the chain; the proxy has its own.
        direction: g or h, and index: which of them; several = for each image the one with the least loss.
        hessian: class = of the class score alone (the code), loss = of the weighted sum (eq. 4).
        order: what index counts h-directions by: eigenvalue = the largest magnitude first; flips = the largest share of n_rank training images that
            they flip (Table 4; there of the images that are then scored).
        n_alphas, reach: how many places of the line search on a side, and the last one's distance.
        both_sides: whether the line goes both ways (the published transfer); None = along h-directions, which have no sign, but not along
            g-directions, which point to the goal.
    Cost: of the search, once per source, data set and classifier: n_renders * n_render evaluations and n_renders queries, and by order=flips those of
        n_rank images explained along each h-direction; per explained image
        n_invert * (1 + fixed_point) evaluations, and as many renders and queries as directions have places.
    Random: codes per (seed, source).
    """

    access: ClassVar[str] = "black_box"
    signed: ClassVar[bool] = False
    fitted = frozenset(
        {"generator", "perceptual", "layers", "proxy", "source", "sampling", "radius", "n_renders", "chunk", "n_invert", "fixed_point", "n_render"}
    ) | {"published_grid", "g_weights", "loss_weights", "n_h", "seed", "order", "hessian", "n_rank", "n_alphas", "reach", "both_sides"}
    rendered: ClassVar[frozenset[str]] = frozenset({"generator", "source", "sampling", "radius", "chunk", "seed", "published_grid"}) | {
        "n_invert",
        "fixed_point",
        "n_render",
    }

    generator: DiffusionAutoencoder
    perceptual: NetworkClassifier
    proxy: Proxy
    layers: list[str] = field(default_factory=lambda: ["stage1", "stage2", "stage3", "stage4"])
    source: Natural = 0
    sampling: Literal["uniform_radius", "uniform_ball"] = "uniform_radius"
    radius: Positive = 1.0
    n_renders: Count = 53248
    chunk: Count = 1024
    n_invert: Count = 250
    fixed_point: Natural = 0
    n_render: Count = 100
    published_grid: bool = False
    g_weights: list[list[float]] = field(default_factory=lambda: [[1.0, 0.0], [0.05, 1.0]])
    loss_weights: list[float] = field(default_factory=lambda: [0.05, 1.0])
    n_h: Count = 15
    seed: int = 0
    direction: Literal["g", "h"] = "g"
    index: list[Natural] = field(default_factory=lambda: [0])
    hessian: Literal["class", "loss"] = "class"
    order: Literal["eigenvalue", "flips"] = "eigenvalue"
    n_rank: Count = 128
    n_alphas: Count = 64
    reach: Positive = 3.0
    both_sides: bool | None = None

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Directions that are not found, weights that are not pairs, grids that do not invert."""
        known = len(given["g_weights"]) if given["direction"] == "g" else given["n_h"]
        for index in given["index"] or [-1]:
            if not 0 <= index < known:
                yield f"index must name directions 0..{known - 1}, got {given['index']}"
                break
        for pair in (*given["g_weights"], given["loss_weights"]):
            if len(pair) != 2:
                yield f"g_weights and loss_weights must be pairs (class score, distance), got {pair}"
        if not given["published_grid"] and given["n_invert"] != given["n_render"]:
            yield f"n_render must be n_invert={given['n_invert']} unless published_grid=true: else nothing is inverted, got {given['n_render']}"

    # --- the search -----------------------------------------------------------------------------------------------

    def fit(self, training: Dataset, classifier: BlackBox, keep: Keep = make_again) -> dict[str, Tensor]:
        """The directions: "g" [P,D], "h_class" and "h_loss" [n_h,D] with "e_class" and "e_loss" (eigenvalues); the source's "class"; how it went:
        "explained" [K+1], the share of the variance of scores and distance that the proxy explains on held-out renders, and "left", the share of the
        renders that are not of the source's class; "source" [C,H,W] and "reconstruction"; by order=flips also "rate" [n_h].

        Directions point to where the score of the source's class grows and the loss with it.
        """
        image, code, noise = self.start(training, keep)
        shifts, scores, distances = [], [], []
        for k, images in enumerate(self.renders(code, noise, keep)):
            shift = self.displacements(k, code.shape[1])[: self.n_renders - k * self.chunk]
            images = images[: len(shift)].to(image.device)
            scores.append(log_odds(classifier.probability(images)).cpu())
            distances.append(self.distance(image, images).cpu())
            shifts.append(shift)
        shift, score, distance = torch.cat(shifts), torch.cat(scores), torch.cat(distances)
        own = int(classifier.probability(image).argmax())
        proxy, explained = self.proxy.fitted(shift, score, distance)
        found = self.directions(proxy, own, code.shape[1])
        if self.order == "flips":
            found |= self.ranked(found, own, training, classifier)
        again = self.drawn(code, noise, torch.zeros(1, code.shape[1]))[0]
        share = (score.argmax(1) != own).float().mean()
        return {**found, "class": torch.tensor(own), "explained": explained, "left": share, "source": image[0].cpu(), "reconstruction": again.cpu()}

    def prepare(self, training: Dataset, keep: Keep) -> None:
        """The renders around the source, each chunk by one of the processes that need them."""
        _, code, noise = self.start(training, keep)
        for _ in self.renders(code, noise, keep, wait=False):
            pass

    def start(self, training: Dataset, keep: Keep) -> tuple[Tensor, Tensor, Tensor]:
        """The source [1,C,H,W], its code [1,D] and noise [1,C,H,W]."""
        row = training.order()[self.source : self.source + 1].tolist()
        if not row:
            raise ValueError(f"explainer.source must be below {len(training)}, the number of training images, got {self.source}")
        image = training.unmasked(row).image.to(self.generator.device)
        self.generator.check_images(image)
        of_source = self.rendered - {"sampling", "radius", "chunk", "seed"}
        found = keep(of_source, 0, lambda: dict(zip(("code", "noise"), self.encoded(image), strict=True)))
        return image, found["code"].to(image), found["noise"].to(image)

    def renders(self, code: Tensor, noise: Tensor, keep: Keep, wait: bool = True) -> Iterator[Tensor | None]:
        """Chunk after chunk of what displaced codes render, uint8 [chunk,C,H,W]; None for one that another process is at and that is not waited for.

        A chunk is stored whole, so that a search with more renders continues this one.
        """
        n_chunks, began = -(-self.n_renders // self.chunk), time.monotonic()
        for k in range(n_chunks):
            found = keep(self.rendered, k, lambda k=k: {"image": self.drawn(code, noise, self.displacements(k, code.shape[1]))}, wait)
            yield found and found["image"]
            left = (time.monotonic() - began) / (k + 1) * (n_chunks - k - 1)
            done = min(self.n_renders, (k + 1) * self.chunk)
            log.info("directions: %d of %d %s, %.0f s left", done, self.n_renders, "asked about" if wait else "rendered", left)

    def directions(self, proxy: Surrogate, own: int, n: int) -> dict[str, Tensor]:
        """g- and h-directions of a proxy whose output `own` is the score of the source's class and whose last is the distance."""

        def loss(weights: list[float]) -> Any:
            return lambda at: weights[0] * proxy(at)[0, own] + weights[1] * proxy(at)[0, -1]

        found = {"g": torch.stack([gradient(loss(pair), n) for pair in self.g_weights])}
        for name, pair in (("class", [1.0, 0.0]), ("loss", self.loss_weights)):
            found[f"e_{name}"], found[f"h_{name}"] = curvature(loss(pair), n, self.n_h)
        return found

    def ranked(self, found: Mapping[str, Tensor], own: int, training: Dataset, classifier: BlackBox) -> dict[str, Tensor]:
        """The h-directions of `hessian` by the share of training images, those after the source, that change their class somewhere along them."""
        rows = training.order()[self.source + 1 : self.source + 1 + self.n_rank].tolist()
        images, alphas, name = training.unmasked(rows).image.to(classifier.device), self.alphas("h"), f"h_{self.hessian}"
        was, (code, noise) = classifier.probability(images).argmax(1), self.encoded(images)
        rates = torch.zeros(len(found[name]))
        for i, line in enumerate(found[name]):
            sign = torch.where(was == own, -1.0, 1.0).cpu()
            answer = classifier.probability(self.drawn(code, noise, sign[:, None, None] * alphas[:, None] * line)).argmax(2)
            rates[i] = (answer != was[:, None]).any(1).float().mean()
            log.info("directions: %d of %d ranked", i + 1, len(rates))
        order = rates.argsort(descending=True, stable=True)
        eigenvalues = f"e_{self.hessian}"
        return {name: found[name][order], eigenvalues: found[eigenvalues][order], "rate": rates[order]}

    def displacements(self, k: int, n: int) -> Tensor:
        """Chunk k of the displacements of the source's code: float32 [chunk,n]."""
        name, streams = f"source.{self.source}", Streams(self.seed)
        drawn = streams.normal([name], f"gcd.direction.{k}", self.chunk, n)[0]
        length = streams.uniform([name], f"gcd.length.{k}", self.chunk, 1)[0]
        if self.sampling == "uniform_ball":
            length = length ** (1 / n)
        return self.radius * length * torch.nn.functional.normalize(drawn, dim=1)

    # --- images from codes ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(codes [B,D], noise [B,C,H,W]) of images in [0,1]."""

        def some(start: int, stop: int) -> tuple[Tensor, Tensor]:
            code = self.generator.encoded(images[start:stop])
            return code, self.generator.noise_of(images[start:stop], code, self.n_invert, self.fixed_point, self.published_grid)

        return self.generator.forwards.rows(some, len(images))

    @torch.no_grad()
    def drawn(self, code: Tensor, noise: Tensor, shift: Tensor) -> Tensor:
        """What displaced codes render, uint8: code [B,D], noise [B,C,H,W], shift [B,A,D] -> [B,A,C,H,W]; or one image's, shift [A,D] -> [A,C,H,W]."""
        flat = shift.reshape(-1, shift.shape[-1]).to(code)
        each = len(flat) // len(code)

        def some(start: int, stop: int) -> Tensor:
            of = torch.arange(start, stop, device=code.device) // each
            return Perturbations.quantize(self.generator.render(code[of] + flat[start:stop], noise[of], self.n_render, self.published_grid))

        return self.generator.forwards.rows(some, len(flat)).reshape(*shift.shape[:-1], *noise.shape[1:])

    @torch.no_grad()
    def distance(self, one: Tensor, others: Tensor) -> Tensor:
        """Perceptual distance of each image [B,C,H,W] to others, uint8 [B,A,C,H,W] -> [B,A]; or of one, [1,C,H,W] to [A,C,H,W] -> [A]."""
        flat, each = others.reshape(-1, *others.shape[-3:]), others.shape[-4]

        def some(start: int, stop: int) -> Tensor:
            of = torch.arange(start, stop, device=one.device) // each
            return layer_distance(self.perceptual, self.layers, one[of], Perturbations.dequantize(flat[start:stop]))

        return self.generator.forwards.rows(some, len(flat)).reshape(others.shape[:-3])

    # --- walks ----------------------------------------------------------------------------------------------------

    def goals(self, images: Tensor, target: Tensor, classifier: BlackBox, reference: Mapping[str, Tensor] | None = None) -> Tensor:
        """As for all counterfactuals; but a direction only tells the source's class from the rest, so other images go there."""
        goal, own = super().goals(images, target, classifier), int(reference["class"])
        if self.goal is not None and self.goal != own and bool(((target != own) & (target != goal)).any()):
            raise ValueError(f"explainer.goal must be {own}, the source's class, or left out: from other classes the directions lead nowhere else")
        return torch.where(target == own, goal, own)

    def lines(self, goal: Tensor, reference: Mapping[str, Tensor]) -> Tensor:
        """Unit directions towards the goals [B] of as many images, one for each index: [B,n,D]."""
        found = reference["g" if self.direction == "g" else f"h_{self.hessian}"][self.index].to(goal.device)
        sign = torch.where(goal == int(reference["class"]), 1.0, -1.0)
        return sign[:, None, None] * found

    def alphas(self, direction: Literal["g", "h"] | None = None) -> Tensor:
        """Places of the line search along directions of a kind (None = the explainer's), without 0: [n_alphas], or twice as many on both sides."""
        ahead = self.reach * torch.arange(1, self.n_alphas + 1) / self.n_alphas
        both = (direction or self.direction) == "h" if self.both_sides is None else self.both_sides
        return torch.cat([-ahead.flip(0), ahead]) if both else ahead

    def loss(self, score: Tensor, distance: Tensor) -> Tensor:
        """Eq. 1: weighted log-odds against the goal, and distance; both as they come."""
        return self.loss_weights[0] * -score + self.loss_weights[1] * distance

    @property
    def inversion(self) -> int:
        """Evaluations that find the noise of an image."""
        return self.n_invert * (1 if self.published_grid else 1 + self.fixed_point)

    def fit_costs(self, n_training: int) -> tuple[int, int, int]:
        """The source, whole chunks around it, its reconstruction; by order=flips the walks of the ranking images along each h-direction."""
        n_ranked = min(self.n_rank, n_training - self.source - 1) if self.order == "flips" else 0
        n_walked = self.n_h * len(self.alphas("h"))
        n_around = -(-self.n_renders // self.chunk) * self.chunk
        evaluations = (1 + n_ranked) * self.inversion + (n_around + 1 + n_ranked * n_walked) * self.n_render
        return evaluations, 1 + self.n_renders + n_ranked * (1 + n_walked), n_around * math.prod(self.generator.shape)

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        return self.inversion + len(self.index) * len(self.alphas()) * self.n_render

    def queries(self, shape: tuple[int, int, int]) -> int:
        return 1 + len(self.index) * len(self.alphas())
