"""The ONNX runtime: a network's graph, computed by onnxruntime."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.batching import out_of_memory
from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.files import cache_folder, write_bytes
from pomelo_lab.runtime.base import Answer, CannotPrepare, OneTensor, Runtime, ensure_traceable
from pomelo_lab.weights import state_digest

OPSET = 18
LARGEST = 2**31 - 2**20  # bytes of a graph with its weights: the format ends at 2 GiB


class OnnxRuntime(Runtime):
    """A network that was exported to ONNX. Exported graphs are kept in the user's cache folder.

    Source: onnxruntime, https://onnxruntime.ai; torch's TorchScript exporter, whose first axis is dynamic.
    """

    name = "onnxruntime"
    devices = frozenset({"cpu"})

    def prepare(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Answer:
        if find_spec("onnxruntime") is None or find_spec("onnx") is None:
            raise CannotPrepare("it is not installed: pip install 'pomelo-lab[onnx]'")
        if sum(p.numel() * p.element_size() for p in network.state_dict().values()) > LARGEST:
            raise CannotPrepare("the network is larger than 2 GiB")
        ensure_traceable(network, inputs)
        kept = cache_folder("onnx") / f"{graph_digest(network, inputs)}.onnx"
        graph = recall(kept)
        if graph is None:
            graph = export(network, inputs)
            keep(kept, graph)
        session = open_session(graph, inputs[0].device)
        return lambda *parts: run(session, parts)


def export(network: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """The network as an ONNX graph with a dynamic number of rows."""
    names = [f"input{i}" for i in range(len(inputs))]
    rows = {name: {0: "rows"} for name, part in zip(names, inputs, strict=True) if part.ndim}
    graph, level, fast = io.BytesIO(), logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused attention has no ONNX operator
    torch.onnx.register_custom_op_symbolic("aten::adaptive_avg_pool2d", pool_adaptively, OPSET)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                OneTensor(network).eval(),
                inputs,
                graph,
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["answer"],
                dynamic_axes={**rows, "answer": {0: "rows"}},
            )
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::adaptive_avg_pool2d", OPSET)
        logging.disable(level)
        torch.backends.mha.set_fastpath_enabled(fast)
    return graph.getvalue()


def pool_adaptively(graph: Any, images: Any, size: Any) -> Any:
    """Adaptive average pooling to any size in ONNX: products with two constant matrices.

    The exporter itself knows only sizes that divide those of its input, which VGG's are not.
    """
    from torch.onnx import symbolic_helper

    before, after = symbolic_helper._get_tensor_sizes(images)[-2:], symbolic_helper._maybe_get_const(size, "is")
    if after == [1, 1]:
        return graph.op("GlobalAveragePool", images)
    down, across = (nn.functional.adaptive_avg_pool1d(torch.eye(n), m) for n, m in zip(before, after, strict=True))
    pooled = graph.op("MatMul", graph.op("Constant", value_t=down.T.contiguous()), images)
    return graph.op("MatMul", pooled, graph.op("Constant", value_t=across))


def open_session(graph: bytes | str, device: torch.device) -> Any:
    """A session of onnxruntime for a graph, or the file of one, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to torch
    providers = ["CUDAExecutionProvider"] if device.type == "cuda" else ["CPUExecutionProvider"]
    if providers[0] not in onnxruntime.get_available_providers():
        raise CannotPrepare(f"it has no {providers[0]} here")
    return onnxruntime.InferenceSession(graph, options, providers=providers)


def run(session: Any, parts: Sequence[Tensor]) -> Tensor:
    """The answers of a session to inputs, on their device."""
    names = [node.name for node in session.get_inputs()]
    arrays = {name: part.detach().contiguous().cpu().numpy() for name, part in zip(names, parts, strict=True)}
    try:
        answer = session.run(None, arrays)[0]
    except Exception as error:  # onnxruntime's own errors are no RuntimeError, which micro-batches wait for
        raise (torch.OutOfMemoryError if out_of_memory(error) else RuntimeError)(str(error)) from error
    return torch.from_numpy(answer).to(parts[0].device)


def graph_digest(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """The digest of all that determines an exported graph."""
    shapes = [(tuple(part.shape[1:]), str(part.dtype)) for part in inputs]
    made_by = [torch.__version__, version("onnxruntime"), OPSET]
    text = repr((state_digest(network), str(network), sorted(code_digests(network)), shapes, made_by))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def code_digests(network: nn.Module) -> set[str]:
    """The digests of the files that define the classes of a network's modules. Classes without a file have none."""
    kinds = {type(part) for part in network.modules()}
    files = {getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in kinds}
    return {file_digest(file) for file in files if file and Path(file).is_file()}


def keep(path: Path, graph: bytes) -> None:
    """Stores a graph, behind its digest, for later processes. A folder that cannot be written costs time only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, hashlib.sha256(graph).digest() + graph)
    except OSError:
        pass


def recall(path: Path) -> bytes | None:
    """A stored graph. None when there is none, or when it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    seal, graph = data[:32], data[32:]
    return graph if hashlib.sha256(graph).digest() == seal else None
