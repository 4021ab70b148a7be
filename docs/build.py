"""Make the generated pages and the README's tables from docstrings and registries.

    python docs/build.py            write what changed
    python docs/build.py --check    write nothing; exit 1 and name what is out of date
    python docs/build.py --pictures take the pictures of environments that have none yet

One page for each environment family (docs/environments/), one for each agent (docs/agents/). The
docstring is the only source: edit it, not the page.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from PIL import Image

from daedalus.agents import agent_names, consolidation, ewc, make_agent, si
from daedalus.commands_look import environment_summary
from daedalus.commands_make import write_template
from daedalus.envs import NATIVE, family_class
from daedalus.envs.core import Family

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTE = "<!-- Made by docs/build.py from the docstring in {source}; edit it there. -->\n"
SECTION = re.compile(r"^([A-Z][A-Za-z ]+):$")
TEMPLATES = {"environment": "my_world", "agent": "my_agent"}
"""Kind of template -> module that CONTRIBUTING.md shows it with."""
PICTURE_SEED = 3
PICTURED = {"PointNavigation": "daedalus/PointGoal2-v0", "SafetyGridworld": "daedalus/BoatRace-v0"}
"""Family -> id that its picture is taken of, where the first shows too little."""
EVIDENCE = {
    "actor_critic": ("bfloat16-maze",),
    "consolidation": ("permuted-digits", "catch-sequence", "small-collect-sequence"),
    "unreal": ("unreal-far-goal", "unreal-small-maze"),
    "nav": ("nav-depth",),
    "feudal": ("feudal-montezuma", "feudal-key-door", "feudal-keys-doors"),
    **dict.fromkeys(("cpo", "pdo", "trpo_penalty", "ppo_lagrangian"), ("constrained",)),
    "pgq": ("pgq-catch", "pgq-maze", "pgq-four-rooms", "pgq-grid"),
    "qprop": ("qprop", "qprop-variance"),
    "progressive": ("catch-sequence", "small-collect-sequence"),
    "distral": ("distral-two-rooms", "distral-tasks", "distral-common"),
    "urex": (
        "urex-reverse",
        "urex-bandit",
        "urex-binary-search",
        "urex-copy",
        "urex-duplicated-input",
        "urex-grid",
        "urex-repeat-copy",
        "urex-reversed-addition",
    ),
    "comm": ("language", "comm-speaker-listener"),
    "iql": ("iql-climbing", "iql-skirmish"),
    **dict.fromkeys(("placer", "hierarchical_placer", "placeto"), ("placement-agents",)),
    "web": ("web-scores",),
}
"""Agent -> pages of ``docs/`` that show its point, the one with the most telling picture first."""
KEEPING = "What agents keep of earlier tasks: EWC, online EWC, SI and L2 (`--consolidation`)."
"""The line of the table that is no agent."""
TRIED_IN = {
    "actor_critic": "catch",
    "comm": "referential_game",
    **dict.fromkeys(("cpo", "pdo", "trpo_penalty", "ppo_lagrangian"), "point_circle_kinematic"),
    "distral": "two_rooms_tasks --env-kwargs task=all",
    "feudal": "key_door",
    "hierarchical_placer": "placement_resnet_hierarchical",
    "iql": "climbing_game",
    "nav": "small_maze_random_goal",
    "pgq": "catch",
    "placer": "placement_resnet_training",
    "placeto": "placement_transfer",
    "progressive": "catch_sequence",
    "qprop": "pendulum",
    "unreal": "demo",
    "urex": "reverse",
    "web": "web_click_button",
}
"""Agent -> a scenario in which to see it learn."""
SPEEDS = [
    ("first-person maze, 84 x 84 RGB and depth", "maze_speed", "84 x 84 RGB and depth label",
     "Miniworld, Maze", "Miniworld Maze, 84 x 84 RGB and depth", "maze-speed"),
    ("first-person maze, 160 x 120 RGB and depth", "maze_speed", "160 x 120 RGB and depth label",
     "ViZDoom, my_way_home", "ViZDoom my_way_home, 160 x 120 RGB and depth", "maze-speed"),
    ("maze seen as a window of 7 x 7 squares", "maze_speed", "window of 7 x 7 squares, no pixels",
     "EnvPool, MultiRoom-N6", "EnvPool MultiRoom-N6, 7 x 7 squares", "maze-speed"),
    ("`PointGoal1-v0` (light dynamics, no MuJoCo)", "probe_speed", "daedalus/PointGoal1-v0",
     "Safety-Gymnasium, SafetyPointGoal1", "safety_gymnasium SafetyPointGoal1-v0", "world-speed"),
    ("`CooperativeNavigation-v0`", "cooperation_speed", "daedalus/CooperativeNavigation-v0",
     "MPE2, simple_spread", "MPE2 simple_spread_v3", "cooperation-speed"),
    ("`CooperativeNavigation-v0`", "cooperation_speed", "daedalus/CooperativeNavigation-v0",
     "VMAS, simple_spread", "VMAS simple_spread, 1,024 copies", "cooperation-speed"),
    ("`FourRooms-v0`", "probe_speed", "daedalus/FourRooms-v0",
     "gymnax, FourRooms", "gymnax FourRooms-misc", "world-speed"),
    ("`FourRooms-v0`", "probe_speed", "daedalus/FourRooms-v0",
     "PufferLib, grid", "pufferlib grid", "world-speed"),
    ("`Taxi-v0`", "probe_speed", "daedalus/Taxi-v0",
     "EnvPool, Taxi", "envpool Taxi-v3", "world-speed"),
]  # fmt: skip
"""What the README shows of speed: world, file and row; beside what, its row; page."""
IMAGE = re.compile(r"^!\[(.*)\]\((.*)\)$", re.MULTILINE)
ANSWER = re.compile(r"\A# [^\n]*\n\n\*\*(.+?)\*\*\n\n", re.DOTALL)
FIELD = re.compile(r"^(\w[\w.-]*): +(.*)$", re.DOTALL)


# ------------------------------------------------------------------------------------ docstrings


def sections(docstring: str) -> dict[str, list[str]]:
    """Split a Google docstring into the text before the sections (under "") and each section.

    Args:
        docstring: cleaned docstring.

    Returns:
        Section title -> its entries: paragraphs, or items that begin at the section's indentation.
    """
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in docstring.splitlines():
        heading = SECTION.match(line)
        if heading:
            title = heading.group(1)
        found.setdefault(title, []).append("" if heading else line)
    return {name: entries("\n".join(lines)) for name, lines in found.items()}


def entries(text: str) -> list[str]:
    """Split a section into items and paragraphs, each on one line unless it is code."""
    lines: list[str] = []
    for line in textwrap.dedent(text).strip().splitlines():
        before = lines[-1] if lines else ""
        starts = not line or not before or line.startswith("- ") or FIELD.match(line)
        if starts or (line.startswith("    ") and not FIELD.match(before)):
            lines.append(line.rstrip())
        else:
            lines[-1] += " " + line.strip()
    return lines


def paragraphs(lines: Iterable[str]) -> str:
    """Write the entries of a section as Markdown: ``name: text`` becomes an item."""
    out = []
    for line in lines:
        field = FIELD.match(line)
        out.append(f"- `{field.group(1)}`: {field.group(2)}" if field else line)
    return "\n".join(out).strip()


def summary(thing: Any) -> str:
    """Return the first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def title(path: Path) -> str:
    """Return what a page is headed with."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def source_of(thing: Any) -> str:
    """Return the file of a class or module, relative to the repository."""
    return Path(inspect.getfile(thing)).resolve().relative_to(ROOT).as_posix()


# ---------------------------------------------------------------------------------- environments


def families() -> dict[type[Family], list[str]]:
    """Return every native family with its ids, in the order of registration; probes last."""
    found: dict[type[Family], list[str]] = {}
    for env_id in sorted(NATIVE, key=lambda name: ".probes." in NATIVE[name]):
        found.setdefault(family_class(env_id), []).append(env_id)
    return found


def page_name(name: str) -> str:
    """Return the file name of a page: ``NavMaze`` -> ``nav-maze``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", name).lower()


