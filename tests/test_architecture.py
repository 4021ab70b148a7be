"""The laws of the house, read from the syntax trees of all files."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache

import pytest
from source_tree import LAYERS, ROOT, Source, dotted, imports, package_sources, python_files

FOLDERS = LAYERS[:-1]
EVERYWHERE = (*LAYERS, "tests", "benchmarks", "docs")


def test_every_layer_has_files() -> None:
    assert {source.layer for source in package_sources()} == set(range(len(LAYERS)))


# --------------------------------------------------------------------------------- imports


def layer_of(module: str) -> int | None:
    """Return the layer of an imported module, None when it is not ours."""
    parts = module.split(".")
    if parts[0] != "daedalus":
        return None
    known = len(parts) > 1 and parts[1] in FOLDERS
    return LAYERS.index(parts[1]) if known else len(LAYERS) - 1


def test_imports_go_one_way() -> None:
    wrong = [
        f"{source.name}:{found.line} imports {found.module}"
        for source in package_sources()
        for found in imports(source.tree)
        if (layer := layer_of(found.module)) is not None and layer > source.layer
    ]
    assert not wrong, f"imports must go down ({' <- '.join(LAYERS)}):\n" + "\n".join(wrong)


def test_imports_are_absolute() -> None:
    for source in package_sources():
        assert not [found for found in imports(source.tree) if found.module.startswith(".")], source


def test_nothing_imports_the_folders_by_their_bare_names() -> None:
    bare = re.compile(rf"^\s*(?:from|import)\s+(?:{'|'.join(FOLDERS)})\b.*", re.MULTILINE)
    assert bare.search("import os\n    from envs.core import Family\n")
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in EVERYWHERE
        for path in python_files(folder)
        for line in bare.findall(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "write daedalus.envs, never envs:\n" + "\n".join(wrong)


@pytest.mark.parametrize("folder", ["scenarios", "envs"])
def test_worlds_and_scenarios_know_nothing_of_learning(folder: str) -> None:
    learning = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard", "safetensors"}
    wrong = [
        f"{source.name}:{found.line} imports {found.module}"
        for source in package_sources()
        if source.path.is_relative_to(ROOT / folder)
        for found in imports(source.tree)
        if found.module.partition(".")[0] in learning
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    modules = {source.module: source for source in package_sources()}
    graph = {name: _eager_dependencies(source, modules) for name, source in modules.items()}
    done: set[str] = set()
    for start in graph:
        _walk(start, graph, [], done)


def _eager_dependencies(source: Source, modules: dict[str, Source]) -> set[str]:
    found = {found.module for found in imports(source.tree) if found.eager}
    return {
        hit
        for name in found
        for hit in (name, name.rpartition(".")[0])
        if hit in modules and hit not in ("daedalus", source.module)
    }


def _walk(module: str, graph: dict[str, set[str]], path: list[str], done: set[str]) -> None:
    if module in done:
        return
    assert module not in path, " -> ".join([*path[path.index(module) :], module])
    for dependency in sorted(graph[module]):
        # a package's __init__ that loads its own files is no cycle: they do not need it loaded
        if not (path and dependency == module.rpartition(".")[0]):
            _walk(dependency, graph, [*path, module], done)
    done.add(module)


def run_python(code: str) -> str:
    """Run code in a new interpreter in the root of the repository and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_is_loaded_under_a_second_name() -> None:
    modules = [s.module for s in package_sources() if not s.module.endswith("__main__")]
    run_python(
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        f"twice = set({FOLDERS}) & set(sys.modules)\n"
        "assert not twice, twice\n"
    )


def test_import_daedalus_is_light() -> None:
    heavy = ("torch", "numba", "stable_baselines3", "matplotlib", "pandas", "pygame", "rich")
    code = (
        "import sys, time, numpy, gymnasium\n"
        "start = time.process_time()\n"
        "import daedalus\n"
        "seconds = time.process_time() - start\n"
        f"loaded = [name for name in {heavy} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert any(name.startswith('daedalus/') for name in gymnasium.registry)\n"
        "print(seconds)\n"
    )
    assert min(float(run_python(code)) for _ in range(3)) < 0.5


# ------------------------------------------------------------------------------- forbidden

FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
FORBIDDEN_CALLS |= {"torch.load", "torch.save"}
OWN_GENERATORS = {"Generator", "SeedSequence", "default_rng", "PCG64", "Philox", "BitGenerator"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}

OWN_CHILD = "hands a user's environment to a child process through a private pipe; reads no file"
RESTORES = "checks that an environment leaves the global generators alone; puts them back"
SB3_DRAWS = "stable-baselines3 draws from the global generators: seeded, kept, put back"
OTHERS_GENERATORS = {"envs/checker/trace.py": RESTORES, "agents/sb3_state.py": SB3_DRAWS}
EXCEPTIONS = {
    "envs/core.py: exec": "a function over the fields of a NamedTuple type, for the compiler",
    "envs/checker/child.py: cloudpickle": OWN_CHILD,
    "envs/checker/replay.py: cloudpickle": OWN_CHILD,
    "envs/checker/calls.py: pickle": "tells whether an info can be sent to another process",
    **{
        f"{file}: {name}": reason
        for file, reason in OTHERS_GENERATORS.items()
        for name in (
            *("random.getstate", "random.seed", "random.setstate"),
            *("np.random.get_state", "np.random.seed", "np.random.set_state"),
        )
    },
    "agents/base.py: torch.manual_seed": "inside fork_rng: torch's layers know no other generator",
}
"""``file: name`` -> the reason why it may stay."""


@cache
def all_findings() -> tuple[tuple[str, int, str], ...]:
    """Return the findings in every file of the package."""
    return tuple(found for source in package_sources() for found in findings(source))


def findings(source: Source) -> Iterator[tuple[str, int, str]]:
    """List (what, line, law) for everything in a file that the laws of this section forbid."""
    for found in imports(source.tree):
        top = found.module.partition(".")[0]
        if top in FORBIDDEN_IMPORTS:
            yield f"{source.name}: {top}", found.line, "no pickle"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name, law = dotted(node.func), ""
            if name in FORBIDDEN_CALLS or unsafe_option(node):
                law = "no code in data"
            elif draws_from_a_global_generator(name, node):
                law = "draw from a generator that is an argument or a member"
            if law:
                yield f"{source.name}: {name}", node.lineno, law


def unsafe_option(node: ast.Call) -> bool:
    """Tell whether a call allows pickles in NumPy files or starts a shell."""
    return any(
        keyword.arg in ("allow_pickle", "shell") and ast.unparse(keyword.value) != "False"
        for keyword in node.keywords
    )


def draws_from_a_global_generator(name: str, node: ast.Call) -> bool:
    """Tell whether a call draws from, or seeds, a generator that nobody owns."""
    head, _, last = name.rpartition(".")
    if head in ("np.random", "numpy.random"):
        return last not in OWN_GENERATORS
    if head == "random":
        return last not in ("Random", "SystemRandom")
    if head == "torch":
        owned = any(keyword.arg == "generator" for keyword in node.keywords)
        return last in ("manual_seed", "seed") or (last in TORCH_DRAWS and not owned)
    return False


