"""Playing an environment in fresh processes with other hash seeds.

An environment that depends on the order of a set, on ``hash()`` of a string or on a leftover of
this process plays another episode there; one that hangs or kills its process does it there, under a
deadline, and not here.

The other end is `daedalus.envs.checker.child`: plans go down its standard input (pickled; the
channel is private to the two), JSON lines come back.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import cloudpickle
import gymnasium

from daedalus.envs.checker.trace import Plan, Row
from daedalus.envs.checker.values import Leaf

EnvMaker = Callable[[], gymnasium.Env[Any, Any]]


class ReplayError(Exception):
    """The child hung, died or could not make the environment."""


class _Child:
    """One process with its own hash seed."""

    def __init__(self, hash_seed: int) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": paths}
        self.hash_seed = hash_seed
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daedalus.envs.checker.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(b"")

    def send(self, request: bytes) -> None:
        """Give the child a plan to play."""
        assert self.process.stdin is not None
        self.process.stdin.write(len(request).to_bytes(8, "big") + request)
        self.process.stdin.flush()

    def receive(self, patience: float) -> list[Row]:
        """Return the rows; ``patience`` is the longest time that one call may take, in s."""
        where = "construction"
        while True:
            try:
                line = self.lines.get(timeout=patience)
            except queue.Empty:
                self.stop()
                text = f"no return within {patience:g} s from the call after {where}"
                raise ReplayError(text) from None
            if not line:
                raise ReplayError(
                    f"the process died (exit code {self.process.wait()}) after {where}"
                )
            answer = json.loads(line)
            if "error" in answer:
                raise ReplayError(answer["error"])
            if "rows" in answer:
                return [_row(fields) for fields in answer["rows"]]
            where = answer["done"]

    def stop(self) -> None:
        """Kill the process and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Replayers:
    """A few child processes, started when first needed; use as a context or call ``close``."""

    def __init__(self, hash_seeds: tuple[int, ...] = (1, 2, 3)) -> None:
        """Choose the ``PYTHONHASHSEED`` of each child."""
        self.hash_seeds = hash_seeds
        self._children: list[_Child] = []

    def __call__(
        self, make: EnvMaker, plan: Plan, patience: float
    ) -> dict[int, list[Row] | ReplayError]:
        """Play ``plan`` in every child.

        Args:
            make: Constructor of the environment; pickled by cloudpickle.
            plan: What to play.
            patience: Longest time of one call, in s; a child that needs more is killed.

        Returns:
            Hash seed -> rows, or what went wrong; after the first that goes wrong no other is
            waited for.

        Raises:
            Exception: ``make`` cannot be pickled; of any type, as pickling raises it.
        """
        request = cloudpickle.dumps((make, plan))
        children = self._ready()
        for child in children:
            child.send(request)
        results: dict[int, list[Row] | ReplayError] = {}
        for child in children:
            try:
                results[child.hash_seed] = child.receive(patience)
            except ReplayError as error:
                results[child.hash_seed] = error
                self.close()
                break
        return results

    def _ready(self) -> list[_Child]:
        alive = {c.hash_seed: c for c in self._children if c.process.poll() is None}
        self._children = [alive.get(seed) or _Child(seed) for seed in self.hash_seeds]
        return self._children

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.stop()
        self._children = []

    def __enter__(self) -> Replayers:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _row(fields: list[Any]) -> Row:
    where, error, seconds, values = fields
    return Row(where, error, seconds, {name: Leaf(*leaf) for name, leaf in values.items()})
