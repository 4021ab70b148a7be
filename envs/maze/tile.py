"""Seven by seven squares at once: the symbolic window, cut out of the map and turned.

Written for LLVM directly, as ``blocks``: a tile of the map is seven words of eight bytes, and
turning it is one permutation of 64 bytes, for which LLVM knows the machine's instructions.
``tests/test_maze.py`` compares it with the square by square window, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

SIDE = 7
"""Squares along a side of a tile."""

_BYTE, _SIZE = ir.IntType(8), ir.IntType(64)
_WORDS = ir.VectorType(_SIZE, 8)


@intrinsic  # type: ignore[untyped-decorator]
def turn_tile(
    context: Any,
    symbols: Any,
    width: Any,
    height: Any,
    x: Any,
    y: Any,
    quarter: Any,
    window: Any,
) -> Any:
    """Fill a window with the tile of the map whose first square is (x, y); zeros outside the map.

    Args:
        context: Numba's typing context.
        symbols: uint8 (squares,), read also up to eight bytes before and after.
        width: Squares in a row of the map.
        height: Rows of the map.
        x: First column, from 1 - SIDE to width - 1.
        y: First row.
        quarter: Which way is up in the window: 0 +x, 1 +y, 2 -x, 3 -y.
        window: uint8 (SIDE, SIDE).
    """
    numbers = (types.int64,) * 5
    return types.none(symbols, *numbers, window), _emit_tile


def _emit_tile(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data, _, _, _, _, quarter, _ = args
    source = context.make_array(signature.args[0])(context, builder, data).data
    target = context.make_array(signature.args[6])(context, builder, args[6]).data
    tile = builder.bitcast(_load(builder, source, *args[1:5]), ir.VectorType(_BYTE, 64))
    nothing = ir.Constant(tile.type, ir.Undefined)
    done = builder.append_basic_block("turned")
    switch = builder.switch(quarter, done)
    for case, where in enumerate(_TURNS):
        block = builder.append_basic_block(f"turn{case}")
        switch.add_case(_SIZE(case), block)
        with builder.goto_block(block):
            squares = (where(i, j) for i in range(SIDE) for j in range(SIDE))
            order = [8 * row + column for row, column in squares]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), SIDE * SIDE), order)
            turned = builder.shuffle_vector(tile, nothing, mask)
            builder.store(turned, builder.bitcast(target, turned.type.as_pointer()), align=1)
            builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


_LAST = SIDE - 1
_TURNS: tuple[Callable[[int, int], tuple[int, int]], ...] = (
    lambda i, j: (j, _LAST - i),
    lambda i, j: (_LAST - i, _LAST - j),
    lambda i, j: (_LAST - j, i),
    lambda i, j: (i, j),
)
"""Row and column of the tile that row i and column j of the window show, by quarter."""


def _load(builder: Any, source: Any, width: Any, height: Any, x: Any, y: Any) -> Any:
    """Return the tile, a word for each row of the map, squares outside it zero."""
    zero, eight = _SIZE(0), _SIZE(8)
    before = builder.select(builder.icmp_signed("<", x, zero), builder.neg(x), zero)
    after = builder.sub(builder.add(x, eight), width)
    after = builder.select(builder.icmp_signed(">", after, _SIZE(1)), after, _SIZE(1))
    ones = _SIZE(-1)
    kept = builder.and_(
        builder.shl(ones, builder.mul(before, eight)),
        builder.lshr(ones, builder.mul(after, eight)),
    )
    words = ir.Constant(_WORDS, [0] * 8)
    for k in range(SIDE):
        row = builder.add(y, _SIZE(k))
        inside = builder.icmp_unsigned("<", row, height)
        start = builder.add(builder.mul(builder.select(inside, row, zero), width), x)
        word = builder.load(
            builder.bitcast(builder.gep(source, [start]), _SIZE.as_pointer()), align=1
        )
        word = builder.and_(word, builder.select(inside, kept, zero))
        words = builder.insert_element(words, word, ir.IntType(32)(k))
    return words
