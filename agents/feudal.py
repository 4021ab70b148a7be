"""FeUdal Networks: a Manager sets directions, a Worker takes the steps (Vezhnevets et al. 2017).

"FeUdal networks for hierarchical reinforcement learning", 1703.01161. From features z_t::

    s_t = relu(W z_t)   g_t = y_t / |y_t|, y = dLSTM(s)   w_t = phi sum_{i=t-c..t} sg(g_i)
    h_t = LSTM(z_t)     U_t = U h_t                       pi_t = softmax(U_t w_t)

The Manager follows the transition policy gradient, A^M_t grad cos(sg(s_{t+c} - s_t), g_t). The
Worker is an advantage actor-critic on r_t + alpha r^I_t, discounted by g_W, of which V^W predicts
the return; r^I at the step from s_t to s_{t+1} is 1/c sum_{i=1..c} cos(s_{t+1} - s_{t+1-i},
g_{t+1-i}). V^M predicts the return of r_t under g_M from z_t alone. The Worker's losses reach no
goal, the Manager's nothing of the Worker. Where this differs from the paper, or has to choose:

- synchronous, with annealing to 0, as `daedalus.agents.actor_critic`;
- the errors of V^W and of V^M both shape the features z_t;
- U_t is a linear layer on the Worker's LSTM, which also sees the previous action and reward;
- a Manager's step counts only if its s_{t+c} was seen, in the same episode and rollout (the last
  observation of an episode counts as seen); nothing is padded;
- a random goal is normalised and is in force for the Worker and its reward; the Manager is still
  taught by what came of it, so that it learns from directions that it did not choose;
- the dilated LSTM sees s_t minus its running mean (``centre_rate``): states are positive, and with
  what they have in common left in, all goals begin within 15 degrees of one direction;
- phi begins so small that w has a length of about 1: a sum of c + 1 goals in front of every logit
  otherwise multiplies the Worker's steps;
- goals and states of the rollout before enter w and r^I as they were when acting.

``goal_use`` among the metrics is the test of whether goals matter: KL(pi(.|x, g) || pi(.|x, g'))
with g' those of other environments and times, estimated with the actions taken.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from daedalus.accelerators.returns import n_step_return
from daedalus.agents.base import Acted, Agent, Inputs, Metric, Metrics, Rollout, State
from daedalus.agents.consolidation import Likelihoods
from daedalus.agents.dilated import same_episode
from daedalus.agents.feudal_network import Config, FeudalNetwork, Unrolled
from daedalus.agents.learner import Learner, joined
from daedalus.agents.losses import (
    actor_critic_loss,
    deviation_of,
    effective_rank,
    explained_variance,
    masked_value_loss,
    mean_of,
)
from daedalus.agents.policy_fisher import history, observed_steps, policy_outcomes

__all__ = ["Config", "Feudal"]


class Future(NamedTuple):
    """What followed each step: constants, (T, B, ...)."""

    latent: Tensor  # (T, B, d), s_{t+1}, of the same episode
    value: Tensor  # (T, B), V^W; read where the rollout or a truncated episode ends
    manager_value: Tensor  # (T, B), V^M


def transition_cosine(
    goal: Tensor, latent: Tensor, following: Tensor, ended: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """Return cos(s_{t+c} - s_t, g_t), differentiable in the goals alone, and where it is known.

    Args:
        goal: (T, B, d).
        latent: (T, B, d), s_t.
        following: (T, B, d), s_{t+1} of the same episode.
        ended: bool (T, B), the episode ended with step t.
        horizon: c.

    Returns:
        (N, B) each, N = max(T - c + 1, 0): step t is known if no episode ended in t .. t + c - 2.
    """
    count = max(len(goal) - horizon + 1, 0)
    move = (following[horizon - 1 :] - latent[:count]).detach()
    before = F.pad(ended.long().cumsum(0), (0, 0, 1, 0))  # ends before step t
    known = before[horizon - 1 : horizon - 1 + count] == before[:count]
    return F.cosine_similarity(move, goal[:count], dim=-1), known


def manager_loss(cosine: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Return -A^M_t cos(s_{t+c} - s_t, g_t), summed over time and averaged over B.

    Args:
        cosine: (N, B).
        advantage: (N, B), constants, of the same t.
        mask: bool (N, B).
    """
    return -(mask * advantage * cosine).sum() / cosine.shape[1]


