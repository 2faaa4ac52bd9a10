"""Components of a user's, each with one fault that the rules have to name."""

from dataclasses import dataclass, replace

import torch

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.digits import Digits
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.generator.glow import Glow
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.segmenter.base import Segmenter
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class Careful(Explainer):
    """A map without a fault."""

    gives = frozenset({"attribution"})

    def explain(self, case):
        probability = case.classifier.probability(case.batch.image).gather(1, case.target[:, None])
        return Explanation(target=case.target, attribution=case.batch.image.mean(1) * probability[:, :, None])

    def cost(self, shape):
        return super().cost(shape) + Cost(queries=1)


@dataclass(kw_only=True)
class ChangesImages(Careful):
    def explain(self, case):
        case.batch.image.mul_(0.5)
        return super().explain(case)


@dataclass(kw_only=True)
class ScalesByTheBatch(Careful):
    def explain(self, case):
        made = super().explain(case)
        return Explanation(target=made.target, attribution=made.attribution / made.attribution.max())


@dataclass(kw_only=True)
class UsesTheGlobalGenerator(Careful):
    def explain(self, case):
        torch.manual_seed(0)
        made = super().explain(case)
        return Explanation(target=made.target, attribution=made.attribution + torch.rand(()))


@dataclass(kw_only=True)
class IsNotFree(Careful):
    def cost(self, shape):
        return Explainer.cost(self, shape)


@dataclass(kw_only=True)
class OnlyCounterfactuals(Explainer):
    """A changed image and no map, without a fault."""

    gives = frozenset({"counterfactual"})

    def explain(self, case):
        return Explanation(target=case.target, counterfactual=case.batch.image / 2)


@dataclass(kw_only=True)
class MeanOfMap(Metric):
    direction = "lower"
    needs = frozenset({"explanation"})

    def score(self, case):
        return {"value": case.explanation.attribution.flatten(1).mean(1).double()}


@dataclass(kw_only=True)
class Ranks(MeanOfMap):
    def score(self, case):
        return {"value": super().score(case)["value"].argsort().argsort().double()}


@dataclass(kw_only=True)
class OneForAll(MeanOfMap):
    def score(self, case):
        return {"value": super().score(case)["value"].mean()}


@dataclass(kw_only=True)
class AveragesNaN(MeanOfMap):
    def summarize(self, rows, reference):
        return Summary(mean=float(rows["value"].mean()), std=None, n=len(rows["value"]))


@dataclass(kw_only=True)
class ReadsPerturbations(MeanOfMap):
    def score(self, case):
        return {"value": case.perturbations.image.flatten(1).double().mean(1)}


@dataclass(kw_only=True)
class IgnoresItsMask(BaseImageFiller):
    def base(self, image, streams, image_ids, segments):
        return image * 0

    def fill(self, image, keep, streams, image_ids, segments=None):
        return (image * 0)[:, None].repeat(1, keep.shape[1], 1, 1, 1)


@dataclass(kw_only=True)
class AnotherShape(Digits):
    def batch(self, indices):
        made = super().batch(indices)
        return replace(made, image=made.image[..., :-1])


@dataclass(kw_only=True)
class LooksAtNeighbours(Classifier):
    num_classes: int = 10

    def probability(self, images):
        brightness = (images - images.mean(0, keepdim=True)).mean((1, 2, 3))
        return (brightness[:, None] * torch.arange(self.num_classes)).softmax(-1)

    def digest(self):
        return "neighbours"


@dataclass(kw_only=True)
class AsksTwice(Glow):
    def one_forward(self, images):
        super().one_forward(images)
        return super().one_forward(images)


@dataclass(kw_only=True)
class ComparesWithTheBatch(Segmenter):
    def labels(self, image):
        return (image.mean(1) > image.mean()).long()
