"""What is done to a browser and by a page, for the tests and for ``benchmarks/reliability.py``."""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from browser_tools import becomes_true, folders, processes
from gymnasium.spaces import MultiDiscrete

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command, decode
from daedalus.envs.web.browser import driver
from daedalus.envs.web.browser.env import BrowserWeb

# ------------------------------------------------------------------------------ kills

VICTIMS = ("chromedriver", "profile", "supervisor")
"""Processes of a browser; ``profile`` is Chromium itself."""

CHILD = """
import signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started us with &
warnings.simplefilter("ignore")
from daedalus.envs.web.browser.env import BrowserWeb
env = BrowserWeb(task="click-test")
env.reset(seed=0)
print("ready", flush=True)
time.sleep(60)
"""


def kill_part(env: BrowserWeb, victim: str) -> list[str]:
    """Kill -9 one process of a browser in an episode; return what went wrong."""
    folder, wrong = str(env.browser.folder), []
    pids = {
        "chromedriver": lambda: [env.browser.driver_process],
        "supervisor": lambda: [env.browser.supervisor.pid],
        "profile": lambda: [pid for pid in processes(f"{folder}/profile") if _is_main(pid)],
    }
    os.kill(pids[victim]()[0], signal.SIGKILL)
    if not becomes_true(lambda: _has_failed(env), 1.0):
        wrong.append("the episode went on")  # a step may be quicker than a death
    if not becomes_true(lambda: not processes(folder), 2.0):
        wrong.append("processes left")
    if Path(folder).exists():
        wrong.append("folder left")
    env.reset(seed=0)
    if env.do(Command())[3]:
        wrong.append("the next episode failed")
    return wrong


def _has_failed(env: BrowserWeb) -> bool:
    """Take a step; tell whether it was truncated by a fault."""
    *_, truncated, info = env.do(Command())
    return truncated and "fault" in info


def _is_main(pid: int) -> bool:
    """Tell Chromium's main process from its helpers and the one that reports crashes."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        forked = Path(f"/proc/{parent}/cmdline").read_text().split("\0") == words
    except FileNotFoundError:  # ended since it was listed
        return False
    kinds = [word.partition("=")[0] for word in words]
    # a helper that was forked and has not begun its own program looks like its parent
    return not forked and "--user-data-dir" in kinds and "--type" not in kinds


def kill_trainer(how: signal.Signals) -> list[str]:
    """Kill a process that uses a browser; return what went wrong."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=-3)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    word = f"{driver.PREFIX}{child.pid}-"
    wrong = [] if processes(word) else ["there was no browser"]
    child.send_signal(how)
    child.wait(10)
    child.stdout.close()
    if not becomes_true(lambda: not processes(word), 2.0):
        wrong.append("processes left")
    driver.sweep()
    return [*wrong, "folder left"] if folders(child.pid) else wrong


# ------------------------------------------------------------------------------ bad pages

BAD_PAGES = {
    "endless loop": "<script>while(true);</script>",
    "nothing": "<p>hello</p>",
    "alerts": "<script>for(;;)alert(1)</script>",
    "lies": "<script>window.daedalus={observe:()=>({url:1,rows:[[1]]})}</script>",
    "redirects": "<script>location.replace('page?' + Math.random())</script>",
    "allocation": "<script>const a=[];for(;;)a.push(new Uint8Array(1<<26).fill(1))</script>",
    "slow": "",
    "crash": "",
}


def show_bad_page(env: BrowserWeb, name: str) -> tuple[str, float]:
    """Open a page of `BAD_PAGES`; return what the fault said, "" for none, and the seconds."""
    began = time.monotonic()
    try:
        if name == "crash":
            env.browser.call(env.browser.driver.get, "chrome://crash")
        elif name == "slow":
            env.site.document = _slow  # type: ignore[method-assign]
        else:
            env.site.extra["page"] = BAD_PAGES[name]
        env.site.show(None)
        env._load()
    except driver.BrowserFault as fault:
        return str(fault), time.monotonic() - began
    finally:
        env.site.extra.clear()
        vars(env.site).pop("document", None)
    return "", time.monotonic() - began


def _slow(name: str) -> tuple[str, str]:
    time.sleep(2.0)
    return "late", "text/html"


# ------------------------------------------------------------------------------ ways out


