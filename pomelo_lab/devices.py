"""Where a job runs: one device, or its images sharded over several with Lightning Fabric."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.multiprocessing

from pomelo_lab.allocator import keep_pages


class NoSuchDevice(ValueError):
    """Raised for a device that torch knows and this machine lacks."""


def pick_device(name: str) -> torch.device:
    """The device of a name. "auto" is the first accelerator, or else the CPU.

    Raises: ValueError naming `device`; NoSuchDevice when the machine lacks it.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device={name} is none that torch knows: auto, cpu, cuda, cuda:<index>, mps or xpu") from None
    is_available = {"mps": torch.backends.mps.is_available, "xpu": torch.xpu.is_available}
    if device.type in is_available and not is_available[device.type]():
        raise NoSuchDevice(
            f"device={name}: there is none here, or this torch was built without it; use device=cpu or device=auto"
        )
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise NoSuchDevice(
            f"device={name}: no such GPU here, {torch.cuda.device_count()} visible; use device=cpu or device=auto"
        )
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device.

    It is on NVIDIA GPUs from compute capability 8 and on processors with bfloat16 instructions. Others emulate it, six
    to ten times slower than float32. oneDNN's answer respects ONEDNN_MAX_CPU_ISA, but counts every AVX-512 processor.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    instructions = (getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supports() for supports in instructions) and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def launch(config: Mapping[str, Any], work: Callable[[Mapping[str, Any], str, int, int], None]) -> None:
    """Call work(config, device, rank, world) once per device.

    One device runs in this process. Several run in processes of their own, whose ranks Fabric sets up; they share
    nothing but the artefact store, so the numbers are those of one device.
    """
    n, device = config["devices"], pick_device(config["device"])
    if n == 1:
        return work(config, str(device), 0, 1)
    if device.type == "cuda" and n > torch.cuda.device_count():
        raise ValueError(f"devices={n}: only {torch.cuda.device_count()} GPUs are visible")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    torch.multiprocessing.start_processes(_rank, (n, port, device.type, config, work), nprocs=n, start_method="spawn")


def _rank(rank: int, n: int, port: int, accelerator: str, config: Mapping[str, Any], work: Callable[..., None]) -> None:
    """Run one of several processes. Fabric and Lightning's Trainer read the ranks from the environment, as under
    torchrun."""
    keep_pages()
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    from pomelo_lab.compat import ensure

    ensure()
    from lightning.fabric import Fabric

    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    if accelerator == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // n))
    fabric = Fabric(accelerator=accelerator, devices=n, strategy="ddp")
    fabric.launch()
    work(config, str(fabric.device), fabric.global_rank, fabric.world_size)
    fabric.barrier()
    torch.distributed.destroy_process_group()