def environment_page(family: type[Family], ids: list[str]) -> str:
    """Write the page of one family."""
    parts = sections(inspect.getdoc(family) or "")
    example = gymnasium.make(ids[0]).unwrapped.family  # type: ignore[attr-defined]
    out = [f"# {family.__name__}\n", NOTE.format(source=source_of(family))]
    out.append(paragraphs(parts.pop("")) + "\n")
    if (picture := picture_path(family)).exists():
        out.append(f"![{family.__name__}](../images/environments/{picture.name})\n")
    out += ["```python\nimport daedalus\n"]
    out += [f'env = daedalus.make("{ids[0]}")\n```\n', members(ids)]
    for title, lines in parts.items():
        out.append(f"## {title}\n\n{paragraphs(lines)}\n")
        if title == "Observation":
            out.append(arrays_table(example) + "\n")
    out.append(f"## Constructor\n\n```python\n{signature(family)}\n```\n")
    return "\n".join(out)


def picture_path(family: type[Family]) -> Path:
    """Return where the picture of a family is kept."""
    return DOCS / "images" / "environments" / f"{page_name(family.__name__)}.png"


def take_picture(family: type[Family], env_id: str) -> None:
    """Render an environment after some random steps of its first episode."""
    env = gymnasium.make(env_id, render_mode="rgb_array")
    env.reset(seed=PICTURE_SEED)
    env.action_space.seed(PICTURE_SEED)
    picture = env.render()
    for _ in range(6 if env.unwrapped.family.agents > 1 else 30):  # type: ignore[attr-defined]
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
        picture = env.render()
    path = picture_path(family)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(picture)).quantize(128).save(path, optimize=True)


