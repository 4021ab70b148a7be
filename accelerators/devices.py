"""Whether a device that somebody names is there."""

from __future__ import annotations


def device_fault(name: object, instead: str) -> str:
    """Return what is wrong with the name of a device, or nothing.

    Args:
        name: ``"auto"``, or a name that torch knows, such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        instead: How to ask for the CPU.
    """
    if name == "auto":
        return ""
    import torch

    unknown = f"unknown device {name!r}; devices: auto, cpu, cuda"
    if not isinstance(name, str):
        return unknown
    try:
        device = torch.device(name)
    except RuntimeError:
        return unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        number = name.removeprefix("cuda").replace(":", " ")
        return f"no CUDA device{number} here; use {instead}"
    return ""
