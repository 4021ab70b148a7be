"""The child process of `daedalus.envs.checker.replay`: ``python -m daedalus.envs.checker.child``.

Reads pickled pairs (constructor, plan) from standard input and answers with JSON lines: one after
every call that has returned, then the rows or an error. What the environment prints goes nowhere.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

import cloudpickle

from daedalus.envs.checker.trace import describe_error, play, row


def _serve(requests: IO[bytes], answers: IO[str]) -> None:
    """Answer plans until the parent closes the pipe."""
    while header := requests.read(8):
        _answer(requests.read(int.from_bytes(header, "big")), answers)


def _answer(request: bytes, answers: IO[str]) -> None:
    def say(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    try:
        make, plan = cloudpickle.loads(request)
        env = make()
        kept = []
        for call in play(env, plan):
            kept.append(row(call))
            say(done=call.where)
        env.close()
    except (Exception, SystemExit) as error:
        say(error=describe_error(error))
        return
    say(rows=kept)


if __name__ == "__main__":
    private = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _serve(sys.stdin.buffer, private)
