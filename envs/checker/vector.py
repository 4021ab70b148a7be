"""The checks of one `VectorEnv`: logs of episodes must agree, however they are played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from daedalus.envs.checker.checker import Checker
from daedalus.envs.checker.findings import CheckResult
from daedalus.envs.checker.maker import Maker, autoreset_mode
from daedalus.envs.checker.trace import (
    Call,
    OtherGlobalSeeds,
    Plan,
    Row,
    compare,
    describe_error,
    play,
)
from daedalus.envs.checker.values import Leaf, fingerprint, summary
from daedalus.envs.checker.vector_calls import Watch
from daedalus.envs.checker.vector_trace import AnyVectorEnv, play_vector, rows_of

Logs = list[list[Row]]


class VectorCheck(Checker):
    """The checks of one vector environment."""

    prefix = "vector "

    def __init__(self, maker: Maker, result: CheckResult, plan: Plan, num_envs: int = 3) -> None:
        """Prepare the checks.

        Args:
            maker: How to make the environment.
            result: Where findings go.
            plan: What is played.
            num_envs: Size of the batch.
        """
        super().__init__(maker, result, plan)
        self.num_envs = num_envs
        self.mode = AutoresetMode.NEXT_STEP
        self.reference: Logs = []
        self.seed: int | None = None

    def run(self) -> None:
        """Run all of them; stops early where nothing sure can follow."""
        errors = len(self.result.errors)
        envs = self._make()
        if envs is None or not self._check_attributes(envs):
            return
        self._choose_seed(envs)
        played = self._play(envs, watched=True)
        envs.close()
        if played is None or len(self.result.errors) > errors:
            return
        self.reference = played
        self._check_limit(self.time_limit(envs))
        self._check_repeats()
        if self.seed is None:
            self._check_batch_of_one()
            self._check_single()
        self._check_modes()
        self._check_threads()
        self._check_wrong_actions()

    # -- plumbing

    def _make(self, **kwargs: Any) -> AnyVectorEnv | None:
        assert self.maker.vector is not None
        try:
            return self.maker.vector(**{"num_envs": self.num_envs, **kwargs})
        except Exception as error:
            expected, got = "an environment", describe_error(error)
            self.add("construct", "environment", "construction", expected, got)
            return None

    def _option(self, **kwargs: Any) -> AnyVectorEnv | None:
        """Make it with an option that it may not have; None then."""
        assert self.maker.vector is not None
        try:
            return self.maker.vector(num_envs=self.num_envs, **kwargs)
        except TypeError:
            return None

    def _play(self, envs: AnyVectorEnv, *, watched: bool = False, **options: Any) -> Logs | None:
        """Play; an exception becomes a finding and None."""
        mode = autoreset_mode(envs) or self.mode
        if watched:
            options["watch"] = Watch(self, envs, mode)
        try:
            return play_vector(envs, self.plan, mode, **{"seed": self.seed, **options})
        except Exception as error:
            self.add("call", "call", f"mode {mode.name}", "no exception", describe_error(error))
            return None

    def _compare(self, check: str, got: Logs | None, reason: str) -> None:
        self.ran(check)
        for expected, other in zip(self.reference, got or [], strict=False):
            if self.differs(check, compare(expected, other), reason):
                return

    # -- what it says of itself

    def _check_attributes(self, envs: AnyVectorEnv) -> bool:
        self.ran("spaces")
        mode = envs.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            where, expected = "construction", "a gymnasium.vector.AutoresetMode"
            self.add("autoreset", "metadata['autoreset_mode']", where, expected, summary(mode))
            return False
        self.mode = mode
        pairs: list[tuple[str, Any]] = [("num_envs", self.num_envs)]
        for name in ("observation_space", "action_space"):
            pairs.append((name, batch_space(getattr(envs, f"single_{name}"), self.num_envs)))
        for name, expected in pairs:
            if getattr(envs, name) != expected:
                got = str(getattr(envs, name))
                self.add("space", name, "construction", str(expected), got)
                return False
        return True

    def _choose_seed(self, envs: AnyVectorEnv) -> None:
        """Use one seed for each environment where ``reset`` takes a list; otherwise an int."""
        try:
            seeds: Any = [self.plan.seed + i for i in range(envs.num_envs)]
            envs.reset(seed=seeds)
        except Exception as error:
            self.seed = self.plan.seed
            expected, got = "reset(seed=[...]) to seed each environment", describe_error(error)
            self.add("seeding", "reset()", "reset", expected, got, "warning")

    def _check_limit(self, limit: int | None) -> None:
        self.ran("end")
        names = [r.where.rpartition(" ")[2] for log in self.reference for r in log]
        longest = max((int(name) for name in names if name.isdigit()), default=0)
        if limit is not None and longest > limit:
            expected = f"truncated=True at the limit of {limit} steps"
            self.add("end", "truncated", f"step {limit}", expected, f"an episode of {longest}")

    # -- the same plan again

    def _check_repeats(self) -> None:
        again, other = self._make(), self._make()
        if again is None or other is None:
            return
        with OtherGlobalSeeds():
            logs = self._play(again)
        self._compare("seeding", logs, "the same seeds in a second instance")
        disturb = _disturbance(other, self.plan.seed + 1000)
        logs = self._play(again, between=lambda: next(disturb, None))
        self._compare("instances", logs, "a used instance, another one stepped in between")
        self._check_distinct(again)
        again.close()
        other.close()

    def _check_distinct(self, envs: AnyVectorEnv) -> None:
        """From one int as seed not all start the same, if other seeds start otherwise."""
        self.ran("distinct")
        starts = []
        for seed in (self.plan.seed, self.plan.seed + 500):
            observation, _ = envs.reset(seed=seed)
            starts.append({str(fingerprint(o, "")) for o in rows_of(envs, observation)})
        if len(starts[0]) == len(starts[1]) == 1 and starts[0] != starts[1]:
            expected = "environments that start differently from reset(seed=int)"
            self.add("seeding", "observation", "reset", expected, "the same start in each")

    def _check_batch_of_one(self) -> None:
        """Environment i of the batch is the batch of one with its seed."""
        self.ran("batch_of_one")
        for i in range(self.num_envs):
            alone = self._make(num_envs=1)
            if alone is None:
                return
            logs = self._play(alone, first=i)
            alone.close()
            difference = compare(self.reference[i], logs[0]) if logs else None
            reason = f"in the batch of {self.num_envs}, here alone"
            if self.differs("batch_of_one", difference, reason):
                return

    def _check_single(self) -> None:
        """The vector face plays the same episodes as the single face."""
        if self.maker.single is None:
            return
        logs: Logs = []
        for i, log in enumerate(self.reference):
            env = self.maker.single()
            plan = replace(self.plan, seed=self.plan.seed + i, steps=len(log), episodes=len(log))
            logs.append([_as_logged(call, f"environment {i}") for call in play(env, plan)])
            env.close()
        self._compare("faces", logs, "the vector face; here the single face")

    def _check_modes(self) -> None:
        """All autoreset modes give the same episodes."""
        for mode in AutoresetMode:
            envs = self._option(autoreset_mode=mode)
            if envs is None:
                self.skip("modes", "it takes no argument autoreset_mode")
                return
            if autoreset_mode(envs) is not mode:
                got = summary(envs.metadata.get("autoreset_mode"))
                self.add("autoreset", "metadata['autoreset_mode']", "construction", str(mode), got)
            else:
                logs = self._play(envs, watched=True)
                reason = f"in mode {self.mode.name}, here {mode.name}"
                self._compare("autoreset", logs, reason)
            envs.close()

    def _check_threads(self) -> None:
        envs = self._option(threads=2)
        if envs is None:
            self.skip("threads", "it takes no argument threads")
            return
        self._compare("threads", self._play(envs), "with 1 thread, here with 2")
        envs.close()

    def _check_wrong_actions(self) -> None:
        """Too few actions raise."""
        self.ran("actions")
        envs = self._make()
        if envs is None:
            return
        envs.reset(seed=self.plan.seed)
        few = batch_space(envs.single_action_space, self.num_envs - 1).sample()
        try:
            envs.step(few)
        except Exception:
            return
        finally:
            envs.close()
        expected = f"an exception for {self.num_envs - 1} actions to {self.num_envs} environments"
        self.add("action_space", "step()", "step 1", expected, "a step", "warning")


def _as_logged(call: Call, name: str) -> Row:
    """Return the row of a call of the single face as logs of vector environments have it."""
    values: dict[str, Leaf] = {}
    if call.complete:
        values = fingerprint(call.result[0], "observation")
    if call.complete and call.kind == "step":
        _, reward, terminated, truncated, _ = call.result
        values |= fingerprint(float(reward), "reward")
        values |= fingerprint(bool(terminated), "terminated")
        values |= fingerprint(bool(truncated), "truncated")
    return Row(f"{name}, {call.where}", call.error, 0.0, values)


def _disturbance(envs: AnyVectorEnv, seed: int) -> Iterator[None]:
    """Step another instance, one step at each ``next``."""
    envs.reset(seed=seed)
    envs.action_space.seed(seed)
    while True:
        try:
            envs.step(envs.action_space.sample())
        except Exception:
            envs.reset()
        yield
