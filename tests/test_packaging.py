"""The built package, tested outside the checkout: what is inside, and that it works alone."""

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from shutil import copy2

import pytest
from source_tree import LAYERS, ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command in a folder and return what it prints; fail with its errors."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def source_files() -> list[str]:
    """List the files of the repository: what git tracks, or everything of an unpacked sdist."""
    if (ROOT / ".git").exists():
        listing = run(["git", "ls-files", "-co", "--exclude-standard"], ROOT)
        return [name for name in listing.splitlines() if (ROOT / name).is_file()]
    return [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist from a copy of the tree, without touching the network."""
    copy = tmp_path_factory.mktemp("build") / "daedalus-source"
    for name in source_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        copy2(ROOT / name, copy / name)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", copy], copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """Return the wheel, which ``build`` made from the sdist."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that finds our dependencies but not the checkout.

    The packages already installed are named in a ``.pth`` file: they are seen, but the editable
    installation among them is not carried out, since ``.pth`` files do not nest.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    run([sys.executable, "-m", "pip", "--python", str(python), *install], folder)
    site = Path(
        run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder
        ).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def on_disk(*patterns: str) -> set[str]:
    """List files of the package folders under the names that they have in the wheel."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in LAYERS
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
        if "__pycache__" not in path.parts
    }
    return {name if name.startswith("daedalus/") else f"daedalus/{name}" for name in found}


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if name.startswith("daedalus/")}
    assert {name.partition("/")[0] for name in names - inside} == {
        f"daedalus-{version()}.dist-info"
    }
    data = ("*.graphml", "*.osm.bz2", "*.css", "*.js")
    assert inside == on_disk("*.py", "*.yaml", "*.html", "*.json", "*.txt", "py.typed", *data)
    streets = {name.rpartition("/")[2] for name in inside if "/streets/data/" in name}
    assert {"LICENSE.txt", "LICENSE-osmnx.txt"} <= streets  # map data travel with their licence


def test_sdist_holds_what_building_and_testing_need(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "README.md", ".ci/run"}
    wanted |= {"CHANGELOG.md", "CITATION.cff", "tests/conftest.py", "tests/source_tree.py"}
    assert wanted <= names
    assert {name.removeprefix("daedalus/") for name in on_disk("*.py", "*.yaml")} <= {
        name.removeprefix("daedalus/") for name in names
    }


def test_installed_package_works_alone(python: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.metadata, pathlib, sys, daedalus\n"
        "assert pathlib.Path(daedalus.__file__).is_relative_to(sys.prefix), daedalus.__file__\n"
        "assert importlib.metadata.version('daedalus') == daedalus.__version__\n"
        "import daedalus.scenarios as scenarios, daedalus.agents as agents\n"
        "names = scenarios.names()\n"
        "assert names and all(scenarios.load(name) for name in names)\n"
        "env = daedalus.make('daedalus/Catch-v0')\n"
        "env.reset(seed=1)\n"
        "print(env.step(1)[1:4])\n"
        "from daedalus.envs.streets import town  # its file; the kernels take ten seconds\n"
        "assert town.build_graph(town.load_network(town.WEST_OAKLAND), 10.0).size == 658\n"
        "assert all(agents.make_agent(name) for name in agents.agent_names())\n"
        "assert not {'envs', 'agents', 'scenarios'} & set(sys.modules)\n"
    )
    assert run([python, "-c", code], tmp_path).strip() == "(0.0, False, False)"


def test_installed_commands(python: Path, tmp_path: Path) -> None:
    for command in ([python, "-m", "daedalus"], [python.with_name("daedalus")]):
        assert "train" in run([*command, "--help"], tmp_path)
    listed = run([python, "-m", "daedalus", "list"], tmp_path)
    assert "daedalus/Catch-v0" in listed
    assert "actor_critic" in listed


def test_installed_package_trains(python: Path, tmp_path: Path) -> None:
    command = ["train", "actor_critic", "daedalus/Catch-v0", "--steps", "2000", "--num-envs", "4"]
    run([python, "-m", "daedalus", *command], tmp_path)
    assert list(tmp_path.rglob("manifest.json"))


def test_types_reach_users_of_the_installed_package(python: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import daedalus\n"
        "reveal_type(daedalus.register)\n"
        "reveal_type(daedalus.agent_names())\n"
        "daedalus.no_such_name\n",
        encoding="utf-8",
    )
    settings = tmp_path / "mypy.ini"  # reading what others say of themselves takes a minute
    others = ("torch", "stable_baselines3", "sb3_contrib", "gymnasium", "numba", "numpy")
    settings.write_text(
        "[mypy]\n" + "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in others)
    )
    options = ["--config-file", str(settings), "--python-executable", str(python)]
    command = [sys.executable, "-m", "mypy", *options, str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert 'Revealed type is "def (env_id: str, family: str' in done.stdout
    assert 'Revealed type is "list[str]"' in done.stdout.replace("builtins.", "")
    assert 'Module has no attribute "no_such_name"' in done.stdout


def version() -> str:
    """Return the version of the packaging."""
    declared: str = DECLARED["project"]["version"]
    return declared


def test_versions_agree() -> None:
    import daedalus

    assert daedalus.__version__ == version()
    assert f"\nversion: {version()}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_constraints_are_exact_and_cover_the_core_dependencies() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert len(pinned) == len(lines)
    project = DECLARED["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {line.partition(">")[0].lower() for line in wanted if not line.startswith("daedalus[")}
    assert names <= pinned
    assert "pygame" not in pinned


def test_the_declared_numpy_has_what_is_used() -> None:
    used = [p for p in ROOT.glob("evaluation/*.py") if "np.trapezoid" in p.read_text("utf-8")]
    assert used  # new in NumPy 2.0
    assert "numpy>=2.0" in DECLARED["project"]["dependencies"]
