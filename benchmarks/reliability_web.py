"""The experiments of ``reliability.py`` on web pages in the browser: goals B1 to B8."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from browser_faults import (
    BAD_PAGES,
    LEAVINGS,
    VICTIMS,
    kill_part,
    kill_trainer,
    last_sight,
    leaks,
    nothing_left,
    show_bad_page,
    wander,
    ways_out,
)
from test_web_server import answered_wrongly, hostile_requests, post, request, send, status

from daedalus.envs.web.actions import CLICK_ELEMENT, Command
from daedalus.envs.web.browser import driver, supervisor
from daedalus.envs.web.browser.env import BrowserWeb
from daedalus.envs.web.browser.pool import close_all
from daedalus.envs.web.browser.server import FormServer, form_values
from daedalus.envs.web.model import TASKS, draw_instance
from daedalus.envs.web.tasks import load_tasks

Figures = dict[str, Any]
load_tasks()


def kills_of_trainers(folder: Path, scale: float) -> Figures:
    """B1: the trainer killed by three signals; no process is left after 2 s, no folder."""
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    wrong = [kill_trainer(signals[k % 3]) for k in range(round(300 * scale))]
    return _kills(wrong)


def kills_of_browsers(folder: Path, scale: float) -> Figures:
    """B1: chromedriver, Chromium or the process that holds them killed -9; a new one goes on."""
    env = BrowserWeb(task="click-test", timeout=5.0)
    env.reset(seed=0)
    wrong = [kill_part(env, VICTIMS[k % 3]) for k in range(round(300 * scale))]
    env.close()
    close_all()
    return _kills(wrong)


def _kills(wrong: list[list[str]]) -> Figures:
    clean = sum(not w for w in wrong)
    said = Counter(problem for w in wrong for problem in w)
    return {"kills": len(wrong), "clean": clean, **said, "goal_met": clean == len(wrong)}


def bad_pages(folder: Path, scale: float) -> Figures:
    """B2: pages that hang, crash, lie, eat memory; a fault within the deadline + 3 s, then on."""
    deadline, times = 1.0, []
    env = BrowserWeb(task="click-test", timeout=deadline)
    figures: Figures = {"pages": 0, "faults_in_time": 0, "next_episode_good": 0, "deadline": 1.0}
    for turn in range(round(50 * scale)):
        for name in BAD_PAGES:
            env.reset(seed=turn)
            said, seconds = show_bad_page(env, name)
            times.append(seconds)
            figures["pages"] += 1
            figures["faults_in_time"] += bool(said) and seconds < deadline + 3.0
            env.reset(seed=turn)
            click = Command(CLICK_ELEMENT, element=0)
            figures["next_episode_good"] += env.do(click)[1] == 1.0
    env.close()
    close_all()
    figures["kinds"] = list(BAD_PAGES)
    figures |= {"seconds_median": round(float(np.median(times)), 2), "seconds_max": max(times)}
    counts = figures["faults_in_time"], figures["next_episode_good"]
    return {**figures, "goal_met": counts == (figures["pages"],) * 2}


def walls(folder: Path, scale: float) -> Figures:
    """B3: ways out of the page, with the page's own policy switched off."""
    env = BrowserWeb(task="login-user", actions="all_supported", timeout=10.0)
    out = ways_out(env)
    env.close()
    close_all()
    reached = out.pop("listeners")
    worked = [name for name, got_out in out.items() if got_out]
    return {
        "ways": len(out),
        "blocked": len(out) - len(worked),
        "worked": worked,
        "reached_a_listener": reached,
        "goal_met": not worked and not reached,
    }


def leaks_between_episodes(folder: Path, scale: float) -> Figures:
    """B4: what an episode leaves in one of eleven places, or all, is not there in the next."""
    env = BrowserWeb(task="login-user")
    episodes = max(LEAVINGS, round(60 * scale))
    found = [leaks(env, seed) for seed in range(episodes)]
    good = found.count(nothing_left(env))
    env.close()
    close_all()
    return {"episodes": episodes, "leaks": episodes - good, "goal_met": good == episodes}


