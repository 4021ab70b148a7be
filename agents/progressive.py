"""Progressive networks: a column for each task, earlier ones frozen (Rusu et al. 2016, 1606.04671).

Layer i of column k reads the layer below in its own column and, by an adapter, in all earlier ones:

    h_i^k = f( W_i^k h_{i-1}^k + U_i^k f( V_i^k [alpha_ij^k h_{i-1}^j  for all j < k] ) )

f is the ReLU, alpha_ij^k a learnt scalar for each earlier column, V reduces what comes from them to
the width of layer i, between maps to the channels of the layer below (1 x 1 convolutions). The
first layer reads the input alone; policy and value read laterals as any other layer. Columns j < k
are frozen: no gradient reaches them, and each column has an optimiser of its own, so an earlier
task is played as before, to the bit. Learning within a column is the synchronous A3C of
`daedalus.agents.learner`.

The column is that of the task which observations show in the array ``task`` (a scenario with
``task_id: known``). Without that array every stage of training has a column of its own, and what is
played between two of them is the last one, on whatever task. Differences: feed-forward only (the
paper does not say where laterals enter an LSTM), and policy and value share the V of their layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from gymnasium import Space
from torch import Tensor, nn

from daedalus.accelerators.rollout import Inputs, State
from daedalus.agents.a3c_network import A3CConfig, Unrolled
from daedalus.agents.base import Acted, Agent, Metric, Metrics, Rollout, Spaces
from daedalus.agents.learner import Learner
from daedalus.agents.networks import (
    Known,
    Standardise,
    channels_last,
    convolutions,
    flat_size,
    flatten,
    is_image,
    orthogonal,
)
from daedalus.agents.policies import policy_for
from daedalus.agents.tasks import between_tasks


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `Progressive`: those of the synchronous A3C, and of the columns."""

    UNUSED = (
        "feed_back",
        "task_gains",
        "reuse_acting",
        "fisher_exact",
        "fisher_value",
        "fisher_samples",
        "ewc_decay",
        "si_damping",
    )

    lstm: int = 0
    """Must be 0: columns are feed-forward."""
    columns: int = 0
    """Columns: one for each task, or each stage that nothing tells apart; 0 for as many as
    observations tell tasks apart, and for 4 where they do not."""
    alpha: float = 1.0
    """What adapters' scalars start from; the paper draws it from 1, 0.1 and 0.01."""


# ------------------------------------------------------------------------------------- the columns


class Adapter(nn.Module):
    """f(V [alpha_j h_j]): what a layer reads of the layer below in earlier columns."""

    def __init__(self, earlier: int, size: int, out: int, alpha: float, *, maps: bool) -> None:
        """Reduce ``earlier`` columns of ``size`` units, or channels of ``maps``, to ``out``."""
        super().__init__()
        self.alpha = nn.Parameter(torch.full((earlier,), alpha))
        self.reduce = nn.Conv2d(earlier * size, out, 1) if maps else nn.Linear(earlier * size, out)

    def forward(self, below: Sequence[Tensor]) -> Tensor:
        """Map one (N, size, ...) for each earlier column to one (N, out, ...)."""
        scaled = [alpha * h for alpha, h in zip(self.alpha, below, strict=True)]
        reduced: Tensor = self.reduce(torch.cat(scaled, 1))
        return reduced.relu()


class Layer(nn.Module):
    """W h + U f(V alpha h<): a layer with its laterals, before the ReLU."""

    def __init__(self, own: nn.Module, lateral: nn.Module | None, adapter: Adapter | None) -> None:
        """Join the layer of the column with that of its laterals, if there are any."""
        super().__init__()
        self.own, self.lateral, self.adapter = own, lateral, adapter

    def forward(self, h: Tensor, below: Sequence[Tensor]) -> Tensor:
        """Map the layer below, here and in earlier columns."""
        total: Tensor = self.own(h)
        if self.adapter is not None and self.lateral is not None:
            total = total + self.lateral(self.adapter(below))
        return total


def _dense(own: nn.Linear, earlier: int, alpha: float) -> Layer:
    """Return a fully connected layer that reads ``earlier`` columns as well."""
    if not earlier:
        return Layer(own, None, None)
    adapter = Adapter(earlier, own.in_features, own.out_features, alpha, maps=False)
    return Layer(own, nn.Linear(own.out_features, own.out_features, bias=False), adapter)


