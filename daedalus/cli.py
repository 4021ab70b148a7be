"""The command line: finds the command, runs it, and says what went wrong in one line.

Every command is a dataclass with a ``run`` method, imported when it is called for, so that
``daedalus --help`` loads neither torch nor numba.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from daedalus.parsing import UsageError, nearest, parse

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("daedalus.commands_look:List", "environments, scenarios and agents"),
    "info": ("daedalus.commands_look:Info", "datasheet, spaces, parameters, settings of one"),
    "train": ("daedalus.commands_train:train_command", "train an agent in an environment"),
    "resume": ("daedalus.commands_train:Resume", "go on with a run where it stopped"),
    "evaluate": ("daedalus.commands_score:Evaluate", "score a run beside a random policy"),
    "benchmark": ("daedalus.commands_benchmark:Benchmark", "agents x scenarios x seeds, resumable"),
    "results": ("daedalus.commands_benchmark:Results", "list, filter, export, merge, verify"),
    "report": ("daedalus.commands_benchmark:Report", "results as one HTML page"),
    "probe robustness": ("daedalus.commands_probe:Robustness", "score a run under perturbations"),
    "probe trust": ("daedalus.commands_probe:Trust", "do value and confidence mean anything"),
    "probe sight": ("daedalus.commands_probe:Sight", "which pixels decide"),
    "probe similarity": ("daedalus.commands_probe:Similarity", "compare two networks' layers"),
    "watch": ("daedalus.commands_watch:Watch", "see a run, or play: window, live page, video"),
    "check": ("daedalus.commands_make:Check", "test an environment against its contract"),
    "new env": ("daedalus.commands_make:NewEnv", "start a new environment from a template"),
    "new agent": ("daedalus.commands_make:NewAgent", "start a new agent from a template"),
    "demo record": ("daedalus.commands_record:Record", "record demonstrations of a web task"),
    "demo replay": ("daedalus.commands_record:Replay", "replay and verify demonstrations"),
    "demo": ("daedalus.commands_score:Demo", "train, score and film UNREAL in a maze, in minutes"),
}
"""Command -> where it is, and what it does."""

HELP = """\
usage: daedalus COMMAND ...

Reinforcement learning: compiled environments, rare agents, honest evaluation.

{commands}

Try:
  daedalus demo                                       see the whole thing in a few minutes
  daedalus list                                       what there is
  daedalus train unreal daedalus/NavMaze-v0 --steps 2e6
  daedalus evaluate runs/last                         beside a random policy, with intervals
  daedalus watch runs/last
  daedalus benchmark --agents ppo a2c --scenarios CartPole-v1 --seeds 5
  daedalus train ppo my_package:My-v0                 your own environment

daedalus COMMAND --help explains a command. DAEDALUS_DEBUG=1 shows tracebacks."""


def run(args: Sequence[str]) -> int:
    """Run a command line.

    Args:
        args: Arguments after the program's name.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    if not os.environ.get("DAEDALUS_DEBUG"):
        warnings.showwarning = _show_warning
    if "" not in sys.path:
        sys.path.append("")  # package:Id finds the user's own files, and after all libraries
    try:
        return _dispatch(list(args))
    except KeyboardInterrupt:
        print("daedalus: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("DAEDALUS_DEBUG"):
            raise
        print(f"daedalus: error: {describe(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if args[0] == "--version":
        from daedalus import __version__

        print(f"daedalus {__version__}")
        return 0
    name, rest = _command(args)
    target, _ = COMMANDS[name]
    module, _, attribute = target.partition(":")
    command: Any = getattr(importlib.import_module(module), attribute)
    prog = f"daedalus {name}"
    try:
        made = parse(command, rest, prog) if isinstance(command, type) else command(rest, prog)
    except SystemExit:  # help was printed
        return 0
    runner: Callable[[], int | None] = made.run
    return runner() or 0


def _command(args: list[str]) -> tuple[str, list[str]]:
    """Split off the command's one or two words.

    Raises:
        UsageError: There is no such command.
    """
    two = " ".join(args[:2])
    if two in COMMANDS:
        return two, args[2:]
    if args[0] in COMMANDS:
        return args[0], args[1:]
    seconds = [name.split()[1] for name in COMMANDS if name.startswith(f"{args[0]} ")]
    if seconds:
        raise UsageError(f"say which: daedalus {args[0]} {' | '.join(seconds)}")
    hint = nearest(args[0], COMMANDS) or f"; commands: {', '.join(COMMANDS)}"
    raise UsageError(f"unknown command {args[0]!r}{hint}")


def help_text() -> str:
    """Return what ``daedalus --help`` prints."""
    rows = [f"  {name:<16} {what}" for name, (_, what) in COMMANDS.items()]
    return HELP.format(commands="\n".join(rows))


_PLAIN = (ValueError, OSError, ImportError)


def describe(error: BaseException) -> str:
    """One line for an error: its message, with its type unless that says nothing."""
    text = " ".join(str(error).split()) or "no message"
    module = type(error).__module__
    if isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if isinstance(error, _PLAIN) or module.startswith(("daedalus", "gymnasium")):
        return text
    return f"{type(error).__name__}: {text} (DAEDALUS_DEBUG=1 shows where)"


def _show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning):
        print(f"daedalus: warning: {' '.join(str(message).split())}", file=sys.stderr)
