"""Matrix products by either library: the same numbers, whatever strides and sizes."""

import pytest
import torch

from daedalus.accelerators import products
from daedalus.accelerators.products import LEAST, add_product, product

SIZES = [(64, 256, 512), (3, 5, 7), (1, LEAST, 1), (256, 64, 64), (0, 8, 8)]


def _matrix(rows: int, columns: int, turned: bool, draw: torch.Generator) -> torch.Tensor:
    """Return normal numbers; ``turned`` for a transposed view of what lies in memory."""
    shape = (columns, rows) if turned else (rows, columns)
    made = torch.randn(*shape, generator=draw)
    return made.t() if turned else made


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("size", SIZES)
def test_products_of_any_strides(size: tuple[int, int, int], turned: tuple[bool, bool]) -> None:
    """Equal to what doubles give, within the rounding of ``inner`` additions."""
    rows, inner, columns = size
    draw = torch.Generator().manual_seed(0)
    a, b = _matrix(rows, inner, turned[0], draw), _matrix(inner, columns, turned[1], draw)
    bias, total = (torch.randn(n, columns, generator=draw) for n in (3, rows))
    bias = bias.t().contiguous()[:, 1]  # every third number in memory
    exact = a.double() @ b.double()
    near = {"atol": 1e-5 * inner**0.5, "rtol": 0.0}
    assert torch.allclose(product(a, b).double(), exact, **near)
    assert torch.allclose(product(a, b, bias).double(), exact + bias, **near)
    expected = exact + total
    assert add_product(total, a, b) is total
    assert torch.allclose(total.double(), expected, **near)


def test_other_types_are_left_to_torch() -> None:
    """Doubles keep their digits, also where float32 would go to oneDNN."""
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(256, 256, generator=draw, dtype=torch.double)
    assert product(a, a).dtype == torch.double
    assert torch.equal(product(a, a), a @ a)


def test_values_that_are_not_finite_stay() -> None:
    """A NaN or infinity must reach the guards, not be lost on the way."""
    a, b = torch.ones(256, 128), torch.ones(128, 64)
    a[3, 5], a[4, 6] = torch.nan, torch.inf
    found = product(a, b)
    assert found[3].isnan().all()
    assert (found[4] == torch.inf).all()
    assert (found[5:] == 128.0).all()


def test_small_products_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below `LEAST` multiplications a dearer call is not worth it."""
    called = []

    def count(a: torch.Tensor, w: torch.Tensor, *_: object) -> torch.Tensor:
        called.append(len(a))
        return a @ w.t()

    monkeypatch.setattr(products, "_ONEDNN", count)
    product(torch.ones(63, 128), torch.ones(128, 128))
    assert called == []
    product(torch.ones(64, 128), torch.ones(128, 128))
    assert called == [64]
