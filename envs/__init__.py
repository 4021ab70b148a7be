"""Worlds: NumPy, Numba and Gymnasium; no torch, no agent, no budget."""