def _convolution(shape: tuple[int, int, int, int], earlier: int, alpha: float) -> Layer:
    """Return a convolution (inputs, outputs, kernel, stride) that reads ``earlier`` columns."""
    own = orthogonal(nn.Conv2d(*shape))
    if not earlier:
        return Layer(own, None, None)
    adapter = Adapter(earlier, shape[0], shape[0], alpha, maps=True)
    return Layer(own, nn.Conv2d(*shape, bias=False), adapter)


class Column(nn.Module):
    """A column with the face of `daedalus.agents.a3c_network.A3CNetwork` that a learner needs."""

    def __init__(self, spaces: Spaces, config: Config, earlier: Sequence[Column]) -> None:
        """Build a column that reads ``earlier`` ones, which are not parts of it."""
        super().__init__()
        if config.precision != "float32":
            raise ValueError("progressive computes in float32; actor_critic has 'bfloat16', too")
        self.spaces, self.earlier = spaces.observation, list(earlier)
        count, alpha = len(self.earlier), config.alpha
        self.image = next((name for name, s in self.spaces.items() if is_image(s)), None)
        rest = sum(flat_size(s) for name, s in self.spaces.items() if name != self.image)
        convolved = 0
        self.convolutions, self.dense = nn.ModuleList(), nn.ModuleList()
        if self.image is not None:
            self.standardise = Standardise()
            shapes, convolved = convolutions(self.spaces[self.image], config.torso)
            for i, shape in enumerate(shapes):
                self.convolutions.append(_convolution(shape, count if i else 0, alpha))
        layers = 1 if convolved else 2
        for i, (inside, out) in enumerate(pairwise([convolved + rest, *[config.hidden] * layers])):
            own = orthogonal(nn.Linear(inside, out)) if convolved else nn.Linear(inside, out)
            self.dense.append(_dense(own, count if i or convolved else 0, alpha))
        self.adapter = (
            Adapter(count, config.hidden, config.hidden, alpha, maps=False) if count else None
        )
        read = config.hidden * (2 if count else 1)
        self.distribution = policy_for(spaces.action)
        self.actor = orthogonal(nn.Linear(read, self.distribution.size), 0.01)
        self.critic = orthogonal(nn.Linear(read, 1), 1.0)

    def begin_with(self, observation: Mapping[str, Tensor]) -> None:
        """Standardise images as those of ``observation`` (N, ...), which training begins with."""
        if self.image is not None:
            self.standardise.begin(observation[self.image])

    def layers(self, observation: dict[str, Tensor], below: Sequence[list[Tensor]]) -> list[Tensor]:
        """Return the input of every layer but the first, and of the heads.

        Args:
            observation: (N, ...) by name.
            below: What this returned for each earlier column.
        """
        found: list[Tensor] = []
        flat = [flatten(observation[n], s) for n, s in self.spaces.items() if n != self.image]
        if self.image is not None:
            x = channels_last(observation[self.image], self.spaces[self.image])
            h = self.standardise(x.permute(0, 3, 1, 2))
            for i, layer in enumerate(self.convolutions):
                h = layer(h, [b[i - 1] for b in below] if i else []).relu()
                found.append(h)
            found[-1] = torch.cat([h.flatten(1), *flat], 1)
        h = found[-1] if found else torch.cat(flat, 1)
        for layer in self.dense:
            read = [b[len(found) - 1] for b in below] if found else []
            h = layer(h, read).relu()
            found.append(h)
        return found

    def below(self, observation: dict[str, Tensor]) -> list[list[Tensor]]:
        """Return the layers of every earlier column."""
        found: list[list[Tensor]] = []
        for column in self.earlier:
            found.append(column.layers(observation, found))
        return found

    def read(self, layers: list[Tensor], below: Sequence[list[Tensor]]) -> Tensor:
        """Return what the heads read of ``layers``, (N, hidden) or with laterals (N, 2 hidden)."""
        if self.adapter is None:
            return layers[-1]
        return torch.cat([layers[-1], self.adapter([b[-1] for b in below])], 1)

    def output(self, observation: dict[str, Tensor]) -> Tensor:
        """Return what the heads read, without a graph in earlier columns."""
        with torch.no_grad():
            below = self.below(observation)
        return self.read(self.layers(observation, below), below)

    def step(
        self, inputs: Inputs, state: State, keep: bool
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Return the output (B, H) without a graph; there is no state, and nothing is kept."""
        with torch.no_grad():
            return self.output(inputs.observation), {}, {}

    def unroll(self, inputs: Inputs, state: State, known: Known | None = None) -> Unrolled:
        """Run over (T, B) inputs."""
        steps, batch = inputs.episode_start.shape
        output = self.output({n: value.flatten(0, 1) for n, value in inputs.observation.items()})
        policy = self.actor(output).view(steps, batch, -1)
        value = self.critic(output).view(steps, batch)
        output = output.view(steps, batch, -1)
        return Unrolled(output, output, output, policy, value)


# ---------------------------------------------------------------------------------- the diagnostics


def fisher_sensitivity(
    column: Column, observation: dict[str, Tensor], action: Tensor
) -> list[Tensor]:
    """Return what share of each layer's average Fisher sensitivity lies in which column.

    AFS(i, k, m) = F_i^k(m, m) / sum_k F_i^k(m, m), where F is E[(d log pi(a|s) / d h)^2] by what
    unit m of layer i in column k says, in units of its deviation (section 3 of the paper). The
    gradient by an earlier column's unit goes through all that is above it, there and here.

    Args:
        column: Whose policy it is.
        observation: (N, ...) by name.
        action: (N, ...), taken by the policy.

    Returns:
        One (columns,) for every layer, the earliest column first: the mean over units that the
        policy feels at all, and 0 where it feels none.
    """
    with torch.enable_grad():
        below = column.below(observation)
        columns = [*below, column.layers(observation, below)]
        logits = column.actor(column.read(columns[-1], below))
        log_pi, _ = column.distribution.log_prob_entropy(logits, action)
        gradients = iter(torch.autograd.grad(log_pi.sum(), [h for part in columns for h in part]))
    felt = [[_felt(h.detach(), next(gradients)) for h in part] for part in columns]
    shares = []
    for layer in zip(*felt, strict=True):
        fisher = torch.stack(layer)  # (columns, units)
        fisher = fisher[:, fisher.sum(0) > 0]
        share = (fisher / fisher.sum(0)).sum(1) / max(1, fisher.shape[1])
        shares.append(share)
    return shares


def _felt(h: Tensor, gradient: Tensor) -> Tensor:
    """Return F(m, m) of units or maps (N, M, ...), summed over the places of a map, (M,)."""
    h, gradient = (x.reshape(*x.shape[:2], -1) for x in (h, gradient))
    return h.var((0, 2), correction=0) * gradient.square().sum(2).mean(0)


# --------------------------------------------------------------------------------------- the agent


class Progressive(Agent):
    """A column for each task, which reads those of earlier tasks and leaves them as they are."""

    name = "progressive"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make all columns, each with its optimiser; those of later tasks wait.

        Raises:
            ValueError: A setting asks for memory, or for a consolidation beside frozen columns; or
                there are too few columns, or stages to which a frozen one would come back.
        """
        config = self.config
        if config.lstm or config.consolidation != "none":
            raise ValueError(
                "progressive is feed-forward and forgets nothing: it needs lstm = 0 and "
                "consolidation = none; take actor_critic for either"
            )
        if self.task_model is not None:
            raise ValueError("progressive learns the column it is told: it needs task_id: known")
        told = self.spaces.observation.get("task")
        seen = {n: s for n, s in self.spaces.observation.items() if n != "task"}
        spaces = self.spaces._replace(observation=seen)
        columns: list[Column] = []
        for _ in range(self._count(told)):
            columns.append(Column(spaces, config, columns).to(self.device))
        self.learners = [Learner(cast(Any, column), config) for column in columns]
        self.modules = {"columns": nn.ModuleList(columns)}
        self.optimizers = {f"column {i}": part.optimizer for i, part in enumerate(self.learners)}

    def _count(self, told: Space[Any] | None) -> int:
        """Return how many columns there are, where observations show ``told`` of the task.

        Raises:
            ValueError: The stages of a sequence need more, or come back to one that is frozen.
        """
        tasks = 0 if told is None else (told.shape or (0,))[0]
        count = self.config.columns or tasks or 4
        stages = getattr(self.batch, "stages", ())
        needed = tasks or len(stages)
        if count < needed:
            raise ValueError(
                f"progressive needs a column for each of {needed} {'tasks' if tasks else 'stages'},"
                f" and has {count}: set columns to {needed}"
            )
        again = [name for i, name in enumerate(stages) if name in stages[:i]]
        if told is not None and again:
            raise ValueError(
                f"progressive cannot train {again[0]!r} again: its column is frozen; give every "
                "task one stage, or take actor_critic"
            )
        return count

    def begin_with(self, observation: Mapping[str, Tensor]) -> None:
        """Show each column the observations (B, ...) that its own task begins with."""
        column = self._columns(dict(observation))
        for i in column.unique().tolist():
            mine = {name: value[column == i] for name, value in observation.items()}
            cast(Column, self.learners[i].network).begin_with(mine)

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely, each from the column of its task."""
        column = self._columns(inputs.observation)
        generator = self.generators["act"]
        acted = [
            (i, self.learners[i].act(inputs, state, generator, deterministic))
            for i in column.unique().tolist()
        ]
        _, first = acted[0]
        action, extras = first.action, dict(first.extras)
        for i, other in acted[1:]:
            rows = column == i
            action[rows] = other.action[rows]
            extras = {n: v for n, v in extras.items() if n != "output"}  # of another width
            for name in extras:
                extras[name][rows] = other.extras[name][rows]
        return Acted(action, {}, extras)

    def _columns(self, observation: dict[str, Tensor]) -> Tensor:
        """Return the column of every row of ``observation``, int64 (B,)."""
        if "task" in observation:
            return observation["task"].argmax(-1)
        rows, last = len(next(iter(observation.values()))), len(self.learners) - 1
        stage = len(self.finished_tasks) - between_tasks(self)
        return torch.full((rows,), min(stage, last), device=self.device)

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step with the column of the present task.

        Raises:
            ValueError: The rollout shows several tasks, or one that is finished; or every column
                has had its stage.
        """
        flat = {n: v.flatten(0, 1) for n, v in rollout.observation.items()}
        found = self._columns(flat).unique().tolist()
        finished = len(set(self.finished_tasks) if "task" in flat else self.finished_tasks)
        if len(found) > 1 or found[0] < finished:
            raise ValueError(
                f"progressive learns one task after another, and column {found[-1]} cannot be the "
                f"{finished + 1}. to learn: give tasks in turn, each a column, or take actor_critic"
            )
        learner = self.learners[found[0]]
        loss, _, metrics = learner.loss(learner.prepare(rollout))
        applied = learner.apply(loss, self.progress)
        if found[0] and rollout.valid.any():
            metrics |= self._laterals(found[0], rollout)
        return {**metrics, **applied, "column": float(found[0])}

    def _laterals(self, number: int, rollout: Rollout) -> dict[str, Metric]:
        """Return what to log of a column with earlier ones, after its step.

        Returns:
            ``alpha_i_j`` and ``fisher_i_j``, the scalar by which what layer i of column j says is
            read, and that column's share of the layer's `fisher_sensitivity`; the share of the
            gradient's norm that is in adapters and laterals; and the sum of all frozen parameters,
            which is a flat line over a stage.
        """
        column = cast(Column, self.learners[number].network)
        shares = cache(partial(_shares, column, rollout))
        frozen = [learner.optimizer.vector for learner in self.learners[:number]]
        metrics: dict[str, Metric] = {
            "lateral_gradient_share": partial(_lateral_share, column),
            "frozen_sum": lambda: torch.stack([v.double().sum() for v in frozen]).sum(),
        }
        alphas = [p for name, p in column.named_parameters() if name.endswith("adapter.alpha")]
        for i, alpha in enumerate(alphas):
            for j, value in enumerate(alpha.detach()):
                metrics[f"alpha_{i + 1}_{j}"] = value
            for j in range(number + 1):
                metrics[f"fisher_{i + 1}_{j}"] = partial(_entry, shares, i, j)
        return metrics


def _shares(column: Column, rollout: Rollout) -> list[Tensor]:
    """Return `fisher_sensitivity` on the steps of a rollout."""
    valid = rollout.valid.flatten()
    seen = {n: v[:-1].flatten(0, 1)[valid] for n, v in rollout.observation.items() if n != "task"}
    return fisher_sensitivity(column, seen, rollout.action.flatten(0, 1)[valid])


def _entry(shares: Callable[[], list[Tensor]], layer: int, column: int) -> Tensor:
    """Return one of `fisher_sensitivity`'s shares, which are computed where one is asked for."""
    return shares()[layer][column]


def _lateral_share(column: Column) -> Tensor:
    """Return the norm of the gradient in adapters and laterals over that of all of it."""
    norms = {name: p.grad.norm() for name, p in column.named_parameters() if p.grad is not None}
    beside = [n for name, n in norms.items() if "adapter" in name or "lateral" in name]
    whole: Tensor = torch.stack([*norms.values()]).norm()
    share: Tensor = torch.stack(beside).norm() / whole.clamp(min=1e-12)
    return share
