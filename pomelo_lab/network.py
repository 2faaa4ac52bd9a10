"""What every trainable network shares: how it is initialised, filled from a file, cast, compiled, identified and
trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.config.hints import Natural, NotFingerprinted, OmitDefault, WeightsPath
from pomelo_lab.config.signature import Component, role_of
from pomelo_lab.devices import has_bfloat16
from pomelo_lab.weights import SHIPPED, load, state_digest, zoo_path


@dataclass(kw_only=True)
class TrainableNetwork(Component, ABC):
    """A component around one torch network. Subclasses write `make_network`, and name their `training`.

    Args:
        weights: a .safetensors file, a .pt/.pth state dict, or zoo:<name> for a file that the package brings; None =
            untrained. In a config `auto` stands for the weights that fit: shipped, trained earlier, or trained on first
            use (the job resolves it, not the constructor).
        init_seed: of the initial weights, independent of the global RNG.
        precision: of weights and arithmetic inside the network; inputs and outputs are float32 at any precision.
            Against float32 and relative to the largest output, bfloat16 typically stays within 2 % and float16 within
            0.3 % (measured; up to 7 % and 1.5 % at the noisiest timesteps of a diffusion model); float16 can overflow.
            auto = bfloat16 once the network is on a device that has the instructions, else float32; results that were
            stored on either kind of machine serve on both.
        compile: let torch compile the graph, a minute or two on a CPU at first use; numbers agree with the uncompiled
            network to 1e-4 of the largest output. Reading layers through hooks goes back to the uncompiled network.
        recipe: conf/recipe/<name>.yaml, how it is trained on first use.
        trained_on: keys of the job's data set that have another value there, as {spurious: {rate: 0.5}} for the judge
            of a classifier whose data are biased. Nothing else looks at it.
    Random: none after construction; parameters are frozen and the network is in evaluation mode.
    Raises: ValueError when the file does not fit, naming `<role>.weights`, the path and the first names that differ.
    """

    weights: WeightsPath = None
    init_seed: Natural = 0
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    compile: Annotated[bool, NotFingerprinted()] = False
    recipe: Annotated[str, NotFingerprinted()] = "default"
    trained_on: Annotated[dict[str, Any], OmitDefault()] = field(default_factory=dict)
    network: nn.Module = field(init=False, repr=False, compare=False)

    # dotted path of its `Training`, made of (component, recipe, data set); "" = cannot be trained
    training: ClassVar[str] = ""
    stored: ClassVar[torch.dtype] = torch.float32  # of trained weights in files; half of it halves what is shipped
    ignored: ClassVar[tuple[str, ...]] = ()  # first parts of names in weights files that the network leaves out

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
        # channels-last kernels answer up to twice as many images per second on a CPU (measured), never fewer beyond
        # noise
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._as_loaded: dict[str, str] = {}  # digest of weights that `auto` has cast -> their digest before
        if self.precision not in ("float32", "auto"):
            self.cast()
        if self.compile:
            self.network.compile(dynamic=True)

    @abstractmethod
    def make_network(self) -> nn.Module:
        """A freshly initialised network; called once, with torch's seed set."""

    def load_weights(self) -> None:
        """Fill the network from `weights`."""
        load(
            self.network,
            self.weights,
            self.described(),
            f"{role_of(type(self))}.weights",
            self.ignored,
            self.translated,
        )

    def translated(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the tensors of a weights file to the names of the network; published files may have others."""
        return state

    def measured(self) -> dict[str, Tensor]:
        """Tensors that a training measures on its data and stores beside the parameters, under names in `ignored`."""
        return {}

    def cast(self) -> None:
        """Put the network into its precision; networks that keep a part in float32 say which."""
        self.network.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        if self.precision == "auto":
            return torch.bfloat16 if self._as_loaded else torch.float32
        return getattr(torch, self.precision)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def applied(self, *inputs: Tensor, eager: bool = False) -> Tensor:
        """The network on images first, float32 in and out; eager = the uncompiled graph, which hooks can see."""
        images, *others = inputs
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        output = (self.network.forward if eager else self.network)(images, *others)
        return (output if isinstance(output, Tensor) else output.sample).float()

    def described(self) -> str:
        """Class and arguments, without weights, for messages."""
        hidden = {f.name for f in fields(TrainableNetwork)}
        shown = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.init and f.name not in hidden]
        return f"{type(self).__name__}({', '.join(shown)})"

    def digest(self) -> str:
        """A short text that changes when the answers change: architecture, precision and weights, never a path."""
        node = {"_target_": f"{type(self).__module__}.{type(self).__qualname__}"}
        node |= {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        state = state_digest(self.network)
        return digest(
            {"config": canonical(node, drop=("weights", "init_seed")), "state": self._as_loaded.get(state, state)}
        )

    def to(self, device: torch.device | str) -> Self:
        """Move to a device; there precision=auto is decided, once."""
        self.network.to(device)
        if self.precision == "auto" and not self._as_loaded and has_bfloat16(torch.device(device)):
            before, self._as_loaded = state_digest(self.network), {"": ""}
            self.cast()
            self._as_loaded = {state_digest(self.network): before}
        return self
