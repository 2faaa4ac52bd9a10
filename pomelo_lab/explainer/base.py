"""The base class of explainers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.signature import Component
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.layers import check_gradient
from pomelo_lab.types import Explanation

VALUE_BYTES = 4  # maps are float32


class Explainer(Component, ABC):
    """Explains why the classifier gives each image its target class.

    access: "black_box" or "white_box": which view of the classifier it receives; a black box cannot be differentiated.
    needs:  what the case must hold beside the images and targets, of: "segments", "perturbations", "masks",
        "factors". What the components inside it need (a filler) comes by itself.
    gives:  what its explanations hold, of: "attribution", "counterfactual", "coefficient" (of segments); None = not
        said: metrics find out.
    explains: False for a component that stands where an explainer would and gives no explanations.
    fit_arguments: names of the arguments that decide what `fit` measures: explainers that agree in these share it.
        None = all arguments.
    n_samples (if "perturbations" in needs): perturbations of each image that the job draws for it.
    """

    access: ClassVar[str] = "black_box"
    gives: ClassVar[frozenset[str] | None] = None
    explains: ClassVar[bool] = True
    fit_arguments: ClassVar[frozenset[str] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises TypeError where `fit_arguments` names something that is no argument."""
        super().__init_subclass__(**options)
        known = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
        if unknown := sorted((cls.fit_arguments or frozenset()) - known):
            raise TypeError(f"{cls.__name__}.fit_arguments names {', '.join(unknown)}, which it has no argument for")

    @abstractmethod
    def explain(self, case: Case) -> Explanation:
        """One explanation per image; independent of the other images of the case.

        Shapes: a case of B images -> Explanation with attribution [B,H,W] and/or counterfactual [B,C,H,W].
        """

    def fit(self, training: Dataset, classifier: BlackBox) -> dict[str, Tensor]:
        """Statistics of training images, which `explain` finds as case.reference.

        They are computed once and stored for all explainers that inherit this method and agree in `fit_arguments`.
        """
        return {}

    @property
    def fits(self) -> bool:
        """Whether it needs statistics of training images."""
        return type(self).fit is not Explainer.fit

    @classmethod
    def given_by(cls, given: Mapping[str, Any]) -> frozenset[str] | None:
        """The parts of an explanation with these arguments; `gives` where they do not matter."""
        return cls.gives

    # --- costs, for the plan of a dry run -------------------------------------------------------------------------

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        """The cost of one explanation of an image of `shape`, beyond the queries on its perturbations.

        Here only the images and maps that are stored are counted; numbers of an image (a loss per step) are left out.
        An explainer that asks networks adds what it asks.
        """
        channels, height, width = shape
        gives = self.given_by(vars(self)) or frozenset({"attribution"})
        return Cost(bytes=VALUE_BYTES * height * width * (1 + channels * ("counterfactual" in gives)))

    def fit_cost(self, n_training: int) -> Cost:
        """The cost of `fit` on n_training images."""
        return Cost()

    @property
    def differentiates(self) -> frozenset[str]:
        """The networks that gradients go through, of "classifier" and "generator"; the plan adds the time of their
        backward passes."""
        return frozenset({"classifier"} if self.access == "white_box" else ())

    # --- networks that the method cannot explain ------------------------------------------------------------------

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
