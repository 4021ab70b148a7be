"""The algorithms of stable-baselines3 and sb3-contrib as agents; `sb3_adapter` says how."""

from __future__ import annotations

import sb3_contrib
import stable_baselines3

from daedalus.agents.sb3_adapter import SB3Agent
from daedalus.agents.sb3_config import config_class


class PPO(SB3Agent):
    """Proximal policy optimisation (Schulman et al. 2017, 1707.06347)."""

    name = "ppo"
    algorithm = stable_baselines3.PPO
    Config = config_class("PPOConfig", stable_baselines3.PPO)


class A2C(SB3Agent):
    """Advantage actor-critic, synchronous (after Mnih et al. 2016, 1602.01783)."""

    name = "a2c"
    algorithm = stable_baselines3.A2C
    Config = config_class("A2CConfig", stable_baselines3.A2C)


class TRPO(SB3Agent):
    """Trust-region policy optimisation (Schulman et al. 2015, 1502.05477)."""

    name = "trpo"
    algorithm = sb3_contrib.TRPO
    Config = config_class("TRPOConfig", sb3_contrib.TRPO)


class RecurrentPPO(SB3Agent):
    """PPO with an LSTM."""

    name = "recurrent_ppo"
    algorithm = sb3_contrib.RecurrentPPO
    Config = config_class("RecurrentPPOConfig", sb3_contrib.RecurrentPPO)


class MaskablePPO(SB3Agent):
    """PPO over allowed actions only; they are the observation named ``action_mask``."""

    name = "maskable_ppo"
    algorithm = sb3_contrib.MaskablePPO
    Config = config_class("MaskablePPOConfig", sb3_contrib.MaskablePPO)


class DQN(SB3Agent):
    """Deep Q-network (Mnih et al. 2015)."""

    name = "dqn"
    default_num_envs = 1
    algorithm = stable_baselines3.DQN
    Config = config_class("DQNConfig", stable_baselines3.DQN)


class QRDQN(SB3Agent):
    """Quantile-regression DQN (Dabney et al. 2017, 1710.10044)."""

    name = "qrdqn"
    default_num_envs = 1
    algorithm = sb3_contrib.QRDQN
    Config = config_class("QRDQNConfig", sb3_contrib.QRDQN)


class DDPG(SB3Agent):
    """Deep deterministic policy gradient (Lillicrap et al. 2015, 1509.02971)."""

    name = "ddpg"
    default_num_envs = 1
    algorithm = stable_baselines3.DDPG
    Config = config_class("DDPGConfig", stable_baselines3.DDPG)


class TD3(SB3Agent):
    """Twin delayed DDPG (Fujimoto et al. 2018, 1802.09477)."""

    name = "td3"
    default_num_envs = 1
    algorithm = stable_baselines3.TD3
    Config = config_class("TD3Config", stable_baselines3.TD3)


class SAC(SB3Agent):
    """Soft actor-critic (Haarnoja et al. 2018, 1812.05905)."""

    name = "sac"
    default_num_envs = 1
    algorithm = stable_baselines3.SAC
    Config = config_class("SACConfig", stable_baselines3.SAC)


class TQC(SB3Agent):
    """Truncated quantile critics (Kuznetsov et al. 2020, 2005.04269)."""

    name = "tqc"
    default_num_envs = 1
    algorithm = sb3_contrib.TQC
    Config = config_class("TQCConfig", sb3_contrib.TQC)


class CrossQ(SB3Agent):
    """SAC with batch normalisation, without target networks (Bhatt et al. 2019, 1902.05605)."""

    name = "crossq"
    default_num_envs = 1
    algorithm = sb3_contrib.CrossQ
    Config = config_class("CrossQConfig", sb3_contrib.CrossQ)


class ARS(SB3Agent):
    """Augmented random search (Mania et al. 2018, 1803.07055)."""

    name = "ars"
    default_num_envs = 1
    algorithm = sb3_contrib.ARS
    Config = config_class("ARSConfig", sb3_contrib.ARS)
