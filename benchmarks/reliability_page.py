"""Write the table of ``docs/reliability.md`` from ``results/reliability.json``.

python benchmarks/reliability_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
Results = dict[str, dict[str, Any]]


Row = tuple[str, str, str]
"""Fault, Daedalus's figure, the others' figure."""


def file_rows(r: Results) -> Iterator[Row]:
    """Yield the lines on checkpoints that are killed, cut, flipped or find no space."""
    c1, p1 = r["C1"], r["C1-peers"]
    kills = p1["kills"]
    yield (
        "kill -9 while saving",
        f"{c1['run']['loaded']:,} of {c1['run']['kills']:,} load, {c1['run']['lost']} acknowledged "
        f"lost; the same path overwritten: {c1['one_folder']['loaded']} of "
        f"{c1['one_folder']['kills']}",
        f"usable: SB3 {p1['stable_baselines3_zip']}, `torch.save` {p1['torch_save']}, safetensors "
        f"{p1['safetensors_save_file']} of {kills}",
    )
    cut, flip, p3 = r["C2-C3"]["cuts"], r["C2-C3"]["flips"], r["C3-peers"]
    yield (
        "file cut at every byte",
        f"{cut['found_and_fell_back']:,} of {cut['made']:,} found, the one before used",
        "no fallback",
    )
    others = ", ".join(
        f"{name} {p3[key]['found']:,} of {p3[key]['flips']:,}"
        for name, key in [
            ("`torch.load`", "torch_load"),
            ("safetensors", "safetensors"),
            ("SB3", "stable_baselines3_zip"),
        ]
    )
    yield (
        "every single bit flipped",
        f"{flip['found_and_fell_back']:,} of {flip['made']:,} found, the one before used",
        f"found: {others}",
    )
    c4, p4 = r["C4"], r["C4-peers"]
    tmpfs = c4["tmpfs"]
    filled = (
        f"; in a file system of 8 MB that fills up, {tmpfs['failed_saves']} failed saves and "
        "training went on to its end"
        if "failed_saves" in tmpfs
        else ""
    )
    yield (
        "disk full while saving, at every byte",
        f"{c4['older_intact']:,} of {c4['limits']:,}: clear error, older ones intact{filled}",
        f"SB3: old file usable in {p4['old_file_usable']} of {p4['limits']}",
    )


def run_rows(r: Results) -> Iterator[Row]:
    """Yield the lines on runs that are stopped, killed, forged, started twice or fed a NaN."""
    c5, p5 = r["C5"], r["C5-peers"]
    yield (
        "stop at a random update, resume",
        f"{c5['bit_exact']} of {c5['resumes']} bit-exact ({len(c5['tasks'])} agents and "
        f"environments, {c5['points_per_task']} points each; state after every update, all rows)",
        f"SB3: {p5['bit_exact']} algorithms",
    )
    c6, c7, c8, p8 = r["C6"], r["C7"], r["C8"], r["C8-peers"]
    yield (
        "trainer killed -9 again and again",
        f"{c6['kills']:,} kills in one run: final state "
        f"{'equal' if c6['final_state_equal'] else 'NOT equal'} to an uninterrupted one's, at most "
        f"{c6['steps_lost_at_most']} steps lost by a kill, with "
        f"{c6['steps_between_checkpoints']} between two checkpoints",
        "not offered",
    )
    yield (
        "SIGINT or SIGTERM at a random moment",
        f"{c7['resumable_at_that_step']} of {c7['signals']} resumable at that step, right exit "
        f"code in {c7['right_exit_code']}; {c7['seconds_to_exit_median']} s to exit (median), "
        f"{c7['seconds_to_exit_max']} s at most",
        "SB3: no handler, nothing saved",
    )
    yield (
        "hostile checkpoints, hashes forged to fit",
        f"{c8['refused']} of {c8['cases']} refused in one line, no code run, "
        f"{c8['slowest_seconds']} s at most",
        f"`PPO.load` {'ran' if p8['code_ran'] else 'did not run'} the code in the file",
    )
    c9, w7, pw = r["C9"], r["W7"], r["W7-peers"]
    yield (
        "two processes open one run",
        f"exactly one winner in {c9['one_winner']:,} of {c9['races']:,} races, named to the other",
        "no lock",
    )
    yield (
        "NaN or infinity in one observation or reward",
        f"{w7['stopped']} of {w7['injections']} stopped and named, weights finite and unchanged in "
        f"{w7['weights_as_after_the_last_good_update']}",
        f"SB3: weights lost in {pw['weights_lost']} of {pw['cases']}, without an error in "
        f"{pw['without_error']}",
    )


def log_rows(r: Results) -> Iterator[Row]:
    """Yield the lines on the result store, on logs, and on what all of this costs."""
    store = r["R1"]
    yield (
        "two writers of the result store killed -9 at once",
        f"{store['lost']} of {store['acknowledged']:,} acknowledged rows lost, {store['torn']} "
        f"torn, in {store['rounds']:,} rounds",
        "",
    )
    logs = r["R2-R3"]
    yield (
        "disk full while logging; log files cut at every byte",
        f"{logs['raised']} of {logs['limits']} raised; good beginning kept in "
        f"{logs['prefix_kept']:,} of {logs['cuts']:,}",
        "",
    )
    costs = r["guard-cost"]["percent"].values()
    yield (
        "cost of the guards, share of training time",
        f"{min(costs)} to {max(costs)} % (the most with networks of 16 units and 4 environments)",
        "",
    )
    speed = r["saving-speed"]
    yield (
        "100 MB on the disk",
        f"save {speed['save']} s, verify and load {speed['load_and_verify']} s",
        f"`torch.save` with fsync {speed['torch_save_with_fsync']} s, `torch.load` "
        f"{speed['torch_load']} s",
    )


def web_rows(r: Results) -> Iterator[Row]:
    """Yield the lines on web pages in the browser, of those goals that were measured."""
    said = {
        "B1-trainer": ("trainer with a browser killed (three signals)", "{clean} of {kills} clean"),
        "B1-browser": (
            "chromedriver, Chromium or their supervisor killed -9",
            "{clean} of {kills}: nothing left, the next episode on a new browser",
        ),
        "B2": (
            "pages that hang, crash, lie or eat memory",
            "{faults_in_time} of {pages} a fault in time, the next episode good in "
            "{next_episode_good}; {seconds_median} s (median), deadline {deadline} s",
        ),
        "B3": ("ways out of the page", "{blocked} of {ways} blocked"),
        "B4": ("what an episode leaves for the next", "{leaks} leaks in {episodes} episodes"),
        "B5": (
            "same seed and actions, twice",
            "{equal_pages} documents and {equal_pictures} pictures equal of {episodes}",
        ),
        "B6": ("browser missing, broken, of another version", "{one_line} of {cases} in one line"),
        "B7": (
            "hostile HTTP",
            "{cases} cases refused, {damaged_requests:,} damaged requests, {forms:,} random forms, "
            "{connections:,} idle connections: {answers_5xx} answers 5xx, {other_errors} errors",
        ),
        "B8-steps": (
            "browser steps without a flake",
            "{faults} faults in {steps:,} steps of {episodes:,} episodes",
        ),
        "B8": (
            "browser episodes in one process",
            "{faults} faults in {episodes:,}, {megabytes_per_1000_episodes} MB per 1,000 episodes",
        ),
    }
    others = {
        "B1-trainer": "plain selenium leaves 10 processes in 8 of 8",
        "B2": "selenium: 120 s for an endless loop",
    }
    for name, (fault, words) in said.items():
        if name in r:
            yield fault, words.format(**r[name]), others.get(name, "")


PARTS = (file_rows, run_rows, log_rows, web_rows)


def main() -> None:
    """Replace what stands between the two marks."""
    results: Results = json.loads((ROOT / "results" / "reliability.json").read_text())
    table = ["| fault | Daedalus | others |", "|---|---|---|"]
    table += [f"| {' | '.join(row)} |" for part in PARTS for row in part(results)]
    where = results["C5"]["measured"]
    table += [
        "",
        f"Measured {where['date']} on {where['cores']} cores of {where['processor']}, "
        f"{where['file_system']}; torch {where['torch']}, stable-baselines3 "
        f"{where['stable-baselines3']}, safetensors {where['safetensors']}, Gymnasium "
        f"{where['gymnasium']}; one thread. The machine was shared, so times are upper bounds.",
    ]
    page = ROOT / "docs" / "reliability.md"
    head, _, rest = page.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n" + "\n".join(table) + f"\n\n{END}{tail}")


if __name__ == "__main__":
    main()