@torch.no_grad()
def intrinsic_reward(
    latent: Tensor, given: Tensor, following: Tensor, start: Tensor, past: State
) -> Tensor:
    """Return r^I of step t, 1/c sum_{i=1..c} cos(s_{t+1} - s_{t+1-i}, g_{t+1-i}), a constant.

    Args:
        latent: (T, B, d), s_t.
        given: (T, B, d), g_t in force.
        following: (T, B, d), s_{t+1} of the same episode.
        start: bool (T, B), step t is the first of its episode.
        past: ``"latents"`` and ``"goals"`` (B, c, d) before step 0, zero before the episode.

    Returns:
        (T, B) in [-1, 1]; a goal that there was not yet, and a state that did not move, count 0.
    """
    horizon, steps = past["goals"].shape[1], len(latent)
    latents, goals = (
        torch.cat([past[name].transpose(0, 1), x])
        for name, x in (("latents", latent), ("goals", given))
    )
    total = torch.zeros_like(start, dtype=latent.dtype)
    for i in range(horizon):
        then = slice(horizon - i, horizon - i + steps)
        cosine = F.cosine_similarity(following - latents[then], goals[then], dim=-1)
        total += cosine * same_episode(start, i)
    return total / horizon


class Feudal(Agent):
    """Manager and Worker: goals are directions in a latent space that the Manager learns."""

    name = "feudal"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make network and optimiser.

        Raises:
            ValueError: A setting leaves the Worker no memory or the Manager nothing to learn from.
        """
        config = self.config
        if config.lstm < 1:
            raise ValueError("feudal's Worker needs lstm >= 1; without memory take actor_critic")
        if not 1 <= config.horizon <= config.n_steps:
            raise ValueError(
                f"feudal needs 1 <= horizon <= n_steps, got {config.horizon} and {config.n_steps}; "
                "raise n_steps to four horizons or more"
            )
        if config.task_gains:
            raise ValueError("feudal has no gains of each task: leave task_gains off")
        if config.shuffle_goals and self.num_envs == 1:
            raise ValueError("shuffled goals are those of another environment: take num_envs >= 2")
        if config.shuffle_goals and config.consolidation in ("ewc", "online_ewc"):
            raise ValueError("EWC cannot tell what shuffled goals are worth: take si or l2")
        self.network = FeudalNetwork(self.spaces, config).to(self.device)
        self.learner = Learner(cast(Any, self.network), config)  # its optimiser; the loss is ours
        self.modules = {"network": self.network}
        self.optimizers = {"rmsprop": self.learner.optimizer}
        self.consolidation = self.learner.consolidation

    def initial_state(self, num_envs: int) -> State:
        """Return zeros for both memories and for the goals."""
        return self.network.initial_state(num_envs)

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely; in training, draw a random goal now and then."""
        training, generator = torch.is_grad_enabled(), self.generators["act"]
        drawn = self._random_goals(len(inputs.episode_start)) if training else None
        outputs, state, kept = self.network.step(self.learner.clip(inputs), state, drawn)
        policy = self.network.distribution
        with torch.no_grad():
            action = (
                policy.mode(outputs.policy)
                if deterministic
                else policy.sample(outputs.policy, generator)
            )
        if not training:
            return Acted(action, state, {"value": outputs.value})
        goals = {} if drawn is None else {"random_goal": drawn}
        return Acted(action, state, goals | (kept if self.learner.keeps() else {}))

    def _random_goals(self, count: int) -> Tensor | None:
        """Return goals (count, d) of length 1, most of them zero: the Manager's stand there."""
        if self.config.random_goal <= 0:
            return None
        like = self.network.phi.weight
        normal = like.new_empty(count, like.shape[1]).normal_(generator=self.generators["act"])
        chance = like.new_empty(count, 1).uniform_(generator=self.generators["act"])
        goals: Tensor = F.normalize(normal, dim=-1) * (chance < self.config.random_goal)
        return goals

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of policy and values at the end of a task.

        What the Manager's parameters are worth is what they do to actions: the gradient runs
        through the goals here, where the Worker's loss takes them for constants.
        """
        config, policy = self.config, self.network.distribution
        weight = config.fisher_value * config.value_weight
        for rollout, t, b in observed_steps(self):
            inputs, state = history(rollout, t, b)
            inputs = self.learner.clip(inputs)
            seen = self.network.unroll(inputs, state, through=True)
            generator, exact = self.generators["update"], config.fisher_exact
            said = policy_outcomes(policy, seen.policy[-1], generator, exact)
            values = (seen.value[-1], seen.manager_value[-1])
            yield [*said, *((weight, value.squeeze()) for value in values)]

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the sum of the Worker's and the Manager's losses."""
        rollout = self.learner.prepare(rollout)
        drawn = rollout.extras.get("random_goal")
        unrolled = self.network.unroll(
            rollout.inputs.at(slice(-1)),
            rollout.initial_state,
            None if drawn is None else torch.stack(drawn),
            self.learner.recorded(rollout),
        )
        future = self._future(rollout, unrolled)
        worker, seen = self._worker_loss(rollout, unrolled, future)
        manager, more = self._manager_loss(rollout, unrolled, future)
        applied = self.learner.apply(worker + manager, self.progress)
        self._recentre(unrolled.latent)
        return {**seen, **more, **applied}

    @torch.no_grad()
    def _recentre(self, latent: Tensor) -> None:
        """Move the mean state towards that of ``latent`` (T, B, d); the first time, all the way."""
        rate = self.config.centre_rate
        held = self.consolidation is not None and self.finished_tasks  # goals of earlier tasks, too
        if rate > 0 and not held:
            rate = max(rate, 1 / (self.num_updates + 1))
            self.network.centre.lerp_(latent.mean((0, 1)), rate)

    def _future(self, rollout: Rollout, unrolled: Unrolled) -> Future:
        """Judge what comes after the rollout and after the ends of episodes, in one call."""
        rows = torch.arange(len(rollout.final_index), device=rollout.reward.device)
        inputs = joined(rollout.inputs.at(-1), rollout.final_inputs, rows)
        state = {k: torch.cat([v, rollout.final_state[k]]) for k, v in rollout.state.items()}
        seen = self.network.step(self.learner.clip(inputs), state)[0]
        t, b = rollout.final_index.unbind(1)
        count = rollout.reward.shape[1]

        def placed(after: Tensor, inside: Tensor) -> Tensor:
            result = torch.cat([inside.detach()[1:], after[None, :count]])
            result[t, b] = after[count:]
            return result

        return Future(
            placed(seen.latent, unrolled.latent),
            placed(seen.value, unrolled.value),
            placed(seen.manager_value, unrolled.manager_value),
        )

    def _returns(self, rollout: Rollout, reward: Tensor, value: Tensor, gamma: float) -> Tensor:
        ends = rollout.terminated, rollout.truncated
        arrays = [x.cpu().numpy() for x in (reward, *ends, value)]
        return torch.from_numpy(n_step_return(*arrays, gamma)).to(reward.device)

    def _worker_loss(
        self, rollout: Rollout, unrolled: Unrolled, future: Future
    ) -> tuple[Tensor, dict[str, Metric]]:
        """Return A3C's loss on the environment's and the intrinsic reward, and what to log."""
        config, start = self.config, rollout.episode_start[:-1]
        intrinsic = intrinsic_reward(
            unrolled.latent, unrolled.given, future.latent, start, rollout.initial_state
        )
        reward = rollout.reward + config.intrinsic_weight * intrinsic
        returns = self._returns(rollout, reward, future.value, config.gamma)
        policy, action = self.network.distribution, rollout.action.flatten(0, 1)
        log_pi, entropy = policy.log_prob_entropy(unrolled.policy.flatten(0, 1), action)
        log_pi, entropy = (x.view_as(returns) for x in (log_pi, entropy))
        terms = actor_critic_loss(log_pi, entropy, unrolled.value, returns, rollout.valid)
        value, entropy, valid = unrolled.value.detach(), entropy.detach(), rollout.valid
        return terms.total(config.value_weight, config.entropy_weight), {
            "policy_loss": terms.policy.detach(),
            "value_loss": terms.value.detach(),
            "entropy": partial(mean_of, entropy, valid),
            "value": partial(mean_of, value, valid),
            "explained_variance": partial(explained_variance, value, returns, valid),
            "worker_advantage": partial(mean_of, returns - value, valid),
            "worker_advantage_std": partial(deviation_of, returns - value, valid),
            "intrinsic_reward": partial(mean_of, intrinsic, valid),
            "intrinsic_reward_std": partial(deviation_of, intrinsic, valid),
            "goal_use": partial(self._goal_use, unrolled, action),
        }

    @torch.no_grad()
    def _goal_use(self, unrolled: Unrolled, action: Tensor) -> Tensor:
        """Return the mean of log pi(a|x, g) - log pi(a|x, g'), g' from elsewhere in the rollout.

        Both are said by the policy of the moment at which this is asked.
        """
        steps, envs = unrolled.value.shape
        told, hidden = unrolled.told.flatten(0, 1), unrolled.hidden.flatten(0, 1)
        own, shuffled = (
            self.network.distribution.log_prob_entropy(self.network.policy(hidden, goals), action)
            for goals in (told, told.roll(steps // 2 * envs + 1, 0))
        )
        return own[0].mean() - shuffled[0].mean()

    def _manager_loss(
        self, rollout: Rollout, unrolled: Unrolled, future: Future
    ) -> tuple[Tensor, dict[str, Metric]]:
        """Return the transition policy gradient's and V^M's loss, and what to log."""
        config, ended = self.config, rollout.terminated | rollout.truncated
        value = unrolled.manager_value
        returns = self._returns(rollout, rollout.reward, future.manager_value, config.manager_gamma)
        cosine, known = transition_cosine(
            unrolled.goal, unrolled.latent, future.latent, ended, config.horizon
        )
        counted = rollout.valid[: len(known)]
        mask = known & counted
        if self.num_updates == 0 and not mask.any():
            warnings.warn(
                f"no step of the first rollout was followed by {config.horizon} more of its "
                "episode: of episodes that short the Manager learns nothing; lower the horizon",
                stacklevel=2,
            )
        advantage = (returns - value.detach())[: len(known)]
        loss = manager_loss(cosine, advantage, mask)
        critic = masked_value_loss(value, returns, rollout.valid)
        judged, seen = value.detach(), cosine.detach()
        return config.manager_weight * loss + config.value_weight * critic, {
            "manager_loss": loss.detach(),
            "manager_value_loss": critic.detach(),
            "manager_advantage": partial(mean_of, advantage, counted),
            "manager_advantage_std": partial(deviation_of, advantage, counted),
            "manager_explained_variance": partial(
                explained_variance, judged, returns, rollout.valid
            ),
            "manager_steps": lambda: mask.sum() / rollout.valid.sum(),
            "goal_cosine": lambda: seen[mask].sum() / mask.sum().clamp(min=1),
            **_goal_metrics(unrolled, future, rollout.episode_start[:-1]),
        }


def _goal_metrics(unrolled: Unrolled, future: Future, start: Tensor) -> dict[str, Metric]:
    """Return what tells a live latent space from a collapsed one."""
    latent, goal = unrolled.latent.detach(), unrolled.goal.detach()
    going_on = ~start[1:]
    return {
        "latent_move": lambda: (future.latent - latent).norm(dim=-1).mean(),
        "latent_rank": lambda: effective_rank(latent.flatten(0, 1)),
        "goal_spread": lambda: 1 - goal.mean((0, 1)).norm(),
        "goal_rank": lambda: effective_rank(goal.flatten(0, 1)),
        "goal_change": lambda: mean_of((goal[1:] - goal[:-1]).norm(dim=-1), going_on),
    }