def arrays_table(family: Family) -> str:
    """Write the arrays of a family with their spaces as registered and what they serve."""
    roles = {name: "observation" for name in family.observations}
    roles |= dict.fromkeys(family.labels, "label") | dict.fromkeys(family.infos, "info")
    rows = (
        (code(n), code(brief(s)), roles.get(n, "on demand"))
        for n, s in family.spaces.items()
        if n not in family.hidden
    )
    return table(("array", "space", "by default"), rows)


def signature(family: type[Family]) -> str:
    """Return the parameters that a family takes, as code."""
    parameters = list(inspect.signature(family.__init__).parameters.values())[1:]
    lines = [f"    {p.name}: {p.annotation} = {p.default!r}," for p in parameters]
    return "\n".join([f"{family.__name__}(", *lines, ")"]) if lines else f"{family.__name__}()"


def code(text: Any) -> str:
    """Quote text as code."""
    return f"`{text}`"


SHOWN = 4
"""Ids of one family that the README names."""


def environments_table() -> str:
    """Write the README's table of environments, a row for each family."""
    rows = []
    for family, ids in families().items():
        page = f"docs/environments/{page_name(family.__name__)}.md"
        env = gymnasium.make(ids[0])
        seen = ", ".join(env.unwrapped.family.observations)  # type: ignore[attr-defined]
        names = ", ".join(code(env_id.removeprefix("daedalus/")) for env_id in ids[:SHOWN])
        more = f" and [{len(ids) - SHOWN} more]({page})" if len(ids) > SHOWN else ""
        rows.append((f"[{names}]({page}){more}", summary(family), seen, brief(env.action_space)))
    return table(("`daedalus/`", "what", "observation", "actions"), rows)


def members(ids: list[str]) -> str:
    """Name the ids of a family, and what sets each apart where there are several."""
    if len(ids) == 1:
        return f"Id: {code(ids[0])}\n"
    return table(("id", "what"), ((code(i), environment_summary(i)) for i in ids)) + "\n"


