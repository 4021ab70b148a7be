"""A process that holds a browser: when its pipe closes, everything that it started is killed.

    python -IS supervisor.py hold DRIVER PORT FOLDER     start chromedriver; end with standard input
    python -IS supervisor.py run PROGRAM ARGUMENTS ...   become a program that dies with its parent
    python -IS supervisor.py lead PROGRAM ARGUMENTS ...  the same, in a session of its own

Plain selenium leaves ten processes behind when the Python process, or chromedriver, is killed. Here
every link dies with the one above: the supervisor reads the end of its standard input; chromedriver
and Chromium get SIGKILL from the kernel when their parent dies (``PR_SET_PDEATHSIG``), so that also
the supervisor may be killed. It imports nothing of ours, so it starts in some milliseconds.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; nothing on systems without it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children(parent: int) -> list[int]:
    """Return the processes below a process, from /proc."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="latin-1") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError):  # it has just ended
                continue
    found, level = [], [parent]
    while level:
        level = [pid for pid, above in parents.items() if above in level]
        found += level
    return found


def kill_all() -> None:
    """Kill everything below this process, until nothing is left."""
    for _ in range(200):
        below = children(os.getpid())
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        reap()
        if not below:
            return
        time.sleep(0.01)


def reap() -> None:
    """Collect children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def hold(driver: str, port: str, folder: str) -> None:
    """Run chromedriver until standard input ends or it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that holds the pipe decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        with open(os.path.join(folder, "driver.log"), "wb") as log:
            process = subprocess.Popen(
                [driver, f"--port={port}", "--allowed-ips=127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        while process.poll() is None:
            if select.select([0], [], [], 0.2)[0] and not os.read(0, 1):
                break
    finally:
        kill_all()
        shutil.rmtree(folder, ignore_errors=True)


def become(program: str, *arguments: str) -> None:
    """Become a program that dies with its parent."""
    die_with_parent()
    os.execv(program, [program, *arguments])


def lead(program: str, *arguments: str) -> None:
    """Become a program that Ctrl-C does not reach, and that dies with its parent."""
    os.setsid()
    become(program, *arguments)


if __name__ == "__main__":
    {"hold": hold, "run": become, "lead": lead}[sys.argv[1]](*sys.argv[2:])
