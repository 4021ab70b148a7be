"""Watching live: the controls, the run that is followed, and who is let in to the page."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daedalus.evaluation.live import SPEEDS, Session
from daedalus.evaluation.live_sources import Keyboard, Replay
from daedalus.evaluation.policy import RandomPolicy
from daedalus.evaluation.rollout import Player, open_for_people, play
from daedalus.evaluation.rollout_file import About, StoredRollout, record
from daedalus.evaluation.watch import key_actions

pytest.importorskip("PIL")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
websockets = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402 - after the skip

TOKEN = "correct horse battery"


def catch(policies: int = 1, **options: Any) -> Session:
    players = []
    for _ in range(policies):
        batch = open_for_people("daedalus/Catch-v0")
        players.append(Player(RandomPolicy(batch.action_space), batch, "Catch"))
    return Session(players, 10, keyboard=Keyboard(key_actions(batch)), **options)


def steps(session: Session) -> list[int]:
    return [moment.step for moment in session.moments]


def test_pause_and_step() -> None:
    session = catch()
    assert session.advance()
    session.press(" ")
    assert not session.advance()
    assert steps(session) == [1]
    session.press(".")
    assert session.advance()
    assert not session.advance()
    assert steps(session) == [2]
    session.press(" ")
    assert session.advance()
    assert steps(session) == [3]


def test_speed_has_ends() -> None:
    session = catch()
    assert session.interval == pytest.approx(0.1)
    session.press("+")
    assert session.interval == pytest.approx(0.05)
    for _ in range(20):
        session.press("-")
    assert session.speed == SPEEDS[0]
    for _ in range(20):
        session.press("+")
    assert session.speed == SPEEDS[-1]


def test_two_policies_play_the_same_seed_and_wait_for_each_other() -> None:
    session = catch(2)
    for seed in (7, 8):
        session.command("seed", seed)
        first, second = (moment.picture for moment in session.moments)
        assert first is not None
        assert np.array_equal(first, second)  # type: ignore[arg-type]
    for _ in range(9):
        session.advance()
    assert session.rests
    before = session.seed
    session.advance()
    assert steps(session) == [0, 0]
    assert session.seed != before


def test_again_repeats_and_next_goes_on() -> None:
    session = catch()
    session.advance()
    seed, second = session.seed, session.moments[0].picture
    session.press("r")
    assert (session.seed, steps(session)) == (seed, [0])
    session.advance()
    assert np.array_equal(session.moments[0].picture, second)  # type: ignore[arg-type]
    session.press("n")
    assert session.seed != seed
    assert session.episode == 1


def test_a_person_takes_over_and_hands_back() -> None:
    session = catch()
    assert session.keyboard is not None
    batch = session.sources[0].batch  # type: ignore[attr-defined]
    session.press("t")
    session.command("held", ["left"])
    for _ in range(5):
        session.advance()
    paddle = np.argwhere(batch.observation["board"][0, -1])
    assert paddle.min() == 0  # five steps to the left from anywhere of five columns
    session.command("held", ["right"])
    session.advance()
    session.advance()
    assert np.argwhere(batch.observation["board"][0, -1]).max() == 2
    session.press("t")
    assert not session.plays


def test_keys_of_the_environment_go_first_while_a_person_plays() -> None:
    batch = open_for_people("daedalus/Catch-v0")
    keyboard = Keyboard({"n": 0, "": 1})
    session = Session([Player(keyboard, batch)], 10, keyboard=keyboard)
    seed = session.seed
    session.press("n")
    assert session.seed == seed
    assert session.plays
    assert not session.can_play  # nobody to take over from


def test_commands_are_checked() -> None:
    session = catch()
    wrong: list[tuple[str, Any]] = [("fly", None), ("seed", -1), ("seed", 2**32), ("seed", True)]
    wrong += [("seed", "5"), ("held", "left"), ("held", [1]), ("pause", 1)]
    for name, value in wrong:
        with pytest.raises(ValueError, match="no command"):
            session.command(name, value)


def test_a_stored_rollout_is_played_without_its_environment(tmp_path: Path) -> None:
    batch = open_for_people("daedalus/Catch-v0")
    shown = list(play(RandomPolicy(batch.action_space), batch, [3, 4]))
    record(tmp_path / "a.rollout", shown, About("old", 10, {}, (3, 4)))
    session = Session([Replay(StoredRollout(tmp_path / "a.rollout"))], 10, episodes=2)
    seen = [session.moments[0]]
    while session.advance():
        seen += session.moments
    assert [(m.episode, m.step, m.action) for m in seen] == [
        (m.episode, m.step, m.action) for m in shown
    ]
    assert session.over


def test_a_run_is_followed_from_checkpoint_to_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from daedalus.accelerators.run_directory import RunDirectory
    from daedalus.agents.actor_critic import ActorCritic, Config
    from daedalus.evaluation.live_sources import Followed

    agent = ActorCritic("daedalus/Catch-v0", Config(lstm=8, hidden=8), num_envs=2, seed=0)
    config: dict[str, Any] = {"agent": "actor_critic", "env": "daedalus/Catch-v0", "env_kwargs": {}}
    config |= {"num_envs": 2, "seed": 0, "total_timesteps": 100}
    with RunDirectory.create(tmp_path / "run", config) as run:
        run.save(40, *agent.get_state())
        followed = Followed(tmp_path / "run", every=0.0)
        batch = open_for_people("daedalus/Catch-v0")
        player = Player(followed, batch)
        first = player.begin(1)
        assert "40 steps" in player.title
        agent.learner.network.critic.bias.data += 5.0
        run.save(80, *agent.get_state())
        second = player.advance()
    assert "80 steps" in player.title
    assert first.value is not None
    assert second.value is not None
    assert second.value - first.value > 4.0  # in the middle of an episode
    assert second.panels["probabilities"].sum() == pytest.approx(1.0)


# ------------------------------------------------------------------------------------- the page


class Served:
    """A page served by the command line."""

    def __init__(self, *options: str) -> None:
        """Start it and wait for its address."""
        command = [sys.executable, "-m", "daedalus", "watch", "daedalus/Catch-v0", "--page"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--fps", "50", *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.address = next(word for word in words if word.startswith("http://"))
        self.host = self.address.split("/")[2]

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        connection.request("GET", path, headers={k.title(): v for k, v in headers.items()})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    def look(self, query: str = "", **options: Any) -> Any:
        options.setdefault("origin", f"http://{self.host}")
        return websockets.connect(f"ws://{self.host}/live{query}", **options)

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A random policy, served as anyone would."""
    made = Served("--policy", "random")
    yield made
    assert made.close() in (0, 130)


