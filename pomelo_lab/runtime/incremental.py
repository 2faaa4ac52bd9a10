"""Exact forwards of images that differ from known ones in a small square: only what depends on it is computed anew."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn

from pomelo_lab.runtime.base import CannotPrepare, ensure_traceable
from pomelo_lab.runtime.originals import Change, Originals
from pomelo_lab.runtime.spans import Crop, Places, Region, Spans, cut_out, map_rows, region_share
from pomelo_lab.runtime.window import IN_PLACE, POINTWISE_FUNCTIONS, POINTWISE_METHODS, WINDOWS, Window, is_pointwise

SHARE = 0.85  # of a map: larger regions are not followed, because a whole map is then as cheap
Values = dict[fx.Node, Any]


class Incremental:
    """A network for images that differ from known ones in a square of one side.

    A convolution network's activations differ in a rectangle that grows from layer to layer. Up to where it covers
    most of a map, each layer computes this rectangle alone, from the activations of the known image around it. There
    the rectangle is put into the known image's map, and the other layers compute whole maps. Operators that are not
    local (see `window.py`) compute whole maps too.

    Source: Nakandala, Kumar & Papakonstantinou (2019), "Incremental and approximate inference for faster
        occlusion-based deep CNN explanations", https://doi.org/10.1145/3299869.3319874, section 4. Departures:
        whole maps from where a rectangle covers most of a map; maps of known images are kept on the device.
    Args:
        inputs: of the network; all but the number of rows stays fixed.
        side: of the square, in pixels.
    Raises: CannotPrepare when no layer can be followed. Errors of the tracer are torch's.
    """

    name: ClassVar[str] = "incremental"

    def __init__(self, network: nn.Module, inputs: Tensor, side: int) -> None:
        if inputs.ndim != 4 or side > min(inputs.shape[2:]):
            raise CannotPrepare("its inputs are no images with a changed square")
        ensure_traceable(network, (inputs,))
        self.graph = fx.GraphModule(network, fx.Tracer().trace(network))
        self.layers = dict(self.graph.named_modules())
        self.nodes = list(self.graph.graph.nodes)
        if sum(node.op == "placeholder" for node in self.nodes) != 1:
            raise CannotPrepare("it has further arguments")
        self.side = side
        self.last_use = {source: node for node in self.nodes for source in node.all_input_nodes}
        self.shapes: dict[fx.Node, torch.Size] = {}
        self.region: dict[fx.Node, Region] = {}
        self.window: dict[fx.Node, Window] = {}
        self.constants: Values = {}
        self.measure(inputs[:1])
        if self.nodes[-1] not in self.shapes:
            raise CannotPrepare("its answer is no tensor")
        for node in self.nodes:
            region = self.follow(node, inputs.device)
            if region is not None and region_share(region) <= SHARE:
                self.region[node] = region
        if not self.window.keys() & self.region.keys():
            raise CannotPrepare("the change covers the maps of its first layers, or these do not act locally")
        self.refuse_changes_in_place()
        self.crops = {
            (node, source): self.crop(node, source)
            for node in self.nodes
            for source in node.all_input_nodes
            if source in self.region
        }
        self.kept = {source for (_, source), crop in self.crops.items() if not crop.changes_nothing}

    def measure(self, image: Tensor) -> None:
        """Records the shape of every value, and the values that depend on no image."""
        values: Values = {}
        for node in self.nodes:
            values[node] = self.compute(node, values, image.clone())
            if isinstance(values[node], Tensor):
                self.shapes[node] = values[node].shape
            if node.op == "get_attr":
                self.constants[node] = values[node]
            self.release(node, values)

    def compute(self, node: fx.Node, values: Values, images: Tensor | None = None) -> Any:
        """The value of a node from those of the nodes before it."""
        if node.op == "placeholder":
            return images
        if node.op == "get_attr":
            return self.constants[node] if node in self.constants else read_attribute(self.graph, node.target)
        args, kwargs = (fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
        if node.op == "output":
            return args[0]
        if node.op == "call_module":
            return self.layers[node.target](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return node.target(*args, **kwargs)

    def release(self, node: fx.Node, *values: Values) -> None:
        """Drops what no node after this one reads."""
        for source in node.all_input_nodes:
            if self.last_use[source] is node:
                for known in values:
                    known.pop(source, None)

    def follow(self, node: fx.Node, device: torch.device) -> Region | None:
        """The region of a node's value that depends on the square. None when it is not local."""
        shape = self.shapes.get(node)
        if shape is None or len(shape) != 4 or node.op in ("get_attr", "output"):
            return None
        if node.op == "placeholder":
            rows, columns = (
                Spans(torch.arange(size - self.side + 1, device=device), self.side, size) for size in shape[2:]
            )
            return rows, columns
        sources = [source for source in node.all_input_nodes if source not in self.constants]
        if not sources or not all(source in self.region for source in sources):
            return None
        layer = self.layers.get(node.target) if node.op == "call_module" else None
        if type(layer) in WINDOWS and (window := WINDOWS[type(layer)](layer)) is not None:
            self.window[node] = window
            rows, columns = (
                window.spread(spans, axis, shape[2 + axis]) for axis, spans in enumerate(self.region[sources[0]])
            )
            return rows, columns
        if not self.is_pointwise(node, layer):
            return None
        region = self.region[sources[0]]
        for source in sources[1:]:
            rows, columns = (one.join(other) for one, other in zip(region, self.region[source], strict=True))
            region = rows, columns
        return region

    def is_pointwise(self, node: fx.Node, layer: nn.Module | None) -> bool:
        """Whether each position of a node's value depends on that position of its sources alone."""
        for source in node.all_input_nodes:
            shape = self.shapes[source]
            if source in self.constants:
                if self.constants[source].numel() > 1 and shape[-2:] != (1, 1):
                    return False
            elif shape[2:] != self.shapes[node][2:]:
                return False
        if layer is not None:
            return is_pointwise(layer)
        if node.target is torch.cat:
            axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            return axis in (1, -3)
        return node.target in (POINTWISE_FUNCTIONS if node.op == "call_function" else POINTWISE_METHODS)

    def refuse_changes_in_place(self) -> None:
        """Raises CannotPrepare where a value is changed in place that another node reads as well."""
        for node in self.nodes:
            layer = self.layers.get(node.target) if node.op == "call_module" else None
            named = node.target in IN_PLACE or (node.op == "call_method" and node.target.endswith("_"))
            flags = (*node.args, *node.kwargs.values(), getattr(layer, "inplace", False))
            asked = any(flag is True for flag in flags)
            if (named or asked) and any(len(source.users) > 1 for source in node.all_input_nodes[:1]):
                raise CannotPrepare(f"it changes a value in place that others read ({node})")

    def crop(self, node: fx.Node, source: fx.Node) -> Crop:
        """What a node reads of a source of which a region is known."""
        own, fill = self.region[source], 0.0
        if node not in self.region:
            wanted = own[0].whole(), own[1].whole()
        elif node in self.window:
            window = self.window[node]
            rows, columns = (window.read(s, axis, own[axis].size) for axis, s in enumerate(self.region[node]))
            wanted, fill = (rows, columns), window.fill
        else:
            wanted = self.region[node]
        return Crop(own, wanted, fill)

    def keep_maps(self, clean: Tensor) -> dict[fx.Node, Tensor]:
        """The maps of known images that regions are put into, as from `map_rows`."""
        values, kept = dict(self.constants), {}
        for node in self.nodes:
            if node in self.region:
                values[node] = self.compute(node, values, clean)
                if node in self.kept:
                    kept[node] = map_rows(values[node])
            self.release(node, values)
        return kept

    def __call__(self, inputs: Tensor, originals: Originals, change: Change) -> Tensor:
        """The network's answers to inputs whose change is known.

        Maps of originals are kept for the next call about the same originals.
        """
        known, maps = originals.kept.get(self, (None, {}))
        if known != change.number:
            originals.kept.pop(self, None)
            maps = self.keep_maps(change.clean.clone())
            originals.kept[self] = change.number, maps
        return self.answer(inputs, maps, change.places)

    def answer(self, inputs: Tensor, maps: dict[fx.Node, Tensor], places: Places) -> Tensor:
        """The network's answers, from the maps of originals."""
        values, whole = dict(self.constants), dict(self.constants)  # regions of values, and whole values

        def read(node: fx.Node, source: fx.Node) -> Tensor:
            crop = self.crops[node, source]
            return values[source] if crop.changes_nothing else crop(values[source], maps[source], places)

        for node in self.nodes:
            if node in self.region:
                if node.op == "placeholder":
                    values[node] = cut_out(inputs, self.region[node], places)
                elif node in self.window:
                    values[node] = self.window[node].apply(read(node, node.args[0]))
                else:
                    sources = [source for source in node.all_input_nodes if source not in self.constants]
                    values[node] = self.compute(node, self.constants | {s: read(node, s) for s in sources})
            else:
                for source in node.all_input_nodes:
                    if source in self.region and source not in whole:
                        whole[source] = read(node, source)
                whole[node] = self.compute(node, whole, inputs)
            self.release(node, values, whole)
        return whole[self.nodes[-1]]


def read_attribute(module: Any, path: str) -> Any:
    """The attribute of a module at a dotted path."""
    for name in path.split("."):
        module = getattr(module, name)
    return module