def _task_turns(episodes: int, **parameters: Any) -> Iterator[tuple[BrowserWeb, int]]:
    """Yield environments of all tasks in turn, each for its share of some episodes."""
    share = -(-episodes // len(TASKS))
    for task in TASKS:
        env = BrowserWeb(task=task, actions="all_supported", **parameters)
        for episode in range(share):
            yield env, episode
        env.close()


def same_page_twice(folder: Path, scale: float) -> Figures:
    """B5: the same seed and actions give the same document and picture, in all tasks."""
    pages = pictures = episodes = 0
    others = []
    for env, seed in _task_turns(round(1000 * scale)):
        first, again = ((wander(env, seed, 10), *last_sight(env)) for _ in range(2))
        episodes += 1
        pages += first[:2] == again[:2]
        pictures += first[2] == again[2]
        if first != again:
            others.append([env.instance.task, seed])
    close_all()
    good = pages == episodes and pictures >= 0.999 * episodes
    figures = {"episodes": episodes, "equal_pages": pages, "equal_pictures": pictures}
    return {**figures, "others": others, "goal_met": good}


def what_is_missing(folder: Path, scale: float) -> Figures:
    """B6: programs that are missing, broken or of two versions are named with the remedy."""
    version = driver._version(driver.find_programs()[1])

    def program(name: str, text: str) -> str:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return str(path)

    real = driver.find_programs()
    dies = f'[ "$1" = --version ] && echo Chromium {version}\nexit 1'
    cases = {
        "two versions": (program("old", "echo Chromium 99.0.1"), real[1]),
        "no Chromium": ("/no/chromium", real[1]),
        "no driver": (real[0], "/no/driver"),
        "another program": (program("odd", "echo hello"), real[1]),
        "a broken program": (program("broken", "exit 1"), real[1]),
        "one that dies": (program("dies", dies), real[1]),
    }
    said = {}
    names = ("DAEDALUS_CHROMIUM", "DAEDALUS_CHROMEDRIVER")
    for name, programs in cases.items():
        os.environ.update(zip(names, programs, strict=True))
        try:
            BrowserWeb(task="click-test").close()
        except driver.BrowserError as error:
            said[name] = str(error)[:200]
    for variable in names:
        del os.environ[variable]
    one_line = sum("\n" not in line for line in said.values())
    return {"cases": len(cases), "one_line": one_line, "said": said, "goal_met": one_line == 6}


def hostile_http(folder: Path, scale: float) -> Figures:
    """B7: requests that no page sends, random bytes, random forms, crowds of connections."""
    server, rng = FormServer(), np.random.default_rng(0)
    site = server.open(draw_instance("login-user", 0))
    figures: Figures = {"cases": len(hostile_requests(server, site))}
    figures["not_refused"] = list(answered_wrongly(server, site))
    alphabet = np.frombuffer(b"&=%+;abc019\xff\x00", np.uint8)
    figures |= {"forms": round(1_000_000 * scale), "other_errors": 0, "answers_5xx": 0}
    for _ in range(figures["forms"]):
        try:
            form_values(rng.choice(alphabet, rng.integers(40)).tobytes())
        except ValueError:
            continue
        except Exception:
            figures["other_errors"] += 1
    good = [request(server, f"GET {site.root}/page"), post(server, site, b"a=1&b=2")]
    figures["damaged_requests"] = round(20_000 * scale)
    for k in range(figures["damaged_requests"]):
        figures["answers_5xx"] += status(send(server, _damaged(good[k % 2], rng))) >= 500
    figures["connections"] = _crowd(server.port, round(10_000 * scale))
    end = time.monotonic() + 15
    while (alive := status(send(server, good[0])) == 200) is False and time.monotonic() < end:
        time.sleep(0.1)
    server.close()
    bad = figures["not_refused"] or figures["other_errors"] or figures["answers_5xx"]
    return {**figures, "server_up": alive, "goal_met": alive and not bad}


def _damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Return a request with some bytes changed, or cut."""
    data = np.frombuffer(raw, np.uint8).copy()
    places = rng.integers(data.size, size=rng.integers(1, 6))
    data[places] = rng.integers(256, size=places.size)
    return (
        data[: rng.integers(1, data.size + 1)].tobytes() if rng.random() < 0.3 else data.tobytes()
    )


def _crowd(port: int, count: int) -> int:
    """Open connections, 200 at a time, that say nothing; return how many were made."""
    made = 0
    for start in range(0, count, 200):
        idle = []
        for _ in range(min(200, count - start)):
            try:
                idle.append(socket.create_connection(("127.0.0.1", port), 5))
            except OSError:
                continue
        made += len(idle)
        for connection in idle:
            connection.close()
    return made


def no_flake(folder: Path, scale: float) -> Figures:
    """B8: 10,000 steps over 500 episodes and more, of all tasks, without a fault of the browser."""
    figures: Figures = {"episodes": 0, "steps": 0, "faults": 0}
    least = 20 * round(500 * scale)
    for env, turn in _task_turns(round(500 * scale), deadline=0):
        due = 20
        while due > 0 and figures["faults"] < 100:  # after a short episode comes another
            figures["episodes"] += 1
            try:
                due -= wander(env, 100 * turn + due, due)[1]
            except driver.BrowserFault:
                figures["faults"] += 1
        figures["steps"] += 20 - due
    close_all()
    return {**figures, "goal_met": not figures["faults"] and figures["steps"] >= least}


def endurance(folder: Path, scale: float) -> Figures:
    """B8: memory and processes over 10,000 episodes; browsers are replaced every 500."""
    env = BrowserWeb(task="click-test")
    total, marks, faults = round(10_000 * scale), [], 0
    for episode in range(total):
        env.reset(seed=episode)
        _, _, terminated, _, info = env.step(np.array([1, 0, 0]))
        faults += "fault" in info or not terminated
        if env.browser.episodes >= 500:
            env.close()
            env = BrowserWeb(task="click-test")
        if episode % 100 == 99:
            pids = supervisor.children(env.browser.supervisor.pid)
            marks.append((_megabytes([os.getpid()]), _megabytes(pids), len(pids)))
    env.close()
    close_all()
    own, browser, processes = np.array(marks).T
    slope = float(np.polyfit(np.arange(own.size) / 10, own, 1)[0]) if own.size > 1 else 0.0
    left = len(list(Path(tempfile.gettempdir()).glob(f"{driver.PREFIX}{os.getpid()}-*")))
    return {
        "episodes": total,
        "faults": faults,
        "megabytes_per_1000_episodes": round(slope, 2),
        "browser_megabytes_max": round(float(browser.max())),
        "processes_max": int(processes.max()),
        "folders_left": left,
        "goal_met": slope < 5 and not faults and not left,
    }


def _megabytes(pids: list[int]) -> float:
    """Return the memory of some processes, shared pages by their share (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


EXPERIMENTS = {
    "B1-trainer": kills_of_trainers,
    "B1-browser": kills_of_browsers,
    "B2": bad_pages,
    "B3": walls,
    "B4": leaks_between_episodes,
    "B5": same_page_twice,
    "B6": what_is_missing,
    "B7": hostile_http,
    "B8-steps": no_flake,
    "B8": endurance,
}
