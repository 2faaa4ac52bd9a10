"""The base class of explainers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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
    """Explains why the classifier assigns each image to its target class.

    access: "black_box" or "white_box", the view of the classifier that the explainer receives. A black box cannot be
    differentiated.
    needs: contents of the case in addition to images and targets: "segments", "perturbations", "masks", "factors". The
    needs of its components (a filler) are added automatically.
    gives: contents of its explanations: "attribution", "counterfactual", "coefficient" (of segments). None = not
    declared; metrics then inspect the explanations.
    explains: False for a component that takes an explainer's place in the config and returns no explanations.
    explains_again: False for explanations that do not follow from the seed, the image and the network. Metrics that ask
    for further explanations are refused.
    fit_arguments: names of the arguments that determine the result of `fit`. Explainers that agree in these share one
    result. None = all arguments.
    n_samples (if "perturbations" in needs): perturbations of each image that the job draws for the explainer.
    """

    access: ClassVar[str] = "black_box"
    gives: ClassVar[frozenset[str] | None] = None
    explains: ClassVar[bool] = True
    explains_again: ClassVar[bool] = True
    fit_arguments: ClassVar[frozenset[str] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Raises TypeError when `fit_arguments` contains a name that is not an argument."""
        super().__init_subclass__(**options)
        known = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
        if unknown := sorted((cls.fit_arguments or frozenset()) - known):
            raise TypeError(f"{cls.__name__}.fit_arguments names {', '.join(unknown)}, which it has no argument for")

    @abstractmethod
    def explain(self, case: Case) -> Explanation:
        """Explains each image of a case. The explanation of an image does not depend on the other images.

        Shapes: a case of B images -> Explanation with attribution [B,H,W] and/or counterfactual [B,C,H,W].
        """

    def fit(self, training: Dataset, classifier: BlackBox) -> dict[str, Tensor]:
        """Measures statistics of training images, which `explain` reads as case.reference.

        They are computed once and stored for all explainers that inherit this method and agree in `fit_arguments`.
        """
        return {}

    @property
    def fits(self) -> bool:
        """Whether the explainer needs statistics of training images."""
        return type(self).fit is not Explainer.fit

    @classmethod
    def gives_for(cls, given: Mapping[str, Any]) -> frozenset[str] | None:
        """The contents of an explanation for these arguments. The default is `gives`."""
        return cls.gives

    def check_images(self, images: Callable[[], Mapping[str, int]]) -> None:
        """Refuses images that the explainer cannot explain. A job calls this before its first image.

        Args: images: returns the names of the job's images in their order, with their positions in the data set.
        Raises: ValueError, which names all such images.
        """

    # --- costs, for the plan of a dry run -------------------------------------------------------------------------

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        """The cost of explaining one image of `shape`, without the queries on its perturbations.

        The default counts the bytes of stored images and maps. Small per-image values, such as a loss per step, are not
        counted. Explainers that evaluate networks add these evaluations.
        """
        channels, height, width = shape
        gives = self.gives_for(vars(self)) or frozenset({"attribution"})
        values = ("attribution" in gives) + channels * ("counterfactual" in gives)  # of a pixel
        return Cost(bytes=VALUE_BYTES * height * width * values)

    def fit_cost(self, n_training: int) -> Cost:
        """The cost of `fit` on n_training images."""
        return Cost()

    @property
    def differentiates(self) -> frozenset[str]:
        """The networks that gradients pass through: "classifier", "generator". The plan adds the time of their
        backward passes."""
        return frozenset({"classifier"} if self.access == "white_box" else ())

    # --- networks that the method cannot explain ------------------------------------------------------------------

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: BlackBox, image: Tensor) -> None:
        """Refuses a network that the method cannot handle. A job calls this before networks are trained and images are
        explained.

        Args:
            given: the explainer's arguments by name.
            image: any image [1,C,H,W].
        Raises: ValueError, which names the method and the module or layer.
        """
        if cls.access == "white_box":
            check_gradient(cls.__name__, classifier.module(), image)

    def check(self, classifier: BlackBox, image: Tensor) -> None:
        """Calls `check_network` with the explainer's arguments. Its forward passes are not counted as queries."""
        before = classifier.queries
        try:
            type(self).check_network(vars(self), classifier, image)
        finally:
            classifier.queries = before
