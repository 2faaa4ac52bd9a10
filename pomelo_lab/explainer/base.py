"""What every explainer answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.signature import Component
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.layers import check_gradient
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments

VALUE_BYTES = 4  # maps are float32
Made = Callable[[], dict[str, Tensor]]


class Keep(Protocol):
    """Stored parts of a long computation that depend on the training images and the named arguments alone, not on the
    classifier."""

    def __call__(
        self, arguments: frozenset[str], part: int, make: Made, wait: bool = True, **chosen: Any
    ) -> Mapping[str, Tensor] | None:
        """make(), or what it gave before; None when wait=False and another process is making it.

        Args: chosen: values of arguments that the fit itself chose, in place of the configured ones.
        """


def make_again(
    arguments: frozenset[str], part: int, make: Made, wait: bool = True, **chosen: Any
) -> Mapping[str, Tensor]:
    """A `Keep` that stores nothing."""
    return make()


class Explainer(Component, ABC):
    """Explains why the classifier gives each image its target class.

    access:  "black_box" or "white_box": which view of the classifier it receives; a black box cannot be differentiated.
    uses:    what it looks at, of: "segments", "perturbations", "masks". It receives nothing else.
    explains: False for a component that stands where an explainer would and gives no explanations.
    signed:  whether negative attributions mean "speaks against".
    presents: arguments that only choose what `shown` makes of a stored explanation; explanations that differ in nothing
        else are computed once.
    gives:   what its explanations hold, of: "attribution", "counterfactual", "coefficient" (of segments); None = not
        said: metrics find out.
    fitted:  arguments that decide what `fit` measures on training images; none = it needs no such statistics.
    n_samples (if "perturbations" in uses): perturbations of each image that the job draws for it.
    """

    access: ClassVar[str] = "black_box"
    uses: ClassVar[frozenset[str]] = frozenset()
    explains: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    presents: ClassVar[frozenset[str]] = frozenset()
    fitted: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str] | None] = None

    @classmethod
    def given_by(cls, given: Mapping[str, Any]) -> frozenset[str] | None:
        """What explanations hold with these arguments; `gives` where they do not matter."""
        return cls.gives

    @abstractmethod
    def explain(
        self,
        batch: Batch,
        target: Tensor,
        classifier: BlackBox,
        streams: RandomStreams,
        segments: Segments | None = None,
        perturbations: Perturbations | None = None,
        **fit: Any,
    ) -> Explanation:
        """One explanation per image; independent of the other images of the batch.

        Args: fit: `reference`, what `fit` returned, for explainers that have statistics.
        Shapes: batch of B images, target int64 [B] -> Explanation with attribution [B,H,W] and/or counterfactual
            [B,C,H,W].
        """

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: BlackBox, image: Tensor) -> None:
        """Refuse a network that the method has no rule for. A job asks this before networks are trained and images are
        explained.

        Args: given: the explainer's arguments by name; image: any one [1,C,H,W].
        Raises: ValueError naming the method, and the module or layer.
        """
        if cls.access == "white_box":
            check_gradient(cls.__name__, classifier.module(), image)

    def check(self, classifier: BlackBox, image: Tensor) -> None:
        """`check_network` with the explainer's own arguments; its forwards are not counted as queries."""
        before = classifier.queries
        try:
            type(self).check_network(vars(self), classifier, image)
        finally:
            classifier.queries = before

    def fit(self, training: Dataset, classifier: BlackBox, keep: Keep = make_again) -> dict[str, Tensor]:
        """Statistics of training images; stored once for all jobs, and all explainers that inherit this method, that
        need the same.

        Args: keep: gives the parts that are stored by themselves.
        """
        return {}

    def prepare(self, training: Dataset, keep: Keep) -> None:
        """Make the parts that `fit` will ask for. Every process that needs the statistics does so before one of them
        measures: with wait=False, so that they share the work instead of waiting for each other."""

    def shown(self, explanation: Explanation) -> Explanation:
        """What a job reports of a stored explanation."""
        return explanation

    @property
    def costs_at_most(self) -> bool:
        """Whether images that have what they need end before the counted steps: `queries` and `evaluations` are the
        most, then."""
        return False

    @property
    def differentiates(self) -> frozenset[str]:
        """Which networks gradients go through, of "classifier" and "generator": their backwards take time that the plan
        estimates."""
        return frozenset({"classifier"} if self.access == "white_box" else ())

    def stored_bytes(self, shape: tuple[int, int, int]) -> int:
        """Bytes of the images and maps that are stored of one explanation, for the plan; numbers of an image (a loss
        per step) are not counted."""
        channels, height, width = shape
        gives = self.given_by(vars(self)) or frozenset({"attribution"})
        return VALUE_BYTES * height * width * (1 + channels * ("counterfactual" in gives))

    def queries(self, shape: tuple[int, int, int]) -> int:
        """Classifier queries per image of `shape` beyond those on perturbations, for the plan of a dry run."""
        return 0

    def fit_costs(self, n_training: int) -> tuple[int, int, int]:
        """Generator evaluations, classifier queries and bytes of parts of `fit` and `prepare` on so many training
        images, for the plan."""
        return 0, 0, 0

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        """Generator network evaluations per image, for the plan (0 for explainers without a network)."""
        return 0
