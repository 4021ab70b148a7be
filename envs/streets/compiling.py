"""How street kernels are compiled."""

from __future__ import annotations

from daedalus.envs.cache import jit

kernel = jit(error_model="numpy")
"""Decorator of a compiled function; division by zero does not raise."""

part = jit(error_model="numpy", forceinline=True)
"""Decorator of a function that becomes part of its one caller: passing all arrays takes longer."""
