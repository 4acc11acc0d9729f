"""Measures, and prints Markdown on stdout: `./run bench [a b c d e]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import detect, growth, latency, machine, memory, places, whole
from benchmarks.plan import Plan, workplace
from benchmarks.report import Section, verdicts

BENCHMARKS: dict[str, tuple[Callable[[Plan], Section], int]] = {
    "a": (whole.measure, 7),
    "b": (detect.measure, 7),
    "c": (latency.measure, 3),
    "d": (memory.measure, 3),
    "e": (growth.measure, 3),
    "places": (places.measure, 3),
}
"""By name: the benchmark, and how many rounds it has by default."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "which",
        nargs="*",
        metavar="a…e, places",
        help="a: run --once against the floor; b: detect alone; c: latency; d: memory; e: growth, up to 30 times the "
        "data (without naming it: up to 10 times); places: landing zone in S3 and local. Default: all.",
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds of each")
    parser.add_argument("--quick", action="store_true", help="small generated data, one round: does it work at all?")
    parser.add_argument("--full", action="store_true", help="all, and e with 30 times the data (8 GB of disk)")
    parser.add_argument("--dir", type=Path, metavar="FOLDER", help="where to work; a temporary folder is made in it")
    given = parser.parse_args()
    if wrong := [w for w in given.which if w not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(wrong)}; there are {', '.join(BENCHMARKS)}")
    return given


def main() -> None:
    given = arguments()
    sections: list[Section] = []
    with workplace(given.dir) as folder:
        print(f"# Benchmarks\n\n{machine.described(folder)}\n", flush=True)
        for key, (measure, rounds) in BENCHMARKS.items():
            if given.which and key not in given.which:
                continue
            big = not given.quick and (given.full or key in given.which)
            repeat = given.repeat or (1 if given.quick else rounds)
            others = machine.Others()
            sections.append(measure(Plan(folder, repeat, given.quick, big)))
            print(sections[-1].text())
            print(f"Other programs used {others.share():.0%} of the processors meanwhile.\n", flush=True)
    print(f"## Targets\n\n{verdicts(sections)}")


if __name__ == "__main__":
    main()