def told(viewer: Any) -> Any:
    return json.loads(viewer.recv(timeout=20))


def until(viewer: Any, condition: Any) -> Any:
    for _ in range(500):
        if condition(found := told(viewer)):
            return found
    raise AssertionError("it never came to that")


def test_viewers_see_the_same_and_anyone_may_steer(served: Served) -> None:
    with served.look() as first, served.look() as second:
        until(first, lambda m: m["viewers"] == 2)
        first.send(json.dumps({"command": "pause"}))
        a, b = (until(viewer, lambda m: m["paused"]) for viewer in (first, second))
        assert a == b
        assert {"world", "return"} <= set(a["stages"][0]["panels"])
        second.send(json.dumps({"command": "seed", "value": 77}))
        start = until(first, lambda m: m["seed"] == 77)
        assert start["paused"]
        second.send(json.dumps({"command": "step"}))
        after = until(first, lambda m: "step 1 " in m["stages"][0]["status"])
        assert "step 0 " in start["stages"][0]["status"]
        assert after["stages"][0]["panels"]["world"] != start["stages"][0]["panels"]["world"]
        first.send(json.dumps({"command": "pause"}))
        until(second, lambda m: not m["paused"])


def test_the_page_is_closed_to_other_origins_and_names(served: Served) -> None:
    status, headers, text = served.get("/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    nonce = policy.partition("nonce-")[2].partition("'")[0]
    assert text.count(f'nonce="{nonce}"') == 2
    assert nonce not in served.get("/")[2]  # another one each time
    port = served.host.partition(":")[2]
    assert served.get("/", host="evil.example")[0] == 403
    assert served.get("/", host=f"evil.example:{port}")[0] == 403
    assert served.get("/", host=f"localhost:{port}")[0] == 200
    assert served.get("/", origin="http://evil.example")[0] == 403
    assert served.get("/nothing")[0] == 404
    for origin in ("http://evil.example", f"http://localhost:{port}", "null", None):
        with pytest.raises(InvalidStatus, match="403"), served.look(origin=origin):
            pass


def test_a_page_answers_to_the_address_that_it_announces() -> None:
    from daedalus.evaluation.live_server import host_names

    own = frozenset({"127.0.0.1:8035", "localhost:8035", "[::1]:8035"})
    assert host_names("127.0.0.2", 8035) == own | {"127.0.0.2:8035"}
    assert host_names("::1", 8035) == host_names("localhost", 8035) == own
    assert {"127.0.0.1", "localhost", "127.0.0.1:80"} < (host_names("127.0.0.1", 80) or set())
    assert host_names("0.0.0.0", 8035) is None


@pytest.mark.parametrize(
    "message",
    ["no json", "[]", '"pause"', '{"command": "fly"}', '{"command": ["pause"]}', "[" * 3000,
     '{"command": "seed", "value": 1e99}', "x" * 5000],
)  # fmt: skip
def test_a_viewer_that_talks_nonsense_is_shown_the_door(served: Served, message: str) -> None:
    with served.look() as bad, served.look() as good:
        bad.send(message)
        with pytest.raises(ConnectionClosed):
            until(bad, lambda m: False)
        good.send(json.dumps({"command": "restart"}))
        assert told(good)["stages"]


def test_nothing_goes_on_while_nobody_looks(served: Served) -> None:
    with served.look() as viewer:
        viewer.send(json.dumps({"command": "restart"}))
        until(viewer, lambda m: "step 0 " in m["stages"][0]["status"])
        viewer.send(json.dumps({"command": "pause"}))
        until(viewer, lambda m: m["paused"])
        viewer.send(json.dumps({"command": "pause"}))
        last = until(viewer, lambda m: not m["paused"])
    asyncio.run(asyncio.sleep(1.0))  # fifty steps, if it went on
    with served.look() as viewer:
        episode = told(viewer)["stages"][0]["status"].split()[1]
        assert int(episode) - int(last["stages"][0]["status"].split()[1]) <= 1


def test_with_a_token_only_who_has_it_gets_in() -> None:
    page = Served("--policy", "random", "--token", TOKEN)
    try:
        given = "?token=" + TOKEN.replace(" ", "%20")
        assert page.get("/")[0] == 403
        assert page.get("/?token=wrong-wrong-wrong-wrong")[0] == 403
        assert page.get("/" + given)[0] == 200
        with pytest.raises(InvalidStatus, match="403"), page.look():
            pass
        with page.look(given) as viewer:
            assert told(viewer)["stages"]
    finally:
        page.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--host", "0.0.0.0"], "others can reach the page: add a token"),
        (["--host", "0.0.0.0", "--token", "short"], "16 characters or more"),
        (["--host", "192.0.2.1"], "add a token"),
        (["--port", "70000"], "a port is a number from 0 to 65535, got 70000"),
    ],
)
def test_beyond_loopback_a_token_is_needed(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from daedalus.cli import run

    assert run(["watch", "daedalus/Catch-v0", "--page", *options]) == 2
    assert reason in capsys.readouterr().err
