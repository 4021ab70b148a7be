"""The command line as a user meets it: what it does, what it prints, and what a mistake says."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from daedalus import cli
from daedalus.parsing import Count
from daedalus.source import fields, summary

pytest.importorskip("torch")

TINY = ["--hidden", "8", "--lstm", "0", "--num-envs", "4"]
CATCH = "daedalus/Catch-v0"

Answer = tuple[int, str, str]
Ask = Callable[..., Answer]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*words: str) -> Answer:
        code = cli.run(words)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("trained") / "run"
    assert (
        cli.run(["train", "actor_critic", CATCH, "--steps", "320", *TINY, "--run", str(path)]) == 0
    )
    return path


def error_of(answer: Answer, code: int) -> str:
    """The one line of an error."""
    lines = [line for line in answer[2].splitlines() if "warning:" not in line]
    assert answer[0] == code, answer
    assert len(lines) == 1, answer[2]
    assert lines[0].startswith("daedalus: error: ")
    return lines[0].removeprefix("daedalus: error: ")


# ---- help ---------------------------------------------------------------------------------------


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    heavy = ("torch", "numba", "matplotlib", "pygame", "stable_baselines3")
    code = (
        "import sys, time; start = time.process_time()\n"
        "from daedalus.cli import run\n"
        "run(['--help'])\n"
        f"loaded = [name for name in {heavy} if name in sys.modules]\n"
        "print(time.process_time() - start, loaded)"
    )
    best = 9.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds, loaded = done.stdout.splitlines()[-1].split(" ", 1)
        assert loaded == "[]"
        best = min(best, float(seconds))
    assert best < 1.0


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, ask: Ask) -> None:
    code, out, err = ask(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"usage: daedalus {name}" in out
    assert "Examples:" in out
    assert out.count(f"  daedalus {name}") >= 1
    assert name in ask()[1]


def test_help_of_train_lists_the_settings_of_the_agent(ask: Ask) -> None:
    code, out, _ = ask("train", "actor_critic", "--help")
    assert code == 0
    assert "--learning-rate FLOAT" in out
    assert "Step size of RMSProp" in out


@pytest.mark.parametrize("name", ["distral", "progressive"])
def test_help_of_train_leaves_out_settings_without_a_use(ask: Ask, name: str) -> None:
    from daedalus.agents import make_agent

    code, out, _ = ask("train", name, "--help")
    assert code == 0
    assert "--columns" in out
    for unused in make_agent(name).Config.UNUSED:
        assert f"--{unused.replace('_', '-')} " not in out
        assert f"--{unused.replace('_', '-')}," not in out


def test_version(ask: Ask) -> None:
    assert ask("--version")[1].startswith("daedalus 0.")


def test_the_folder_one_is_in_hides_no_library_and_may_be_gone(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('not the library')")
    (tmp_path / "mine.py").touch()
    code = (
        "import os, shutil\n"
        "from daedalus.cli import run\n"
        "assert run(['info', 'catch']) == 0\n"
        "import mine\n"
        "shutil.rmtree(os.getcwd())\n"
        "assert run(['--help']) == 0\n"
    )
    command = [sys.executable, "-P", "-c", code]  # as a script is started: without the folder
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ---- list, info ---------------------------------------------------------------------------------


def test_list_names_everything(ask: Ask) -> None:
    from daedalus import scenarios
    from daedalus.agents import agent_names
    from daedalus.envs import NATIVE

    code, out, _ = ask("list")
    assert code == 0
    for name in (*NATIVE, *agent_names(), *scenarios.names()):
        assert f"  {name} " in out
    assert CATCH not in ask("list", "agents")[1]
    assert "did you mean 'agents'" in error_of(ask("list", "agnets"), 2)


def test_info_tells_about_environments_agents_and_scenario_files(ask: Ask, tmp_path: Path) -> None:
    out = ask("info", CATCH)[1]
    assert "Discrete(3)" in out
    assert re.search(r"rows +10\b", out)
    out = ask("info", "actor_critic")[1]
    assert "--learning-rate" in out
    assert "Discount." in out
    by_class = ask("info", "daedalus.agents.actor_critic:ActorCritic")[1]
    assert by_class.splitlines()[1:] == out.splitlines()[1:]
    file = tmp_path / "mine.yaml"
    file.write_text(f"env: {CATCH}\nenv_kwargs: {{rows: 7}}\nthreshold: 0.5\n")
    out = ask("info", str(file))[1]
    assert "rows" in out
    assert "0.5" in out
    assert "Time limit: 500 steps" in ask("info", "CartPole-v1")[1]
    assert "did you mean 'actor_critic'" in error_of(ask("info", "actor_critc"), 2)


def test_settings_are_read_without_importing_the_agent() -> None:
    settings = {field.name: field for field in fields("daedalus.agents.actor_critic:Config")}
    assert settings["gamma"].meaning == "Discount."
    assert settings["gamma"].default == "0.99"
    assert summary("daedalus.agents.actor_critic:ActorCritic")


# ---- train, resume, evaluate, watch -------------------------------------------------------------


def test_train_leaves_a_run_that_the_other_commands_take(trained: Path, ask: Ask) -> None:
    assert (trained / "config.yaml").is_file()
    assert (trained / "checkpoints" / "320").is_dir()
    scores = trained / "new" / "s.json"
    code, out, _ = ask("evaluate", str(trained), "--episodes", "8", "--output", str(scores))
    assert code == 0
    assert "actor_critic" in out
    assert "random" in out
    assert len(json.loads(scores.read_text())["policies"]["random"]["returns"]) == 8
    answer = ask("evaluate", str(trained), "--episodes", "8", "--output", str(scores / "s.json"))
    assert "s.json" in error_of(answer, 1)
    assert answer[1] == ""  # before any episode
    video = trained / "videos" / "x.mp4"
    code, out, _ = ask("watch", str(trained), "--episodes", "1", "--video", str(video))
    assert code == 0
    assert video.stat().st_size > 1000


def test_what_cannot_be_written_is_said_before_the_work_and_destroys_nothing(
    trained: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daedalus.accelerators import files

    def full(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    scores, new = tmp_path / "scores.json", tmp_path / "new.json"
    scores.write_text("old")
    evaluate = ("evaluate", str(trained), "--episodes", "2", "--output")
    assert ask(*evaluate, str(new), "--env", "CartPole-v1")[0] == 1  # a failure after the check
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_file", full)
        line = error_of(ask(*evaluate, str(scores)), 1)
    assert line == f"{scores}: No space left on device"
    assert scores.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]
    monkeypatch.setattr("daedalus.evaluation.probes.robustness.robustness", None)
    monkeypatch.setattr("daedalus.evaluation.probes.trust.trust", None)
    for words, code, reason in (
        (
            ("robustness", "--figure", str(tmp_path / "f.xyz")),
            2,
            "f.xyz: the name must end in .png",
        ),
        (("robustness", "--figure", str(scores / "f.png")), 1, f"{scores}: "),
        (("robustness", "--change", "rowz=3"), 2, "has no parameter 'rowz'; did you mean 'rows'"),
        (("robustness", "--change", "rows=5,1"), 1, "rows >= 2"),
        (("trust", "--output", str(tmp_path)), 1, f"{tmp_path}: is a folder; name a file in it"),
    ):
        assert reason in error_of(ask("probe", words[0], str(trained), *words[1:]), code)


def test_train_makes_a_folder_by_agent_environment_and_date_and_links_last(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = ask("train", "actor_critic", CATCH, "--steps", "80", *TINY, "--gamma", "0.9")
    assert code == 0
    (run,) = [path for path in (tmp_path / "runs").iterdir() if path.name != "last"]
    assert run.name.startswith("actor_critic-Catch-v0-20")
    assert (tmp_path / "runs" / "last").resolve() == run
    assert "gamma: 0.9" in (run / "config.yaml").read_text()
    assert "daedalus evaluate runs/" in out
    code, out, err = ask("resume", "runs/last")
    assert (code, err) == (0, "")
    assert "nothing to do" in out
    assert "--steps more than 80" in ask("resume", "runs/last", "--steps", "40")[1]
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("gamma: 0.9\n", "gamma: 0.8\n"))
    code, out, err = ask("resume", "runs/last", "--steps", "160")
    assert code == 0
    assert "config.yaml has another gamma; settings come from the checkpoint" in err
    assert (run / "checkpoints" / "160").is_dir()


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daedalus.commands_train import run_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")
    names = [run_path("unreal", CATCH).name for _ in range(3)]
    assert names == [f"unreal-Catch-v0-20260101-000000{n}" for n in ("", "-2", "-3")]


def test_whole_rollouts_are_told_of_where_they_come_to_much_more(ask: Ask, tmp_path: Path) -> None:
    """Rollouts of 4 x 20 steps: 100 end at 160, 158 too, which is 1.3 % more."""
    words = ("train", "actor_critic", CATCH, *TINY, "--n-steps", "20")
    said = "daedalus: a rollout is 80 steps: training stops at 160, not at 100"
    _, out, err = ask(*words, "--steps", "100", "--run", str(tmp_path / "a"))
    assert said in err
    assert "finished at 160 steps" in out
    _, out, err = ask(*words, "--steps", "158", "--run", str(tmp_path / "b"))
    assert "a rollout" not in err
    assert "finished at 160 steps" in out


def test_a_scenario_gives_defaults_that_options_override(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(
        f"env: {CATCH}\nenv_kwargs: {{rows: 5, columns: 3}}\nnum_envs: 4\ntotal_timesteps: 160\n"
        "agents:\n  actor_critic: {hidden: 8, lstm: 0, gamma: 0.5}\n"
    )
    code, _, err = ask("train", "actor_critic", "tiny.yaml", "--gamma", "0.7", "--run", "a")
    assert code == 0, err
    config = Path("a/config.yaml").read_text()
    for line in ("rows: 5", "hidden: 8", "gamma: 0.7", "num_envs: 4", "total_timesteps: 160"):
        assert line in config
    code, _, err = ask("train", "actor_critic", "tiny.yaml", "--run", "b", "--env-kwargs", "rows=6")
    assert code == 0, err
    assert "rows: 6" in Path("b/config.yaml").read_text()
    text = Path("tiny.yaml").read_text().replace("gamma:", "gama:")
    Path("typo.yaml").write_text(text)
    assert "no setting 'gama'; did you mean 'gamma'" in error_of(
        ask("train", "actor_critic", "typo.yaml"), 1
    )


def test_a_scenarios_cost_limit_reaches_the_agent_that_trains(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(
        "env: daedalus/PointCircle-v0\nenv_kwargs: {convention: kinematic}\nnum_envs: 4\n"
        "total_timesteps: 240\ncost_limit: 3.5\n"
    )
    for words, limit in (((), "3.5"), (("--cost-limit", "2"), "2.0")):
        run = f"run{limit}"
        code, _, err = ask("train", "cpo", "tiny.yaml", "--n-steps", "60", *words, "--run", run)
        assert code == 0, err
        assert f"cost_limit: {limit}" in Path(run, "config.yaml").read_text()


def test_none_is_written_in_a_scenario_as_in_the_shell(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(
        "env: daedalus/PointCircle-v0\nnum_envs: 2\ntotal_timesteps: 40\n"
        "agents:\n  qprop: {target_bound: None, n_steps: 20, net_arch: [8]}\n"
    )
    code, _, err = ask("train", "qprop", "tiny.yaml", "--run", "a")
    assert code == 0, err
    assert "target_bound: null" in Path("a/config.yaml").read_text()


def test_a_world_of_several_agents_is_resumed_with_as_many_copies(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two agents in each of four copies are eight rows, and no eight copies."""
    monkeypatch.chdir(tmp_path)
    words = ("daedalus/ClimbingGame-v0", "--num-envs", "4", "--steps", "160", *TINY)
    code, _, err = ask("train", "actor_critic", *words, "--run", "r")
    assert code == 0, err
    assert "num_envs: 4" in Path("r/config.yaml").read_text()
    code, _, err = ask("resume", "r", "--steps", "320")
    assert code == 0, err
    assert "environments" not in err


