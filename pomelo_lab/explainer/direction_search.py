"""The search for global counterfactual directions around the code of one image."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.answers import log_odds
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Fraction, Natural, OmitDefault, Positive, WeightsPath
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.convergence import still_moving
from pomelo_lab.explainer.direction_mean import average
from pomelo_lab.explainer.fit_in_parts import FitInParts, PartCache, no_cache
from pomelo_lab.explainer.proxy import Proxy, Surrogate, curvature, gradient
from pomelo_lab.explainer.training_walks import RANDOM_LINES, RANDOM_STEPS, TrainingWalks
from pomelo_lab.weights import read_state

log = logging.getLogger(__name__)

STORED = frozenset(  # the entries of a stored search that explanations read
    "g g_class h_class h_loss e_class e_loss class explained loss moving left source_probability".split()
)
EXPLAINED = 0.2  # the search warns when the proxy explains a smaller share of the variance of the class score


@dataclass(kw_only=True)
class DirectionSearch(FitInParts, TrainingWalks, ABC):
    """Searches global directions around the code of one training image, the source.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, section 4,
        and its code. Codes near the source's code are rendered with the source's noise. A proxy network learns to
        predict the class scores and the perceptual distance of the rendered images. The gradient of the proxy is the
        g-direction; the eigenvectors of its Hessian are the h-directions. With more than two classes the directions
        separate the source's class from all others. Departures: class scores are log-odds of the classifier's
        probabilities (the published code uses logits, which a black box does not give). Without a weights file of LPIPS
        the distance is that of `perceptual`, divided by its mean between two training images. The h-directions come
        from a symmetric eigenvalue solver.
    Args:
        proxy: the network that predicts class scores and distance.
        source: position of the source image in the fixed order of the training images.
        source_probability: if given, the source is chosen among the n_candidates training images from position `source`
            on: the image whose probability of its predicted class is nearest to this value. None = the image at
            `source`.
        n_sources: number of sources, all of one class and the first such images among the n_candidates. The search
            runs around each and the directions are averaged. This is our extension; the paper uses one source.
        directions: file with the directions of an earlier search (the shard that a job stored below reference/). No
            search is run. The source's class, the directions and the report come from the file. The unit, the reach and
            the order are measured with the arguments given to this explainer; random_flips and order=flips use the
            training images after `source`. It cannot be combined with source_probability.
        sampling: uniform_radius = any direction, length uniform up to the radius (the published code); uniform_ball =
            uniform in the ball (the paper; nearly all codes have the full length).
        radius: largest length of the sampled displacements.
        n_renders, chunk: number of sampled codes, and how many of them are rendered and stored at once.
        g_weights: pairs of weights (class score, distance); each pair gives one g-direction.
        loss_weights: the pair of weights in the loss of the line search (eq. 1 and 5) and of the Hessian "loss".
        without_g: project the g-direction of the class score out of the Hessian first. Its largest eigenvector is
            nearly that direction.
        The other arguments are those of LatentDistance and TrainingWalks.
    Cost: the search needs n_renders * n_render evaluations once per source and data set, and n_renders queries per
        classifier. order=flips adds explanations of n_rank images along each h-direction, random_flips along two lines.
    Random: codes per (seed, source).
    """

    revision: ClassVar[int] = RandomStreams.revision
    rendered: ClassVar[frozenset[str]] = frozenset(
        {"generator", "source", "sampling", "radius", "chunk", "seed"}
        | {"published_grid", "n_invert", "fixed_point", "n_render"}
    )
    walked: ClassVar[frozenset[str]] = rendered - {"sampling", "radius", "chunk"} | {"n_rank", "reach"}
    fit_arguments = (
        rendered
        | walked
        | {"perceptual", "layers", "lpips", "n_pairs", "proxy", "source_probability", "n_candidates", "directions"}
        | {"n_sources", "n_renders", "g_weights", "loss_weights", "n_h", "hessian", "without_g"}
        | {"order", "n_alphas", "random_flips", "both_sides"}
    )

    proxy: Proxy
    source: Natural = 0
    source_probability: Fraction | None = None
    n_candidates: Count = 64
    n_sources: Annotated[Count, OmitDefault()] = 1
    directions: WeightsPath = None
    sampling: Literal["uniform_radius", "uniform_ball"] = "uniform_radius"
    radius: Positive = 1.0
    n_renders: Count = 53248
    chunk: Count = 1024
    g_weights: list[list[float]] = field(default_factory=lambda: [[1.0, 0.0], [0.05, 1.0]])
    loss_weights: list[float] = field(default_factory=lambda: [0.05, 1.0])
    without_g: bool = False

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports malformed weights, conflicting arguments, and distances that the proxy's sigmoid cannot reach."""
        yield from super().config_problems(given)
        for pair in (*given["g_weights"], given["loss_weights"]):
            if len(pair) != 2:
                yield f"g_weights and loss_weights must be pairs (class score, distance), got {pair}"
        if given["n_sources"] > given["n_candidates"]:
            yield f"n_sources must be <= n_candidates={given['n_candidates']}, got {given['n_sources']}"
        if given["directions"] is not None and given["n_sources"] > 1:
            yield f"n_sources must be 1 where directions names a file, got {given['n_sources']}"
        if given["directions"] is not None and given["source_probability"] is not None:
            yield (
                "source_probability must be null where directions names a file, whose source was chosen, "
                f"got {given['source_probability']}"
            )
        proxy = given.get("proxy")
        standardize = (
            proxy.get("standardize", True) if isinstance(proxy, Mapping) else getattr(proxy, "standardize", True)
        )
        if not standardize and given["lpips"] is None:
            yield (
                "proxy.standardize=false puts a sigmoid on the distance, which must lie in (0,1): "
                "it needs lpips, a weights file of VGG-16, got null"
            )

    # --- the search -----------------------------------------------------------------------------------------------

    def fit(self, training: Dataset, classifier: BlackBox, cached_part: PartCache = no_cache) -> dict[str, Tensor]:
        """Runs the search and returns the directions, the values that a walk needs, and a report.

        Directions: "g" [P,D], "g_class" [D] (of the class score alone), "h_class" and "h_loss" [n_h,D] with their
        eigenvalues "e_class" and "e_loss". order=flips adds "rate" [n_h]. g-directions point towards a larger score of
        the source's class, and so towards a larger loss.

        For a walk: "class" of the source, "unit" of distances, "reach".
        Report: "explained" [K+1] is the share of the variance of scores and distance that the proxy explains on
        held-out renders. "loss" [T] is the proxy's validation loss by epoch, and "moving" measures how far it was from
        rest at the end. The loss of a proxy on a plateau is at rest too, so read "explained" as well. "left" is
        the share of the renders that are not of the source's class. "source_probability" is the source's probability
        of its class. "position", "source" and "reconstruction" describe the source.
        """
        if self.directions is not None:
            return self.load(training, classifier, cached_part)
        positions, unit = self.positions(training, classifier), self.distance_unit(training)
        parts = [self.search_around(position, unit, training, classifier, cached_part) for position in positions]
        made = parts[0] if len(parts) == 1 else average(parts, self.n_h)
        made |= {"unit": unit, "reach": torch.tensor(self.reach)}
        return made | self.walk_from_training_images(made, positions[0], training, classifier, cached_part)

    def search_around(
        self, position: int, unit: Tensor, training: Dataset, classifier: BlackBox, cached_part: PartCache
    ) -> dict[str, Tensor]:
        """Runs the search around one source and returns its directions and its report."""
        image, code, noise = self.start(training, position, cached_part)
        shifts, scores, distances = [], [], []
        for k, images in enumerate(self.renders(code, noise, position, cached_part)):
            shift = self.displacements(k, code.shape[1], position)[: self.n_renders - k * self.chunk]
            images = images[: len(shift)].to(image.device)
            scores.append(log_odds(classifier.probability(images)).cpu())
            distances.append(self.distance(image, images, unit).cpu())
            shifts.append(shift)
        shift, score, distance = torch.cat(shifts), torch.cat(scores), torch.cat(distances)
        answer = classifier.probability(image)[0]
        source_class = int(answer.argmax())
        proxy, explained, losses = self.proxy.fit(shift, score, distance)
        left, p_own = (score.argmax(1) != source_class).float().mean(), answer[source_class].cpu()
        log.info(
            "directions: %.2f of the class score explained, %.2f of the renders left the class",
            explained[source_class],
            left,
        )
        if explained[source_class] < EXPLAINED:
            log.warning(
                "explainer.proxy explains %.2f of the variance of the class score: its directions are hardly better "
                "than "
                "random ones; more explainer.n_renders or explainer.proxy.least_steps help",
                explained[source_class],
            )
        made = {"class": torch.tensor(source_class), "explained": explained}
        made |= {"loss": losses, "moving": still_moving(losses[None])[0], "left": left, "source_probability": p_own}
        made |= self.differentiate(proxy, source_class, code.shape[1])
        again = self.render(code, noise, torch.zeros(1, code.shape[1]))[0]
        return {**made, "position": torch.tensor(position), "source": image[0].cpu(), "reconstruction": again.cpu()}

    def prepare(self, training: Dataset, cached_part: PartCache) -> None:
        """Renders the images around the source before `fit` reads them, unless the classifier chooses the source.

        All processes share the work: each renders other chunks, and awaits those of others last.
        """
        if self.directions is not None or self.chooses:
            return
        _, code, noise = self.start(training, self.source, cached_part)
        if any([images is None for images in self.renders(code, noise, self.source, cached_part, wait=False)]):
            for _ in self.renders(code, noise, self.source, cached_part):
                pass

    def walk_from_training_images(
        self, made: Mapping[str, Tensor], position: int, training: Dataset, classifier: BlackBox, cached_part: PartCache
    ) -> dict[str, Tensor]:
        """Measures values by walking from the training images after `position`.

        random_flips gives a shorter "reach"; order=flips gives the order of the h-directions.
        """
        decided: dict[str, Tensor] = {}
        if self.random_flips is not None:
            decided["reach"] = self.shorten_reach(training, position, classifier, cached_part)
        if self.order == "flips":
            decided |= self.rank({**made, **decided}, position, training, classifier)
        return decided

    def load(self, training: Dataset, classifier: BlackBox, cached_part: PartCache) -> dict[str, Tensor]:
        """Reads the directions of an earlier search. The unit, the reach and the order follow this explainer's
        arguments.

        Raises: ValueError when the file lacks entries (the message names them), and when the length of its directions
            or its number of classes does not match the autoencoder and the classifier.
        """
        stored, n_code = read_state(self.directions, "explainer.directions"), self.generator.code
        if missing := sorted(STORED - set(stored)):
            raise ValueError(
                f"explainer.directions={self.directions} must hold what a search stores, got a file without "
                f"{', '.join(missing)}: search again"
            )
        if stored["g"].shape[1] != n_code or len(stored["explained"]) != classifier.num_classes + 1:
            raise ValueError(
                f"explainer.directions={self.directions} must hold directions of {n_code} entries and "
                f"{classifier.num_classes} classes, as a search stores them, got {stored['g'].shape[1]} entries and "
                f"{len(stored['explained']) - 1} classes"
            )
        made = {name: tensor for name, tensor in stored.items() if tensor.dtype != torch.uint8 and name != "rate"}
        for name in ("class", "loss"):
            order = made[f"e_{name}"].abs().argsort(descending=True, stable=True)[: self.n_h]
            made |= {f"{kind}_{name}": made[f"{kind}_{name}"][order] for kind in "eh"}
        made |= {"unit": self.distance_unit(training), "reach": torch.tensor(self.reach)}
        return made | self.walk_from_training_images(
            made, self.positions(training, classifier)[0], training, classifier, cached_part
        )

    @property
    def chooses(self) -> bool:
        """Whether the classifier decides which images are sources."""
        return self.source_probability is not None or self.n_sources > 1

    def positions(self, training: Dataset, classifier: BlackBox) -> list[int]:
        """Positions of the sources in the order of the training images.

        Raises: ValueError when too few candidates have the class of the first source.
        """
        if self.source >= len(training):
            raise ValueError(
                f"explainer.source must be below {len(training)}, the number of training images, got {self.source}"
            )
        if not self.chooses:
            return [self.source]
        rows = training.order()[self.source : self.source + self.n_candidates].tolist()
        probability, label = classifier.probability(training.unmasked(rows).image.to(self.generator.device)).max(1)
        order = torch.arange(len(rows), device=probability.device)
        if self.source_probability is not None:
            order = (probability - self.source_probability).abs().argsort(stable=True)
        alike = order[label[order] == label[order[0]]][: self.n_sources].tolist()
        if len(alike) < self.n_sources:
            raise ValueError(
                f"explainer.n_sources={self.n_sources} needs as many candidates of one class, got {len(alike)}: "
                f"raise explainer.n_candidates={self.n_candidates}"
            )
        return [self.source + position for position in alike]

    def start(self, training: Dataset, position: int, cached_part: PartCache) -> tuple[Tensor, Tensor, Tensor]:
        """The source [1,C,H,W], its code [1,D] and noise [1,C,H,W]."""
        image = training.unmasked(training.order()[position : position + 1].tolist()).image.to(self.generator.device)
        self.generator.check_images(image)
        arguments = self.rendered - {"sampling", "radius", "chunk", "seed"}
        kept = cached_part(
            arguments, 0, lambda: dict(zip(("code", "noise"), self.encode(image), strict=True)), source=position
        )
        return image, kept["code"].to(image), kept["noise"].to(image)

    def renders(
        self, code: Tensor, noise: Tensor, position: int, cached_part: PartCache, wait: bool = True
    ) -> Iterator[Tensor | None]:
        """Yields the rendered images of displaced codes, chunk by chunk: uint8 [chunk,C,H,W].

        With wait=False a chunk that another process is computing is None. Chunks are stored whole, so a later search
        with more renders reuses them.
        """
        n_chunks, began = -(-self.n_renders // self.chunk), time.monotonic()
        for k in range(n_chunks):

            def made(k: int = k) -> dict[str, Tensor]:
                return {"image": self.render(code, noise, self.displacements(k, code.shape[1], position))}

            kept = cached_part(self.rendered, k, made, wait, source=position)
            yield kept and kept["image"]
            left = (time.monotonic() - began) / (k + 1) * (n_chunks - k - 1)
            done = min(self.n_renders, (k + 1) * self.chunk)
            log.info(
                "directions: %d of %d %s, %.0f s left",
                done,
                self.n_renders,
                "asked about" if wait else "rendered",
                left,
            )

    def differentiate(self, proxy: Surrogate, source_class: int, n: int) -> dict[str, Tensor]:
        """Differentiates the proxy at the source and returns the g- and h-directions.

        Output `source_class` of the proxy is the score of that class; its last output is the distance.
        """

        def loss(weights: list[float]) -> Any:
            return lambda shift: weights[0] * proxy(shift)[0, source_class] + weights[1] * proxy(shift)[0, -1]

        made = {
            "g": torch.stack([gradient(loss(pair), n) for pair in self.g_weights]),
            "g_class": gradient(loss([1.0, 0.0]), n),
        }
        for name, pair in (("class", [1.0, 0.0]), ("loss", self.loss_weights)):
            made[f"e_{name}"], made[f"h_{name}"] = curvature(
                loss(pair), n, self.n_h, made["g_class"] if self.without_g else None
            )
        return made

    def displacements(self, k: int, n: int, position: int = 0) -> Tensor:
        """Draws chunk k of the displacements from the source's code: float32 [chunk,n]."""
        name, streams = f"source.{position}", RandomStreams(self.seed)
        drawn = streams.normal([name], f"gcd.direction.{k}", self.chunk, n)[0]
        length = streams.uniform([name], f"gcd.length.{k}", self.chunk, 1)[0]
        if self.sampling == "uniform_ball":
            length = length ** (1 / n)
        return self.radius * length * F.normalize(drawn, dim=1)

    def fit_cost(self, n_training: int) -> Cost:
        """The cost of the search, with whole chunks of renders, and of the walks from the training images after the
        source. With `directions` only the walks remain."""
        searches = 0 if self.directions is not None else self.n_sources
        n_others = min(self.n_rank, n_training - self.source - 1)
        n_candidates = min(self.n_candidates, n_training - self.source) if self.chooses else 0
        ranking, shortening = self.order == "flips", self.random_flips is not None
        n_ranked, n_random = self.n_h * self.sides("h") * self.n_alphas, RANDOM_LINES * 2 * RANDOM_STEPS
        n_around = searches * -(-self.n_renders // self.chunk) * self.chunk
        walked = n_others * (ranking * n_ranked + shortening * n_random)
        started = n_others * (ranking + shortening)
        evaluations = (searches + started) * self.inversion + (n_around + searches + walked) * self.n_render
        queries = searches * (1 + self.n_renders) + n_candidates + started + walked
        n_stored = n_around + n_others * shortening * n_random
        return Cost(queries, evaluations, n_stored * math.prod(self.generator.shape))