def test_no_pickle_no_code_in_data_no_global_generators() -> None:
    wrong = [
        f"{what} (line {line}): {law}"
        for what, line, law in all_findings()
        if what not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_still_needed() -> None:
    assert set(EXCEPTIONS) <= {what for what, _, _ in all_findings()}


@pytest.mark.parametrize(
    ("code", "law"),
    [
        ("import pickle", "no pickle"),
        ("from cloudpickle import loads", "no pickle"),
        ("eval(text)", "no code in data"),
        ("torch.load(path, weights_only=True)", "no code in data"),
        ("np.load(path, allow_pickle=True)", "no code in data"),
        ("subprocess.run(command, shell=True)", "no code in data"),
        ("np.random.rand(3)", "generator"),
        ("random.choice(names)", "generator"),
        ("torch.randn(3)", "generator"),
        ("def draw():\n    torch.manual_seed(0)", "generator"),
    ],
)
def test_the_laws_see_what_they_forbid(code: str, law: str) -> None:
    source = package_sources()[0]._replace(tree=ast.parse(code))
    assert [law in found for _, _, found in findings(source)] == [True]


@pytest.mark.parametrize(
    "code",
    [
        "np.random.default_rng(seed).normal(size=3)",
        "torch.randn(3, generator=generator)",
        "np.load(path)",
        "yaml.safe_load(text)",
    ],
)
def test_the_laws_let_the_rest_be(code: str) -> None:
    assert not list(findings(package_sources()[0]._replace(tree=ast.parse(code))))


# ------------------------------------------------------------------------------- packaging


def test_packaging_lists_every_subpackage() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    on_disk = {s.module: s for s in package_sources() if s.path.name == "__init__.py"}
    assert set(tool["packages"]) == set(on_disk)
    folders = {name: s.path.parent.relative_to(ROOT).as_posix() for name, s in on_disk.items()}
    assert tool["package-dir"] == folders
    homeless = [s.name for s in package_sources() if not (s.path.parent / "__init__.py").exists()]
    assert not homeless, f"folders without __init__.py: {homeless}"


# -------------------------------------------------------------------- one body for all of them


def collected(*test_files: str) -> list[str]:
    """Return, for each file, the names of the tests that pytest finds in it, the slow ones too."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist"]
    command += ["-m", "slow or not slow", *test_files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return ["\n".join(line for line in lines if line.startswith(file)) for file in test_files]


def test_everything_registered_goes_through_the_same_tests() -> None:
    from daedalus.agents import agent_names
    from daedalus.envs import NATIVE

    of_envs, of_agents = collected("tests/test_envs.py", "tests/test_every_agent.py")
    ours = [env_id for env_id in NATIVE if env_id.startswith("daedalus/")]  # others are of tests
    assert ours
    assert not [env_id for env_id in ours if env_id not in of_envs]
    assert agent_names()
    assert not [agent for agent in agent_names() if f"[{agent}" not in of_agents]


# ----------------------------------------------------------------------------------- sizes

MAX_FILE_LINES, MAX_FUNCTION_LINES = 480, 70  # walls; what is long for its kind is printed
SIZE_EXCEPTIONS: dict[str, str] = {}
"""``file`` or ``file:function`` -> the reason why it is larger."""


def functions(source: Source) -> Iterator[tuple[str, int, int]]:
    """List (name, lines of body without docstring, positional parameters) of every function."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
            yield node.name, lines, len([n for n in names if n not in ("self", "cls")])


def test_sizes_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    found = {s.name: (s.lines, sorted(functions(s))) for s in package_sources()}
    lengths = sorted(lines for _, inside in found.values() for _, lines, _ in inside)
    median = lengths[len(lengths) // 2]
    too_large = [f"{n}: {lines} lines" for n, (lines, _) in found.items() if lines > MAX_FILE_LINES]
    for name, (_, inside) in found.items():
        too_large += [
            f"{name}:{function}: {lines} lines, {parameters} parameters"
            for function, lines, parameters in inside
            if lines > MAX_FUNCTION_LINES
        ]
    report = [f"{name} {lines}" for name, (lines, _) in found.items() if lines > 300]
    report += [f"{n}:{f} {m}" for n, (_, inside) in found.items() for f, m, _ in inside if m > 40]
    with capsys.disabled():
        print(f"\n{len(found)} files, {len(lengths)} functions, median body {median} lines")
        print("over 300 lines a file or 40 lines a function:", "; ".join(report) or "none")
    assert median <= 10
    assert not [line for line in too_large if line.rpartition(": ")[0] not in SIZE_EXCEPTIONS]


LINES_PER_SUPPRESSION = 300


def test_suppressions_stay_few() -> None:
    words = ("# type: " + "ignore", "# no" + "qa")
    lines = [line for s in package_sources() for line in s.path.read_text("utf-8").splitlines()]
    found = [line.strip() for line in lines if any(word in line for word in words)]
    assert len(found) <= len(lines) / LINES_PER_SUPPRESSION, "\n".join(found)
    bare = [line for line in found if any(line.endswith(word) for word in words)]
    assert not bare, "a suppression names its rule:\n" + "\n".join(bare)


def test_groups_of_tests_reach_the_processes(request: pytest.FixtureRequest) -> None:
    """With ``--dist loadgroup`` it stands in the id; pytest 9.2 with pytest-xdist 3.8 lost it."""
    if request.config.getoption("loadgroup", False):
        assert request.node.nodeid.endswith("@test_architecture")
