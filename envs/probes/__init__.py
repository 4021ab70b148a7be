"""Small tasks with known answers: each asks one thing of an agent and steps very fast."""

from daedalus.envs.probes.catch import Catch
from daedalus.envs.probes.credit import ConstantReward, TwoStep
from daedalus.envs.probes.signals import Identity, Recall

__all__ = ["Catch", "ConstantReward", "Identity", "Recall", "TwoStep"]