def brief(space: gymnasium.Space[Any]) -> str:
    """Return a space in a few words: bounds that differ between entries as their range."""
    if isinstance(space, MultiDiscrete) and space.nvec.size > 8:
        sizes = sorted({int(n) for n in space.nvec.ravel()})
        return f"MultiDiscrete({space.nvec.size} of {' or '.join(map(str, sizes))})"
    if not isinstance(space, Box):
        return " ".join(str(space).split())
    return f"Box({space.low.min():g}, {space.high.max():g}, {space.shape}, {space.dtype})"


# ---------------------------------------------------------------------------------------- agents


def config_fields(config: type) -> Iterator[tuple[str, str, str]]:
    """List (name, default, meaning) of a Config; the meaning is the string below the field."""
    meanings: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        if cls.__module__ == "types":  # made from a signature; its fields carry their meanings
            continue
        meanings |= _meanings(ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0])
    for field in sorted(dataclasses.fields(config), key=lambda item: item.kw_only is True):
        if field.name in getattr(config, "UNUSED", ()):
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shown = "required" if default is dataclasses.MISSING else repr(default)
        yield field.name, shown, meanings.get(field.name) or field.metadata.get("help", "")


def _meanings(node: ast.stmt) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(node.body if isinstance(node, ast.ClassDef) else []):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant):
            name = ast.unparse(field.target)
            found[name] = inspect.cleandoc(str(text.value)).replace("\n", " ")
    return found


def agent_page(name: str) -> str:
    """Write the page of one agent: its class, the file's account of the paper, its settings."""
    agent = make_agent(name)
    module = inspect.getmodule(agent)
    rows = ((code(n), code(d), meaning) for n, d, meaning in config_fields(agent.Config))
    out = [f"# {name}\n", NOTE.format(source=source_of(agent)), summary(agent) + "\n"]
    where = TRIED_IN.get(name, "ENV --steps 1e6")
    out += [f"```\ndaedalus train {name} {where}\n```\n", inspect.getdoc(module) or ""]
    if name in EVIDENCE:
        first = IMAGE.search((DOCS / f"{EVIDENCE[name][0]}.md").read_text(encoding="utf-8"))
        out += ["\n## Evidence\n", *evidence_lines(name)]
        out += [f"\n![{first[1]}](../{first[2]})"] if first else []
    out += ["\n## Settings\n", table(("field", "default", "meaning"), rows), ""]
    return "\n".join(out)


def consolidation_page() -> str:
    """Write the page of what agents keep of earlier tasks by: EWC, SI, L2."""
    rows = ((code(n), code(d), text) for n, d, text in config_fields(consolidation.Consolidated))
    out = ["# consolidation\n", NOTE.format(source="agents/consolidation.py"), KEEPING + "\n"]
    out += ["```\ndaedalus train actor_critic catch_sequence --consolidation ewc\n```\n"]
    out += [f"{inspect.getdoc(module)}\n" for module in (consolidation, ewc, si)]
    out += ["## Evidence\n", *evidence_lines("consolidation")]
    return "\n".join([*out, "\n## Settings\n", table(("field", "default", "meaning"), rows), ""])


def evidence_lines(name: str) -> list[str]:
    """Return the questions to an agent, as links to their pages, with the answers."""
    found = []
    for page in EVIDENCE[name]:
        path = DOCS / f"{page}.md"
        found.append(f"- [{title(path)}](../{page}.md) {answer(path)}")
    return found


def answer(path: Path) -> str:
    """Return the line in bold under a page's title, "" where there is none."""
    found = ANSWER.search(path.read_text(encoding="utf-8"))
    return " ".join(found[1].split()) if found else ""


