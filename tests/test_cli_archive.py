"""Archives of stable-baselines3 on the command line: read only when trusted."""

import json
from pathlib import Path

import pytest
from test_cli import Ask, ask, error_of

stable_baselines3 = pytest.importorskip("stable_baselines3")

__all__ = ["ask"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A zip as stable-baselines3 writes it."""
    path = tmp_path_factory.mktemp("theirs") / "model.zip"
    model = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    model.save(path)
    return str(path)


@pytest.mark.parametrize("command", ["evaluate", "watch"])
def test_an_archive_is_read_only_when_trusted(
    command: str, archive: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stable_baselines3.PPO, "load", None)  # nothing of it may be read
    message = error_of(ask(command, archive, "--agent", "ppo", "--env", "CartPole-v1"), 2)
    assert "runs code" in message
    assert "add --trust" in message


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--env", "CartPole-v1"], "does not say which algorithm"),
        (["--agent", "ppo"], "where it acts: add --agent, such as ppo, and --env"),
        (["--agent", "unreal", "--env", "CartPole-v1"], "unreal is no algorithm of stable"),
        (["--agent", "pqo", "--env", "CartPole-v1"], "did you mean 'ppo'"),
    ],
)
def test_an_archive_needs_its_algorithm_and_environment(
    words: list[str], text: str, archive: str, ask: Ask
) -> None:
    assert text in error_of(ask("evaluate", archive, "--trust", *words), 2)


def test_a_missing_archive_is_named(ask: Ask) -> None:
    assert error_of(ask("evaluate", "nowhere.zip", "--trust"), 2) == "nowhere.zip does not exist"


def test_a_trusted_archive_is_scored_and_filmed(archive: str, ask: Ask, tmp_path: Path) -> None:
    said = ["--trust", "--agent", "ppo", "--env", "CartPole-v1", "--episodes", "2"]
    scores = tmp_path / "scores.json"
    code, out, _ = ask("evaluate", archive, *said, "--num-envs", "2", "--output", str(scores))
    assert code == 0
    assert "ppo" in out
    assert "ppo" in json.dumps(json.loads(scores.read_text()))
    pytest.importorskip("imageio_ffmpeg")
    video = tmp_path / "film.mp4"
    code, out, _ = ask("watch", archive, *said, "--video", str(video))
    assert (code, out) == (0, f"wrote {video}\n")
    assert video.stat().st_size > 1000
