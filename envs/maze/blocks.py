"""Sixteen by sixteen pixels at once: the one piece of the renderer that is written in vectors.

A compiler turns no plain loop over texture look-ups into good vector code (gather instructions are
slow on many processors), so the block is written for LLVM directly, in portable vector operations:
the sixteen texels of a wall column are one vector, a pixel column is one permutation of it, sixteen
columns are transposed by exchanges between registers, and every fourth byte is dropped. LLVM turns
this into the instructions of the machine at hand. ``tests/test_maze_render.py`` compares it with
the same picture computed by NumPy, bit for bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Side of a block in pixels, and texels of a wall column."""

_INT, _FLOAT, _SIZE = ir.IntType(32), ir.FloatType(), ir.IntType(64)
_INTS, _FLOATS = ir.VectorType(_INT, LANES), ir.VectorType(_FLOAT, LANES)
_BYTES = ir.VectorType(ir.IntType(8), 4 * LANES)
_FULL_ROW = [j for j in range(LANES) if j % 4 != 3]
"""The twelve words of a row that hold colours once each fourth byte has been squeezed out."""


@intrinsic  # type: ignore[untyped-decorator]
def paint_block(
    context: Any,
    start: Any,
    step: Any,
    texel: Any,
    x: Any,
    y: Any,
    textures: Any,
    background: Any,
    rgb: Any,
    to: Any,
    row: Any,
) -> Any:
    """Paint wall, ceiling and floor of the pixels from column x and row y on.

    Pixel (x + k, y + i) shows texel ``floor(start[x + k] + step[x + k] * (y + i)) - LANES`` of its
    wall column if that is one of the column's ``LANES`` texels, and else ``background[y + i]``.

    Args:
        context: Numba's typing context.
        start: float32 (W,), texel at row 0, plus ``LANES``.
        step: float32 (W,), texels in a pixel.
        texel: int32 (W,), index of the column's first texel.
        x: First column.
        y: First row.
        textures: uint32 (all texels,), red in the lowest byte.
        background: uint32 (H,).
        rgb: uint8 (H * W * 3,), filled.
        to: Index in ``rgb`` of the block's first byte.
        row: Bytes in a row of the picture.
    """
    size = types.intp
    arguments = (start, step, texel, size, size, textures, background, rgb, size, size)
    return types.void(*arguments), _emit


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    def pointer(which: int, at: Any, kind: Any) -> Any:
        data = context.make_array(signature.args[which])(context, builder, args[which]).data
        return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

    def column(which: int, k: int, kind: Any) -> Any:
        return builder.load(pointer(which, builder.add(args[3], _SIZE(k)), kind))

    rows = builder.fadd(
        _splat(builder, builder.sitofp(args[4], _FLOAT), _FLOATS),
        ir.Constant(_FLOATS, [float(i) for i in range(LANES)]),
    )
    behind = builder.load(pointer(6, args[4], _INTS), align=4)
    lines = []
    for k in range(LANES):
        start = _splat(builder, column(0, k, _FLOAT), _FLOATS)
        step = _splat(builder, column(1, k, _FLOAT), _FLOATS)
        place = builder.fptosi(_multiply_add(builder, step, rows, start), _INTS)
        first = builder.sext(column(2, k, _INT), _SIZE)
        texels = builder.load(pointer(5, first, _INTS), align=4)
        lines.append(_look_up(builder, texels, place, behind))
    _exchange(builder, lines, 1)
    _exchange(builder, lines, 2)
    lines = [_squeeze(builder, line) for line in lines]
    _exchange(builder, lines, 4)
    _exchange(builder, lines, 8, _FULL_ROW)
    for i, line in enumerate(lines):
        at = builder.add(args[8], builder.mul(args[9], _SIZE(i)))
        builder.store(line, pointer(7, at, line.type), align=1)
    return context.get_dummy_value()


def _constant(value: int) -> Any:
    return ir.Constant(_INTS, [value] * LANES)


def _mask(indices: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INT, len(indices)), indices)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, value, _INT(0))
    return builder.shuffle_vector(one, nothing, _constant(0))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once on every machine."""
    name = f"llvm.fma.v{LANES}f32"
    known = builder.module.globals.get(name)
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    return builder.call(known or ir.Function(builder.module, kind, name), [a, b, c])


def _look_up(builder: Any, texels: Any, place: Any, outside: Any) -> Any:
    """Return ``texels[place - LANES]`` where that exists, else ``outside``.

    LLVM knows this chain of extractions as one permutation where the machine has one.
    """
    place = builder.xor(place, _constant(LANES))
    inside = builder.icmp_unsigned("<", place, _constant(LANES))
    place = builder.and_(place, _constant(LANES - 1))
    found = ir.Constant(_INTS, ir.Undefined)
    for i in range(LANES):
        lane = builder.extract_element(place, _INT(i))
        found = builder.insert_element(found, builder.extract_element(texels, lane), _INT(i))
    return builder.select(inside, found, outside)


def _exchange(builder: Any, lines: list[Any], apart: int, keep: list[int] | None = None) -> None:
    """Exchange halves between vectors ``apart``; four rounds (1, 2, 4, 8) transpose a block."""
    chosen = range(LANES) if keep is None else keep
    low = _mask([j if not j & apart else LANES + j - apart for j in chosen])
    high = _mask([j + apart if not j & apart else LANES + j for j in chosen])
    for i in range(LANES):
        if not i & apart:
            a, b = lines[i], lines[i + apart]
            lines[i] = builder.shuffle_vector(a, b, low)
            lines[i + apart] = builder.shuffle_vector(a, b, high)


def _squeeze(builder: Any, line: Any) -> Any:
    """Drop the fourth byte of each pixel, four pixels at a time; each fourth word is then free."""
    kept = [16 * q + 4 * p + c for q in range(4) for p in range(4) for c in range(3)]
    order = []
    for quarter in range(4):
        order += [*kept[12 * quarter : 12 * quarter + 12], *[16 * quarter + 3] * 4]
    nothing = ir.Constant(_BYTES, ir.Undefined)
    squeezed = builder.shuffle_vector(builder.bitcast(line, _BYTES), nothing, _mask(order))
    return builder.bitcast(squeezed, _INTS)