class Listener(http.server.ThreadingHTTPServer):
    """Counts what reaches it."""

    def __init__(self, address: str) -> None:
        """Listen on a free port."""
        self.seen: list[str] = []
        super().__init__((address, 0), _Note)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Note(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


WAYS_OUT = """
const tries = {{
  "another port": () => fetch("http://127.0.0.1:{port}/fetch", {{mode: "no-cors"}}),
  "another address": () => fetch("http://127.0.0.2:{other}/fetch", {{mode: "no-cors"}}),
  "another name": () => fetch("http://localhost:{port}/fetch", {{mode: "no-cors"}}),
  "IPv6": () => fetch("http://[::1]:{port}/fetch", {{mode: "no-cors"}}),
  "the network": () => fetch("http://192.0.2.1/fetch", {{mode: "no-cors"}}),
  "a file": () => fetch("file:///etc/passwd"),
  "WebSocket": () => new Promise((ok, no) => {{
    const s = new WebSocket("ws://127.0.0.1:{port}/ws"); s.onopen = ok; s.onerror = no; }}),
  "an image": () => new Promise((ok, no) => {{
    const i = new Image(); i.onload = ok; i.onerror = no;
    i.src = "http://127.0.0.1:{port}/img"; }}),
  "a beacon": () => {{ navigator.sendBeacon("http://127.0.0.1:{port}/beacon"); throw Error(); }},
}};
return Promise.all(Object.entries(tries).map(([name, way]) => Promise.race([
  (async () => way())(), new Promise((_, no) => setTimeout(no, 3000))])
  .then(() => [name, true], () => [name, false])));
"""
RTC = """
const p = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{port}'}}]}});
p.createDataChannel('x'); p.createOffer().then((o) => p.setLocalDescription(o));
"""
DOWNLOAD = """
const a = document.createElement('a'); a.href = URL.createObjectURL(new Blob(['x']));
a.download = arguments[0]; document.body.append(a); a.click();
"""


def ways_out(env: BrowserWeb) -> dict[str, bool]:
    """Let a page try to get out in 13 ways; return which worked.

    DevTools bypasses the page's policy: what is tried are the walls of the browser itself.
    """
    near, far = Listener("127.0.0.1"), Listener("127.0.0.2")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(0.5)
    env.reset(seed=0)
    page, name = env.browser.driver, f"escaped-{os.getpid()}"
    env.browser.cdp("Page.setBypassCSP", {"enabled": True})
    env.reset(seed=0)
    page.set_script_timeout(15)
    out = dict(page.execute_script(WAYS_OUT.format(port=near.server_port, other=far.server_port)))
    page.execute_script(RTC.format(port=udp.getsockname()[1]))
    out["WebRTC"] = _hears(udp)
    page.execute_script(DOWNLOAD, name)
    page.execute_script("window.open('about:blank')")
    time.sleep(0.3)
    out["a download"] = bool(list(Path.home().rglob(f"Downloads/{name}")))
    page.execute_script("setTimeout(() => location.assign('/elsewhere/page'), 0)")
    time.sleep(0.3)
    *_, terminated, truncated, _ = env.do(Command())
    out["another page"] = not (terminated or truncated)  # never taken for ours
    env.reset(seed=0)
    out["a window"] = len(env.browser.driver.window_handles) > 1
    out["listeners"] = bool(near.seen or far.seen)
    for server in (near, far):
        server.shutdown()
        server.server_close()
    udp.close()
    return out


def _hears(udp: socket.socket) -> bool:
    try:
        return bool(udp.recv(1))
    except TimeoutError:
        return False


# ------------------------------------------------------------------------------ leaks, sameness

LEAVE = """
const ways = [
  () => { document.cookie = 'a=1'; },
  () => { localStorage.a = 1; },
  () => { sessionStorage.a = 1; },
  () => new Promise((d) => { const r = indexedDB.open('a'); r.onsuccess = d; }),
  () => caches.open('a').then((c) => c.put('/x', new Response('a'))),
  () => navigator.serviceWorker.register('page.js'),
  () => { window.name = 'a'; },
  () => { history.pushState({}, '', '#a'); },
  () => { document.body.style.zoom = 2; },
  () => { window.resizeTo(300, 300); },
  () => navigator.clipboard.writeText('a'),
];
const mine = ways.filter((_, k) => k === arguments[0] || arguments[0] === ways.length);
return Promise.allSettled(mine.map(async (way) => way()));
"""
LEAVINGS = 12
"""Ways to leave something, one by one, and all at once."""
FOUND = """
const tried = async (ask) => { try { return await ask(); } catch { return 0; } };
return (async () => [document.cookie, localStorage.length, sessionStorage.length, window.name,
  (await indexedDB.databases()).length, (await caches.keys()).length,
  (await navigator.serviceWorker.getRegistrations()).length, location.hash,
  document.body.style.zoom, innerWidth, innerHeight,
  await tried(() => navigator.clipboard.readText())])();
"""


def leaks(env: BrowserWeb, seed: int) -> list[Any]:
    """Let an episode leave something; return what the next finds, to compare `nothing_left`."""
    env.reset(seed=seed)
    env.browser.call(env.browser.driver.execute_script, LEAVE, seed % LEAVINGS)
    env.reset(seed=seed)
    found: list[Any] = env.browser.driver.execute_script(FOUND)
    return found


def nothing_left(env: BrowserWeb) -> list[Any]:
    """Return what an episode finds that starts with nothing."""
    return ["", 0, 0, "", 0, 0, 0, "", "", *env.family.size, 0]


def wander(env: BrowserWeb, seed: int, steps: int) -> tuple[str, int]:
    """Play an episode at random; return a hash of all its tables, and the steps it took.

    Raises:
        BrowserFault: The browser failed.
    """
    rng, said, space = np.random.default_rng(seed), hashlib.sha256(), env.action_space
    assert isinstance(space, MultiDiscrete)
    env.reset(seed=seed)
    taken, over = 0, False
    while taken < steps and not over:
        command = decode(env.family.params.layout, np.asarray(rng.integers(space.nvec)))
        if rng.random() < 0.5 and env.table:
            row = env.table[rng.integers(len(env.table))].element - env.first
            command = Command(a.CLICK_ELEMENT, element=row)
        *_, terminated, truncated, info = env.do(command._replace(text=""))
        if "fault" in info:
            raise driver.BrowserFault(info["fault"])
        over, taken = terminated or truncated, taken + 1
        said.update(repr((env.outcome, env.table)).encode())
    return said.hexdigest(), taken


def last_sight(env: BrowserWeb) -> tuple[str, str]:
    """Return the document and a hash of its picture, unless the page was left."""
    if env.outcome == "left":
        return "", ""
    document = env.browser.driver.page_source.replace(env.site.root, "")
    picture = env.screenshot().tobytes()
    return document.replace(env.site.nonce, ""), hashlib.sha256(picture).hexdigest()
