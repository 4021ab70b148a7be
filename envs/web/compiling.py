"""How the kernels of web pages are compiled.

Optimisation takes most of the time, and every function is optimised again in each one that it is
called from, together with what it calls; so what is large is kept `apart`.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,  # arrays are lent: nothing is counted
}
part = numba.njit(forceinline=False, **_OPTIONS)
"""Decorator of a function that only kernels call: no way in from Python, which takes as long to
compile as the function. One compilation serves all callers, where an overload has one for each
caller's settings. What an inlined function calls would be inlined with it unless told otherwise."""
part_with_array = numba.njit(forceinline=False, **{**_OPTIONS, "_nrt": True})
"""The same for a function that returns an array."""
part_of_one = numba.njit(forceinline=True, **_OPTIONS)
"""Decorator of a function that has one caller and many arrays, which take long to pass."""


@intrinsic
def apart(typing_context: Any) -> Any:
    """Keep the function that this is written in out of its callers: it is called, never inlined."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def copy_within(typing_context: Any, array: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy ``size`` bytes of a flat uint8 array to another place in it; they do not overlap."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        places = [builder.gep(data, [place]) for place in args[1:3]]
        cgutils.raw_memcpy(builder, *places, args[3], 1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp), emit


@intrinsic
def clear(typing_context: Any, array: Any) -> Any:
    """Fill a contiguous array with zeros."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.make_array(signature.args[0])(context, builder, args[0])
        size = builder.mul(value.nitems, value.itemsize)
        cgutils.memset(builder, value.data, size, 0)
        return context.get_dummy_value()

    return types.void(array), emit


@intrinsic
def copy_all(typing_context: Any, array: Any, source: Any) -> Any:
    """Fill a contiguous array, which may be empty, from one of the same type and shape."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, its = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, args, strict=True)
        )
        size = builder.mul(target.nitems, target.itemsize)
        cgutils.raw_memcpy(builder, target.data, its.data, size, 1)
        return context.get_dummy_value()

    return types.void(array, source), emit
