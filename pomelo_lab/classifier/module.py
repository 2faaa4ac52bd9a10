"""A network that a user's function or class makes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from torch import nn

from pomelo_lab.classifier.callable import import_function, split_path
from pomelo_lab.classifier.downloads import loading
from pomelo_lab.classifier.foreign import ForeignClassifier
from pomelo_lab.config.hints import NotFingerprinted
from pomelo_lab.config.source import code_digest

KEY = "classifier.factory"


@dataclass(kw_only=True)
class ModuleClassifier(ForeignClassifier):
    """The network that any importable function or class makes, such as `torchvision.models:resnet18`.

    Source: own. Departures: modules do not work in place.
    Args:
        factory: "package.module:name" or "path/to/file.py:name" of a function or class that returns a torch.nn.Module,
            or of a module that exists there.
        arguments: keyword arguments of the factory; None = none.
        version: a text that enters the address of stored results, as the weights and the code do: the source of the
            module or file and of the user's modules that it imports. Change it when answers change for another reason.
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: one forward per image.
    Random: none besides the initial weights, which the factory draws after torch's seed was set to `init_seed`.
    Raises: ValueError when the factory cannot be imported, fails (with its file and line), or returns no module.
    """

    factory: Annotated[str, NotFingerprinted()]
    arguments: dict[str, Any] | None = None
    version: str | int | float = "1"

    @property
    def architecture(self) -> str:
        return f"{KEY}={self.factory}"

    @classmethod
    def source(cls, given: Mapping[str, Any]) -> list[str]:
        """The code of the factory as it is now, and its name in it."""
        import_function(given["factory"], KEY)
        location, name = split_path(given["factory"], KEY)
        return [code_digest(location, KEY), name]

    def origin(self) -> Any:
        return {"code": self.source(vars(self)), "arguments": self.arguments or {}, "version": str(self.version)}

    def make_network(self) -> nn.Module:
        factory = import_function(self.factory, KEY)
        if isinstance(factory, nn.Module) and not self.arguments:
            return copy.deepcopy(factory)
        with loading(self.architecture, self.offline):
            network = factory(**(self.arguments or {}))
        if not isinstance(network, nn.Module):
            raise ValueError(f"{self.architecture} must return a torch.nn.Module, got {type(network).__name__}")
        return network