def verdict(name: str) -> str:
    """Return an agent's first page as a link, its answer, and how many more there are.

    The answer of a page of several agents stands with the first of them.
    """
    if name not in EVIDENCE:
        return ""
    first, *more = EVIDENCE[name]
    path = DOCS / f"{first}.md"
    said_before = next(n for n in sorted(EVIDENCE) if EVIDENCE[n][0] == first) != name
    text = f"[{title(path)}](docs/{first}.md)"
    text += "" if said_before else f" {answer(path)}".rstrip()
    return f"{text} And [{len(more)} more](docs/agents/{page_name(name)}.md)." if more else text


def agents_table() -> str:
    """Write the README's table of agents."""
    told = {name: summary(make_agent(name)) for name in agent_names()} | {"consolidation": KEEPING}
    rows = (
        (f"[{code(name)}](docs/agents/{page_name(name)}.md)", told[name], verdict(name))
        for name in sorted(told)
    )
    return table(("agent", "what", "its point, measured"), rows)


# ----------------------------------------------------------------------------------------- files


def pages_list() -> str:
    """List the pages that were written by hand, under their headings."""
    return "\n".join(
        f"- [{title(path)}]({path.relative_to(ROOT).as_posix()})"
        for path in sorted(DOCS.glob("*.md"))
    )


def speeds_table() -> str:
    """Make the README's table of speeds from the measured results."""
    rows = []
    for world, file, ours, peer, theirs, page in SPEEDS:
        measured = json.loads((ROOT / "results" / f"{file}.json").read_text(encoding="utf-8"))
        speeds = measured.get("steps_per_second") or measured["joint_steps_per_second"]
        paired = measured.get("ratios", {}).get(f"{ours}, times {peer.split(',')[0]}")
        times = paired["ratio"] if paired else speeds[ours] / speeds[theirs]
        ratio = f"{float(f'{times:.2g}'):,g}"
        steps = (f"{speeds[name]:,.0f}" for name in (ours, theirs))
        rows.append([world, next(steps), peer, next(steps), f"[{ratio}](docs/{page}.md)"])
    return table(["world", "steps/s", "beside", "steps/s", "ratio"], rows)


def filled_template(kind: str, module: str) -> str:
    """Return what ``daedalus new`` writes, as a block of Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        write_template(kind, module, Path(folder))
        text = (Path(folder) / f"{module}.py").read_text(encoding="utf-8")
    return f"```python\n{text.rstrip()}\n```"


def between(text: str, marker: str, content: str) -> str:
    """Replace what stands between ``<!-- marker:begin -->`` and ``<!-- marker:end -->``."""
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def pages() -> dict[Path, str]:
    """Return every generated file and what it must contain."""
    found = {
        DOCS / "environments" / f"{page_name(family.__name__)}.md": environment_page(family, ids)
        for family, ids in families().items()
    }
    found |= {DOCS / "agents" / f"{page_name(n)}.md": agent_page(n) for n in agent_names()}
    found[DOCS / "agents" / "consolidation.md"] = consolidation_page()
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for kind, module in TEMPLATES.items():
        guide = between(guide, f"template-{kind}", filled_template(kind, module))
    found[ROOT / "CONTRIBUTING.md"] = guide
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = between(readme, "speeds", speeds_table())
    readme = between(readme, "environments", environments_table())
    readme = between(readme, "agents", agents_table())
    found[ROOT / "README.md"] = between(readme, "pages", pages_list())
    return {path: text.rstrip() + "\n" for path, text in found.items()}


def main(args: list[str]) -> int:
    """Write or check the pages; return the exit code."""
    if "--pictures" in args:
        for family, ids in families().items():
            if not picture_path(family).exists():
                take_picture(family, PICTURED.get(family.__name__, ids[0]))
    wanted = pages()
    old = {p for folder in ("environments", "agents") for p in (DOCS / folder).glob("*.md")}
    stale = [p for p, t in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != t]
    for path in sorted({*stale, *(old - set(wanted))}):
        print(("out of date: " if "--check" in args else "writing: ") + str(path.relative_to(ROOT)))
        if "--check" not in args:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8") if path in wanted else path.unlink()
    return 1 if "--check" in args and (stale or old - set(wanted)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
