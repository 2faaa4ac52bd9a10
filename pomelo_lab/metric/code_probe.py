"""The information about a classifier's answer in the semantic code of an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.metric.base import Metric, Summary, mean_summary


@dataclass(kw_only=True)
class CodeProbe(Metric):
    """Share of the images whose predicted class a linear probe can predict from their semantic code.

    A direction in the code can only change properties that the code contains. A low share therefore limits every method
    that moves codes.

    Source: own; linear probes as in Preechakul et al. (2022), https://arxiv.org/abs/2111.15640, section 5.2, who use
        them for attributes.
    Args:
        generator: the autoencoder; by default the job's generator.
        n_reference: number of training images for the probe, the first of the data set's fixed shuffle.
        strength: inverse weight of the L2 penalty, for codes of mean 0 and deviation 1.
    Shapes: "value" [B]. The summary's details name "chance", the share of the largest class among the training images.
    Cost: one encoder pass and one query per training and per scored image.
    """

    direction = "higher"
    needs = frozenset({"classifier"})

    generator: DiffusionAutoencoder
    n_reference: Count = 5000
    strength: float = 1.0

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        from sklearn.linear_model import LogisticRegression

        rows = training.order()[: self.n_reference].tolist()
        parts = [
            training.unmasked(rows[start : start + 256]).image.to(classifier.device)
            for start in range(0, len(rows), 256)
        ]
        code = torch.cat([self.codes(images) for images in parts])
        answer = torch.cat([classifier.probability(images).argmax(1).cpu() for images in parts])
        mean, deviation = code.mean(0), code.std(0).clamp_min(1e-12)
        chance = answer.bincount().max() / len(answer)
        weight, bias = (
            torch.zeros(classifier.num_classes, code.shape[1]).double(),
            torch.full((classifier.num_classes,), -torch.inf).double(),
        )
        known = answer.unique()
        if len(known) == 1:
            bias[known] = 0.0
        else:
            probe = LogisticRegression(C=self.strength, max_iter=5000).fit(
                ((code - mean) / deviation).numpy(), answer.numpy()
            )
            w, b = torch.from_numpy(probe.coef_), torch.from_numpy(probe.intercept_)
            if len(known) == 2:  # for two classes the probe has one row, the margin of the second class
                w, b = torch.cat([torch.zeros_like(w), w]), torch.cat([torch.zeros_like(b), b])
            weight[known], bias[known] = w, b
        return {"weight": weight / deviation, "bias": bias - (weight / deviation) @ mean, "chance": chance.float()}

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """The codes of images: float64 [B,D] on the CPU."""
        return self.generator.to(images.device).encoded(images).double().cpu()

    def score(self, case: Case) -> dict[str, Tensor]:
        score = self.codes(case.batch.image) @ case.reference["weight"].cpu().T + case.reference["bias"].cpu()
        answer = case.classifier.probability(case.batch.image).argmax(1).cpu()
        return {"value": (score.argmax(1) == answer).double()}

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        summary = mean_summary(rows["value"])
        return Summary(
            summary.mean, summary.std, summary.n, summary.n_nan, details={"chance": float(reference["chance"])}
        )

    def fit_cost(self, n_training: int) -> Cost:
        return Cost(queries=min(self.n_reference, n_training))

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=1)
