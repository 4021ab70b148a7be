"""Daedalus: a reinforcement-learning suite for Gymnasium.

``import daedalus`` registers the environments with Gymnasium and loads nothing heavy; the public
names below are imported when they are first used.
"""

from pathlib import Path

__version__ = "0.1.0"

if not Path(__file__).with_name("envs").is_dir():  # a checkout: the folders stand beside this one
    __path__.append(str(Path(__file__).parents[1]))