def test_ctrl_c_saves_and_stops_and_resume_goes_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "daedalus", "train", "actor_critic", CATCH]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    process = subprocess.Popen(
        [*words, "--steps", "1e9", *TINY, "--run", "r"],
        cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    status = tmp_path / "r" / "status.json"
    deadline = time.monotonic() + 60
    while '"running"' not in (status.read_text() if status.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped and saved at" in out
    assert "daedalus resume r" in out
    step = max(int(p.name) for p in (tmp_path / "r" / "checkpoints").iterdir() if p.is_dir())
    assert cli.run(["resume", str(tmp_path / "r"), "--steps", str(step + 400)]) == 0


WORDY = """
import pathlib, sys
from daedalus import cli
from daedalus.__main__ import main

class Wordy:
    def run(self):
        for stream in (sys.stdout, sys.stderr):
            for _ in range(3):
                print("x" * 10_000, file=stream, flush=True)
        pathlib.Path(sys.argv[1]).touch()

cli._command = lambda args: ("list", args)
cli.parse = lambda *_: Wordy()
sys.exit(main())
"""


@pytest.mark.parametrize("unread", [("stdout",), ("stdout", "stderr")])
def test_a_reader_that_leaves_ends_no_work(unread: tuple[str, ...], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams |= dict.fromkeys(unread, write)
    done = subprocess.run([sys.executable, "-c", WORDY, str(tmp_path / "done")], **streams)
    os.close(write)
    assert done.returncode == 0
    assert not done.stderr or "Error" not in done.stderr.decode()
    assert (tmp_path / "done").exists()


def test_resume_goes_on_to_the_steps_that_were_last_asked_for(
    trained: Path, ask: Ask, tmp_path: Path
) -> None:
    """A run of 320 steps that was resumed to 480 and stopped at 400 goes on to 480."""
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("lock"))
    assert ask("resume", str(run), "--steps", "400")[0] == 0
    status = json.loads((run / "status.json").read_text())
    assert status["total_timesteps"] == 400
    (run / "status.json").write_text(json.dumps({**status, "total_timesteps": 480}))
    assert "finished at 480 steps" in ask("resume", str(run))[1]
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("total_timesteps: 320", "total_timesteps: x"))
    line = error_of(ask("resume", str(run)), 1)
    assert line.startswith(f"{run}/config.yaml: total_timesteps must be a whole number")


# ---- new, check ---------------------------------------------------------------------------------


def test_new_files_pass_the_check_and_train_at_once(tmp_path: Path) -> None:
    def shell(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-m", "daedalus", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "daedalus check my_world:MyWorld-v0" in shell("new", "env", "my_world")
    assert "my_agent:MyAgent" in shell("new", "agent", "MyAgent")
    assert "passed" in shell("check", "my_world:MyWorld-v0", "--steps", "100", "--no-external")
    shell("train", "my_agent:MyAgent", "my_world:MyWorld-v0", "--steps", "512", "--num-envs", "4")
    assert "my_agent" in shell("evaluate", "runs/last", "--episodes", "4")


def test_new_refuses_names_and_files_that_are_there(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot be the name of a module" in error_of(ask("new", "env", "3 worlds"), 2)
    assert ask("new", "env", "kept")[0] == 0
    assert "is there already" in error_of(ask("new", "env", "kept"), 2)
    assert "say which: daedalus new env | agent" in error_of(ask("new", "wrld", "x"), 2)


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", "unknown command 'trian'; did you mean 'train'"),
        ("train", "say AGENT and ENV first"),
        ("train --steps 3 actor_critic CartPole-v1", "say AGENT and ENV first"),
        ("train actor_critik CartPole-v1", "unknown agent 'actor_critik'; did you mean 'actor_cri"),
        ("train actor_critic CartPol-v1", "'CartPol-v1'; did you mean 'CartPole-v"),
        ("train actor_critic Catch", "did you mean 'catch'"),
        ("train actor_critic no_package:X-v0", "there is no module 'no_package'"),
        ("train actor_critic json:X-v0", "unknown environment or scenario 'X-v0' (after importing"),
        ("train no_package:Agent CartPole-v1", "there is no module 'no_package'"),
        ("train actor_critic CartPole-v1 --leraning-rate 1", "did you mean '--learning-rate'"),
        ("train actor_critic CartPole-v1 --steps many", "expected a whole number such as"),
        ("train actor_critic CartPole-v1 --steps 0", "--steps: must be at least 1, got 0"),
        ("train actor_critic CartPole-v1 --steps inf", "expected a whole number such as"),
        ("train actor_critic CartPole-v1 --num-envs 0", "--num-envs: must be at least 1"),
        ("train actor_critic CartPole-v1 --threads 0", "--threads: must be at least 1"),
        ("train actor_critic CartPole-v1 --seed -1", "--seed: must be at least 0, got -1"),
        ("train actor_critic CartPole-v1 --device gpu", "unknown device 'gpu'; devices: auto, cpu"),
        ("benchmark --agents ppo --scenarios catch --seeds 0", "--seeds: must be at least 1"),
        ("train actor_critic CartPole-v1 --gamma high", "--gamma"),
        ("train actor_critic CartPole-v1 --env-kwargs rows", "expected key=value"),
        ("train actor_critic CartPole-v1 --env-kwargs a=[", "the value of 'a', line 1: not valid"),
        ("info", "missing: NAME"),
        ("watch CartPole-v1 --policy best", "--policy is keyboard or random"),
        ("watch c.rollout --beside random", "--beside would change nothing: a stored rollout is"),
        ("watch c.rollout --env-kwargs a=1", "--env-kwargs would change nothing: a stored rollo"),
        ("watch CartPole-v1 --env Acrobot-v1", "--env would change nothing: the environment is"),
        ("watch CartPole-v1 --step 99", "--step would change nothing: it is for a run"),
        ("watch CartPole-v1 --agent ppo", "--agent would change nothing: it is for a zip"),
        ("watch CartPole-v1 --token abc", "--token would change nothing: it is for a page; add"),
        ("watch CartPole-v1 --page --video x.mp4", "--video would change nothing: with --page no"),
        ("probe sight runs/x --page --video x.mp4", "--video would change nothing: with --page"),
        ("check daedalus/Catch-v0 --env-kwargs steps=1", "check has a setting 'steps' itself"),
        ("probe sight runs/x --output s.json", "there is no option --output"),
        ("probe robustness runs/x --kinds delay --strengths 0.5", "delay are whole numbers of"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words: str, message: str, ask: Ask) -> None:
    assert message in error_of(ask(*words.split()), 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [("12345678901234567", 12345678901234567), ("2e6", 2000000), ("1_000", 1000)],
)
def test_a_whole_number_is_read_to_its_last_digit(text: str, number: int) -> None:
    assert tyro.cli(Count, args=[text]) == number


def test_a_device_that_is_not_here_is_said_in_one_line(
    trained: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for words in (("train", "actor_critic", CATCH), ("evaluate", trained), ("resume", trained)):
        answer = ask(*map(str, words), "--device", "cuda")
        assert error_of(answer, 2) == "no CUDA device here; use --device cpu"
    answer = ask("evaluate", str(trained), "--device", "cuda:2")
    assert error_of(answer, 2) == "no CUDA device 2 here; use --device cpu"


def test_failures_are_one_line_and_exit_code_1(ask: Ask, tmp_path: Path) -> None:
    line = error_of(ask("train", "actor_critic", CATCH, "--env-kwargs", "rowz=3"), 2)
    assert "has no parameter 'rowz'; did you mean 'rows'" in line
    line = error_of(ask("train", "actor_critic", CATCH, "--env-kwargs", "rows=1"), 1)
    assert "rows >= 2" in line
    assert "no run directory" in error_of(ask("evaluate", str(tmp_path / "nothing")), 1)
    file = tmp_path / "odd.yaml"
    file.write_text("env: CartPole-v1\nstepps: 3\n")
    assert "line 2: unknown key 'stepps'" in error_of(ask("train", "actor_critic", str(file)), 1)


def test_a_run_is_not_overwritten(trained: Path, ask: Ask) -> None:
    answer = ask("train", "actor_critic", CATCH, "--steps", "80", *TINY, "--run", str(trained))
    assert "holds a run; resume it" in error_of(answer, 1)


def test_a_checkpoint_of_other_spaces_or_another_agent_is_refused(
    trained: Path, ask: Ask, tmp_path: Path
) -> None:
    line = error_of(ask("evaluate", str(trained), "--env", "CartPole-v1", "--episodes", "2"), 1)
    assert "observation" in line
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("lock"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("agent: actor_critic", "agent: unreal"))
    assert "checkpoint of 'actor_critic', not of 'unreal'" in error_of(
        ask("evaluate", str(other)), 1
    )
    (other / "config.yaml").write_text(config.replace(CATCH, "CartPole-v1"))
    assert "observation" in error_of(ask("resume", str(other), "--steps", "1e3"), 1)


def test_a_truncated_checkpoint_is_named_and_loses_nothing(
    trained: Path, ask: Ask, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken, ignore=shutil.ignore_patterns("lock"))
    files = sorted(broken.glob("checkpoints/*/tensors.safetensors"))
    newest = broken / "checkpoints" / "320" / "tensors.safetensors"
    assert newest in files
    for file in files:
        file.write_bytes(file.read_bytes()[:-7])
    line = error_of(ask("evaluate", str(broken)), 1)
    assert "320/tensors.safetensors" in line
    assert "no usable checkpoint" in line
    whole = trained / "checkpoints" / "320" / "tensors.safetensors"
    newest.write_bytes(whole.read_bytes())
    assert ask("evaluate", str(broken), "--episodes", "2")[0] == 0
    shutil.rmtree(broken / "checkpoints")
    for command in ("evaluate", "resume"):
        assert error_of(ask(command, str(broken)), 1) == f"{broken} has no checkpoints"


def test_a_missing_extra_names_the_command() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from daedalus.cli import run\n"
        f"sys.exit(run(['train', 'actor_critic', {CATCH!r}, '--steps', '10']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "daedalus: error: torch is not installed; run: pip install 'daedalus[train]'\n"
    )


def test_the_traceback_is_shown_on_request(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEDALUS_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown agent"):
        ask("train", "nobody", "CartPole-v1")
