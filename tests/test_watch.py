"""Videos, windows, keyboard play and figures."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daedalus.evaluation.drawing import HEIGHT, WIDTH, Stage
from daedalus.evaluation.live_sources import Keyboard
from daedalus.evaluation.plots import plot_learning_curve
from daedalus.evaluation.policy import RandomPolicy
from daedalus.evaluation.rollout import Moment, image_name, open_for_people, play
from daedalus.evaluation.rollout_file import StoredRollout
from daedalus.evaluation.video import write_video
from daedalus.evaluation.watch import key_actions, replay, watch

ffmpeg = pytest.importorskip("imageio_ffmpeg")
pytest.importorskip("PIL")


def frames_of(path: Path) -> tuple[dict[str, object], list[np.ndarray]]:
    """Decode a video."""
    reader = ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    frames = [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]
    reader.close()
    return about, frames


def test_a_video_is_h264_and_shows_what_was_drawn(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.mp4"
    drawn = [np.full((64, 96, 3), 20 * i, np.uint8) for i in range(10)]
    assert write_video(path, drawn, fps=10) == 10
    about, shown = frames_of(path)
    assert str(about["codec"]).startswith("h264")
    assert "yuv420p" in str(about["pix_fmt"])
    assert about["size"] == (96, 64)
    assert len(shown) == 10
    assert abs(int(shown[7].mean()) - 140) < 6
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


def test_a_video_needs_frames_and_a_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.mp4 or \.gif"):
        write_video(tmp_path / "out.avi", [])
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "out.mp4", [])
    frames = [np.zeros((height, 60, 3), np.uint8) for height in (40, 40, 50)]
    with pytest.raises(ValueError, match=r"frame 2 is \(50, 60, 3\), those before are \(40, 60"):
        write_video(tmp_path / "out.mp4", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_that_does_not_come_to_its_end_leaves_what_was_there(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"an older one")
    noise = np.random.default_rng(0).integers(0, 255, (10, 64, 96, 3), np.uint8)

    def stopped() -> Iterator[np.ndarray]:
        yield from noise
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, stopped())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match="the video cannot be written: ffmpeg"):
            write_video(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, b"an older one")]


def test_play_tells_the_whole_episode_and_shows_its_end() -> None:
    batch = open_for_people("daedalus/Catch-v0", {"rows": 5})
    moments = list(play(RandomPolicy(batch.action_space), batch, [7, 8]))
    assert [m.step for m in moments] == [0, 1, 2, 3, 4] * 2
    assert [m.episode for m in moments] == [0] * 5 + [1] * 5
    assert moments[4].action is None
    assert abs(moments[4].episode_return) == 1.0
    assert moments[4].reward == moments[4].episode_return
    picture, following = moments[4].picture, moments[5].picture
    assert picture is not None
    assert following is not None
    assert not np.array_equal(picture, following)  # the end, not the next beginning
    assert picture[:16].max() < 100  # the ball has left the top row


def test_play_works_for_python_environments_with_and_without_pictures() -> None:
    batch = open_for_people("CartPole-v1")
    moments = list(play(RandomPolicy(batch.action_space), batch, [1], max_steps=4))
    assert len(moments) == 5
    assert moments[0].picture is not None
    assert moments[0].picture.shape == (400, 600, 3)
    assert image_name(batch) is None
    batch.close()


def test_frames_have_one_size_and_show_view_value_and_reward() -> None:
    stage = Stage("agent in world", {1: "left"})
    picture, view = np.full((50, 70, 3), 200, np.uint8), np.full((21, 21, 3), 90, np.uint8)
    plain = stage.frame(Moment(None, None, 0, 0, 1, None, 0.0, 0.0))
    rich = stage.frame(Moment(picture, view, 0, 1, np.array([0.5, 1.0]), 2.5, 1.0, 1.0))
    last = stage.frame(Moment(picture, view, 0, 2, None, None, -1.0, 0.0))
    for frame in (plain, rich, last):
        assert frame.shape == (HEIGHT, WIDTH, 3)
        assert frame.dtype == np.uint8
    assert (rich == 200).all(axis=2).sum() > 50 * 70  # the picture, enlarged
    assert (rich == 90).all(axis=2).sum() > 21 * 21
    assert (plain == 200).all(axis=2).sum() == 0


def test_an_agent_shows_the_value_that_it_expects() -> None:
    pytest.importorskip("torch")
    from daedalus.agents.actor_critic import ActorCritic, Config
    from daedalus.evaluation.policy import as_policy

    agent = ActorCritic("daedalus/Catch-v0", Config(lstm=8, hidden=8), num_envs=2, seed=0)
    batch = open_for_people("daedalus/Catch-v0")
    moments = list(play(as_policy(agent, batch.action_space), batch, [1], max_steps=3))
    assert all(isinstance(moment.value, float) for moment in moments[:-1])


def test_watch_writes_a_video_where_there_is_no_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    assert watch("random", "daedalus/Catch-v0", episodes=2) == Path("watch.mp4")
    _, shown = frames_of(tmp_path / "watch.mp4")
    assert len(shown) == 20


def test_a_gif_shows_the_same_frames(tmp_path: Path) -> None:
    from PIL import Image

    drawn = [np.full((64, 96, 3), 20 * i, np.uint8) for i in range(10)]
    assert write_video(tmp_path / "out.gif", drawn, fps=10) == 10
    with Image.open(tmp_path / "out.gif") as shown:
        assert (shown.size, shown.n_frames) == ((96, 64), 10)  # type: ignore[attr-defined]
        shown.seek(7)
        assert abs(int(np.asarray(shown.convert("RGB")).mean()) - 140) < 6


def test_a_stored_rollout_becomes_the_video_that_would_have_been_made(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    watch("random", "daedalus/Catch-v0", episodes=2, video=first)
    stored = watch("random", "daedalus/Catch-v0", episodes=2, video=tmp_path / "a.rollout")
    assert stored is not None
    assert len(StoredRollout(stored)) == 20
    assert replay(stored, video=second) == second
    pairs = zip(frames_of(first)[1], frames_of(second)[1], strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    with pytest.raises(ValueError, match="leave out --beside"):
        watch("random", "daedalus/Catch-v0", beside="random", video=tmp_path / "b.rollout")


def test_two_policies_are_filmed_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    watch("random", "daedalus/Catch-v0", beside="random", episodes=1, video=path)
    _, shown = frames_of(path)
    assert shown[0].shape == (HEIGHT, 2 * WIDTH, 3)
    assert np.abs(shown[3][:, :WIDTH].astype(int) - shown[3][:, WIDTH:]).mean() < 1  # same seed


def test_watch_opens_a_window_and_takes_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown: list[np.ndarray] = []
    monkeypatch.setattr("daedalus.envs.window.Window.held", lambda self: {"left"})
    original = Stage.frame

    def frame(self: Stage, moment: Moment) -> np.ndarray:
        shown.append(np.asarray(moment.action))
        return original(self, moment)

    monkeypatch.setattr(Stage, "frame", frame)
    assert watch("keyboard", "daedalus/Catch-v0", episodes=1, fps=1000) is None
    assert [int(a) for a in shown[:-1]] == [1] + [0] * 8  # the first frame comes before any key


def test_keys_come_from_the_environment() -> None:
    native, python = open_for_people("daedalus/Catch-v0"), open_for_people("CartPole-v1")
    assert key_actions(native) == {"left": 0, "right": 2, "": 1}
    keyboard = Keyboard(key_actions(native))
    assert keyboard.choose({}, np.zeros(1), np.ones(1)).action.tolist() == [1]
    assert key_actions(python) == {}
    with pytest.raises(ValueError, match="names no keys"):
        watch("keyboard", "CartPole-v1", video="no.mp4")
    python.close()


def test_play_by_keyboard_is_not_filmed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a display or --page"):
        watch("keyboard", "daedalus/Catch-v0", video=tmp_path / "no.mp4")


def test_a_learning_curve_is_drawn(tmp_path: Path) -> None:
    from PIL import Image

    curves = {"unreal": ([0.0, 1e6, 2e6], [0.0, 3.0, 5.0])}
    path = plot_learning_curve(tmp_path / "a" / "c.png", curves, references={"random": 0.4})
    assert Image.open(path).size == (1040, 585)


def test_without_the_extra_one_line_names_the_command() -> None:
    code = (
        "import sys; sys.modules['imageio_ffmpeg'] = None\n"
        "from daedalus.cli import run\n"
        "sys.exit(run(['watch', 'daedalus/Catch-v0', '--video', 'x.mp4']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "daedalus: error: imageio_ffmpeg is not installed; run: pip install 'daedalus[watch]'"
    )
