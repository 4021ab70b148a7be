"""Matrix products in float32, without a graph, by the faster of two libraries.

PyTorch multiplies float32 matrices with MKL, which on AMD's processors reaches less than half of
oneDNN's speed: 95 against 213 GFLOP/s for 2048 x 2048 matrices on one thread of a Zen 5. Elsewhere,
for other types and for small matrices, products are PyTorch's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from llvmlite import binding
from torch import Tensor

LEAST = 2**20
"""Multiplications from which on oneDNN's call, 5 to 10 us dearer, is worth it."""


def _linear() -> torch._ops.OpOverload | None:
    """Return oneDNN's x w' + b where it is the faster one: PyTorch has no public name for it."""
    ours = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    amd = binding.get_host_cpu_name().startswith("znver")
    op = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if ours and amd else None
    return None if op is None else op.default


_ONEDNN = _linear()


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``a b`` or ``a b + bias``, through which no gradient flows.

    Args:
        a: (M, K), of any strides.
        b: (K, N), of any strides.
        bias: (N,).

    Returns:
        (M, N).
    """
    if is_faster(a, b):
        row = None if bias is None else bias.contiguous()  # oneDNN takes it for such, silently
        found: Tensor = _ONEDNN(a, b.t(), row, "none", [], "")  # type: ignore[misc]
        return found
    return a @ b if bias is None else F.linear(a, b.t(), bias)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add ``a b`` to ``total`` (M, N), in place, and return it; otherwise as `product`."""
    return total.add_(product(a, b)) if is_faster(a, b) else total.addmm_(a, b)


def is_faster(a: Tensor, b: Tensor) -> bool:
    """Return whether oneDNN multiplies ``a`` (M, K) and ``b`` (K, N), not PyTorch itself."""
    enough = _ONEDNN is not None and a.shape[0] * b.numel() >= LEAST
    return enough and a.dtype == b.dtype == torch.float32 and a.device.type == "cpu"
