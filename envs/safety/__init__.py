"""Worlds with a cost or a hidden performance beside the reward."""
