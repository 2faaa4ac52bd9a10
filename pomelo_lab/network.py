"""The base class of trainable networks: it initialises, loads, casts and identifies a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.config.hints import Natural, NotFingerprinted, OmitDefault, WeightsPath
from pomelo_lab.config.schema import RuntimeName
from pomelo_lab.config.signature import Component, role_of
from pomelo_lab.devices import has_bfloat16
from pomelo_lab.runtime.base import one_tensor
from pomelo_lab.runtime.choice import Choice
from pomelo_lab.runtime.originals import Originals
from pomelo_lab.weights import SHIPPED, load, state_digest, zoo_path


@dataclass(kw_only=True)
class TrainableNetwork(Component, ABC):
    """A component with one torch network. Subclasses write `make_network` and name their `training`.

    Args:
        weights: a .safetensors file, a .pt/.pth state dict, or zoo:<name> for a file that is shipped with the package;
            None = untrained. In a config, `auto` stands for the weights that fit: shipped, trained earlier, or trained
            at first use. The job replaces `auto`; the constructor refuses it.
        init_seed: seed of the initial weights, independent of the global random generator.
        precision: of weights and arithmetic inside the network. Inputs and outputs are always float32. The difference
            from float32, relative to the largest output, is typically below 2 % for bfloat16 and below 0.3 % for
            float16 (measured; up to 7 % and 1.5 % at the noisiest timesteps of a diffusion model). float16 can
            overflow. auto = bfloat16 on a device that supports it, else float32. Results that were stored with either
            of the two are used on all machines.
        recipe: the name of the recipe for a training at first use, conf/recipe/<name>.yaml.
        trained_on: arguments of the data set that differ in this network's training from the job, such as
            {spurious: {rate: 0.5}} for the judge of a classifier with biased training data. It affects nothing else.
    Random: none after construction. Parameters are frozen and the network is in evaluation mode.
    Raises: ValueError when the file does not fit. It names `<role>.weights`, the path and the first tensors that
        differ.
    """

    weights: WeightsPath = None
    init_seed: Natural = 0
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    recipe: Annotated[str, NotFingerprinted()] = "default"
    trained_on: Annotated[dict[str, Any], OmitDefault()] = field(default_factory=dict)
    network: nn.Module = field(init=False, repr=False, compare=False)

    # dotted path of the `Training` class, which is called with (component, recipe, data set); "" = cannot be trained
    training: ClassVar[str] = ""
    stored: ClassVar[torch.dtype] = torch.float32  # precision of trained weights in files; float16 halves their size
    # whether `init_seed` alone decides the weights of a network that has no file
    seeded: ClassVar[bool] = True
    # tensors of a weights file are ignored when the first part of their name is listed here
    ignored: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if str(self.weights).startswith(SHIPPED):
            self.weights = str(zoo_path(str(self.weights)))
        super().__post_init__()
        if self.weights == "auto":
            key = f"{role_of(type(self))}.weights=auto"
            raise ValueError(
                f"{key} is for configs: in Python use pomelo_lab.training.train.ensure_weights, a path or None"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.init_seed)
            self.network = self.make_network()
        if self.weights is not None:
            self.load_weights()
        # channels-last kernels process up to twice as many images per second on a CPU (measured), and never fewer
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._as_loaded: dict[str, str] = {}  # digest of weights that `auto` has cast -> their digest before
        if self.precision not in ("float32", "auto"):
            self.cast()
        self._choice: Choice | None = None  # of the runtime; see `use_runtime`
        self._originals: Originals | None = None  # see `made_from`

    @abstractmethod
    def make_network(self) -> nn.Module:
        """Builds the network with random weights. It is called once, after torch's seed was set to `init_seed`."""

    def load_weights(self) -> None:
        """Loads the file `weights` into the network."""
        load(
            self.network,
            self.weights,
            self.describe(),
            f"{role_of(type(self))}.weights",
            self.ignored,
            self.rename_tensors,
        )

    def rename_tensors(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Renames the tensors of a weights file to the names of the network, because published files may differ."""
        return state

    def training_statistics(self) -> dict[str, Tensor]:
        """Statistics of the training data that are saved together with the parameters, under names in `ignored`."""
        return {}

    def cast(self) -> None:
        """Converts the network to its precision. Networks that keep some layers in float32 override this method."""
        self.network.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        if self.precision == "auto":
            return torch.bfloat16 if self._as_loaded else torch.float32
        return getattr(torch, self.precision)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def use_runtime(self, name: RuntimeName) -> Self:
        """Lets a runtime compute the network where no gradients are asked for."""
        if name == "eager":
            self._choice = None
        elif self._choice is None or self._choice.wanted != name:
            self._choice = Choice(type(self).__name__, name, partial(restart_trial, self))
        return self

    def expect_rows(self, n: int) -> None:
        """Tells `runtime=auto` how many images the network will be asked about without gradients."""
        if self._choice is not None:
            self._choice.planned = n

    def apply(self, *inputs: Tensor, eager: bool = False) -> Tensor:
        """Applies the network to its inputs and returns float32.

        Args:
            inputs: images [B,C,H,W], then the further inputs of the network.
            eager: use the network itself, whose hooks are called.
        """
        images, *others = inputs
        images = self.cast_images(images)
        if eager or self._choice is None or torch.is_grad_enabled() or not self._choice.is_free(self.network):
            output = self.network(images, *others)
        else:
            with forward_replaced(self.network, partial(self._choice, self.network, originals=self._originals)):
                output = self.network(images, *others)
        return one_tensor(output).float()

    def cast_images(self, images: Tensor) -> Tensor:
        """Images in the network's precision and layout."""
        return images.to(self.dtype).contiguous(memory_format=torch.channels_last)

    @contextmanager
    def made_from(self, originals: Originals) -> Iterator[None]:
        """A context in which the network is asked about images that were made from known ones. A runtime may then
        compute only what their changes affect.

        Args: originals: with a `prepare` that scales images as the network's inputs are.
        """
        self._originals = replace(originals, prepare=lambda images: self.cast_images(originals.prepare(images)))
        try:
            yield
        finally:
            self._originals = None

    def describe(self) -> str:
        """The class and its arguments for messages, without the arguments that all networks share."""
        hidden = {f.name for f in fields(TrainableNetwork)}
        shown = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.init and f.name not in hidden]
        return f"{type(self).__name__}({', '.join(shown)})"

    def digest(self) -> str:
        """The digest of all that determines the outputs: architecture, precision and weights. Paths do not matter."""
        state = state_digest(self.network)
        return digest({"config": self.identity(), "state": self._as_loaded.get(state, state)})

    def identity(self) -> Any:
        """What determines the outputs besides the weights, as plain JSON values."""
        node = {"_target_": f"{type(self).__module__}.{type(self).__qualname__}"}
        node |= {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return canonical(node, drop=("weights", "init_seed"))

    def to(self, device: torch.device | str) -> Self:
        """Moves the network to a device. With precision=auto, the first device that supports bfloat16 decides."""
        self.network.to(device)
        if self.precision == "auto" and not self._as_loaded and has_bfloat16(torch.device(device)):
            before, self._as_loaded = state_digest(self.network), {"": ""}
            self.cast()
            self._as_loaded = {state_digest(self.network): before}
        return self


@contextmanager
def forward_replaced(network: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    """A context in which another function computes a network, between the hooks of the network as a whole."""
    network.forward = forward
    try:
        yield
    finally:
        del network.forward


def restart_trial(network: Any) -> None:
    """Lets a network's micro-batches find their size again, because another runtime computes it from now on."""
    if (batches := vars(network).get("_fastest_batches")) is not None:
        batches.restart()
