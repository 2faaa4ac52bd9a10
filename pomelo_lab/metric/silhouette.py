"""Distribution alignment as a set statistic: can perturbed images be told from training images?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Natural, NonNegative
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Summary
from pomelo_lab.metric.features import FeatureMetric, training_features


@dataclass(kw_only=True)
class Silhouette(FeatureMetric):
    """Silhouette of two clusters, perturbed and training images, in a 2-D UMAP of the classifier's penultimate
    features.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.1 and Fig. 4;
        Rousseeuw (1987), https://doi.org/10.1016/0377-0427(87)90125-7. 0 = indistinguishable, 1 = separated: lower
        magnitude is better, the table's arrow contradicts its text (black-out, the most separated, has the largest).
        Unstated and chosen: the two labels, UMAP's default n_neighbors and min_dist, joint embeddings, as many
        perturbed as training points. Departures: the mean over several choices of points and seeds of UMAP, since the
        order of similar samplers changes with the seed of one.
    Args:
        n_per_image: number of perturbations of each image that are candidates, chosen at random among all but
            perturbation 0.
        n_points: number of points of each kind in the embedding; where fewer exist of one kind, fewer of both.
        space: "umap" embeds first; "feature" scores the raw features.
        n_neighbors: of UMAP; at most the number of points - 1.
        min_dist: of UMAP.
        embedding_seed: seed of the first choice of points and of its UMAP.
        n_embeddings: number of choices of points, each embedded with another seed; the score is their mean.
    Shapes: score gives "feature" float32 [B,n_per_image,D]. NaN with fewer than 3 points; non-finite features are left
        out.
    Cost: n_per_image features per image; UMAP takes about 20 s to import and a few for each embedding.
    Random: one permutation per image ("silhouette").
    """

    revision: ClassVar[int] = 2  # 1 took the image itself for one of its perturbations
    direction = "lower"
    random = True

    n_per_image: Count = 5
    n_points: Count = 500
    space: Literal["umap", "feature"] = "umap"
    n_neighbors: Count = 15
    min_dist: NonNegative = 0.1
    embedding_seed: Natural = 0
    n_embeddings: Count = 5

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        return {"feature": training_features(training, self.network(classifier), self.n_points)[0]}

    def score(self, case: Case) -> dict[str, Tensor]:
        images = case.perturbations.scored.image
        chosen = case.streams.permutation(case.batch.image_id, "silhouette", 1, images.shape[1])[
            :, 0, : self.n_per_image
        ]
        rows = torch.arange(len(images), device=images.device)[:, None]
        picked = images[rows, chosen.to(images.device)]
        return {"feature": self.network(case.classifier).feature(picked.flatten(0, 1)).view(*picked.shape[:2], -1)}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        repeats = tuple(silhouette(*self.embedding(rows, reference, k)) for k in range(self.n_embeddings))
        n_nan = int((~rows["feature"].isfinite().flatten(1).all(1)).sum())
        n = len(rows["feature"]) - n_nan
        return Summary(mean=sum(repeats) / len(repeats), std=None, n=n, n_nan=n_nan, repeats=repeats)

    def embedding(
        self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor], k: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The perturbed and the training points that the k-th embedding scores; Fig. 4 draws the first.

        Args: rows: what `score` returned; reference: what `fit` returned.
        Shapes: two tensors [m,2], or [m,D] with space="feature"; m is n_points, or less where fewer points exist. Fewer
            than 3 points are not embedded.
        """
        clouds = [rows["feature"].flatten(0, 1).cpu(), reference["feature"].cpu()]
        clouds = [cloud[cloud.isfinite().all(1)] for cloud in clouds]
        seed, m = self.embedding_seed + k, min(self.n_points, *map(len, clouds))
        generator = torch.Generator().manual_seed(seed)
        picked = [cloud[torch.randperm(len(cloud), generator=generator)[:m]] for cloud in clouds]
        if self.space == "feature" or 2 * m < 3:
            return picked[0], picked[1]
        import umap  # 20 s: only when an embedding is wanted

        model = umap.UMAP(
            n_neighbors=min(self.n_neighbors, 2 * m - 1),
            min_dist=self.min_dist,
            n_components=2,
            random_state=seed,
            n_jobs=1,
            # a spectral start needs more points than neighbours and coordinates; a random one always exists
            init="spectral" if 2 * m > 16 else "random",
        )
        points = torch.from_numpy(model.fit_transform(torch.cat(picked).numpy()))
        return points[:m], points[m:]

    def fit_cost(self, n_training: int) -> Cost:
        return Cost(queries=min(self.n_points, n_training) if self.embedder is None else 0)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=min(self.n_per_image, n_perturbations - 1) if self.embedder is None else 0)


def silhouette(perturbed: Tensor, training: Tensor) -> float:
    """Mean silhouette coefficient of two labelled clouds; NaN with fewer than 3 points or an empty cloud."""
    if len(perturbed) + len(training) < 3 or not len(perturbed) or not len(training):
        return math.nan
    from sklearn.metrics import silhouette_score

    label = [0] * len(perturbed) + [1] * len(training)
    return float(silhouette_score(torch.cat([perturbed, training]).numpy(), label))
