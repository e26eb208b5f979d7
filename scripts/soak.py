"""Build, verify and evaluate in one process for an hour, and see whether memory, descriptors, processes or files add up.

    python scripts/soak.py --minutes 60 -o results

The first quarter is left out of the slope: caches fill. It is a line through the memory after each round, with its interval.
"""

import gc
import json
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from scipy.stats import linregress, t
from shared import Found, write

import ecgsynth as es
from ecgsynth.build import build_steps
from ecgsynth.engine import Local
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.source import Source
from ecgsynth.steps import drain
from ecgsynth.verify import verify_steps

COUNTS = {"N": 3000, "S": 300, "V": 700, "F": 100, "Q": 200}
FEWEST = 8  # rounds of which a line says something
MOST_SLOPE = 10.0  # MB an hour, below which memory is called flat


def state(scratch: Path) -> Found:
    """Give what this process holds: memory in MB, open descriptors, children, and files left in the scratch folder."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {
        "memory_mb": round(memory, 1),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "processes": sum(map(len, children)),
        "files": sum(1 for path in scratch.rglob("*") if path.is_file()),
    }


def turn(number: int, split: es.Split, scratch: Path) -> None:
    """Build a dataset, verify it, and evaluate its beats."""
    source = Source.of(Recipe("mitdb", [Quota(label, count) for label, count in COUNTS.items()], seed=number))
    folder = scratch / f"set-{number}"
    drain(build_steps(source, folder))
    found = drain(verify_steps(folder))
    if found.problems:
        raise click.ClickException(f"round {number}: {found.problems[0]}")
    made = es.Beats.load(folder / "npz" / "train.npz")
    few = es.BeatClassifier(steps=100)
    es.evaluate(synthetic=made, train=split.train, test=split.test, val=split.val, classifier=few, families=("privacy",), engine=Local(2))
    shutil.rmtree(folder)


def told(rounds: list[Found]) -> str:
    """Say what became of each, in a table and a line."""
    later = rounds[len(rounds) // 4 :]
    hours = np.array([row["seconds"] for row in later]) / 3600
    line = linregress(hours, [row["memory_mb"] for row in later])
    wide = line.stderr * t.ppf(0.975, len(later) - 2)
    early, late = _most(rounds)
    rows = [f"| {name} | {rounds[0][name]:,} | {early[name]:,} | {late[name]:,} |" for name in early]
    return "\n".join(
        [
            f"{len(rounds)} rounds of build, verify and evaluate in {rounds[-1]['seconds'] / 60:.0f} minutes.",
            "",
            "| | after the first round | most in the second quarter | most in the last |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"Memory: {line.slope:+.1f} MB an hour (95 % interval {line.slope - wide:+.1f} to {line.slope + wide:+.1f}).",
            "",
        ]
    )


def _most(rounds: list[Found]) -> tuple[Found, Found]:
    """Give the most of each in the second quarter and in the last: processes come and go."""
    quarter = len(rounds) // 4
    names = [name for name in rounds[0] if name != "seconds"]
    early, late = ({name: max(row[name] for row in part) for name in names} for part in (rounds[quarter : 2 * quarter], rounds[-quarter:]))
    return early, late


@click.command()
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
def main(minutes: float, out: Path) -> None:
    """Run, print, and end with exit code 1 if something adds up."""
    split = es.split_beats(es.extract_beats(es.simulate_records(n_patients=12, minutes=5), source="simulated"))
    rounds: list[Found] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - begun < 60 * minutes or len(rounds) < FEWEST:
            turn(len(rounds), split, Path(folder))
            time.sleep(6)  # in which idle processes end
            rounds.append({"seconds": round(time.monotonic() - begun, 1), **state(Path(folder))})
    text = told(rounds)
    write(out / "soak.md", text)
    write(out / "soak.json", json.dumps(rounds))
    click.echo(text)
    early, late = _most(rounds)
    grown = [name for name in ("descriptors", "processes", "files") if late[name] > early[name]]
    later = rounds[len(rounds) // 4 :]
    slope = linregress([row["seconds"] / 3600 for row in later], [row["memory_mb"] for row in later])
    if grown or slope.slope - 2 * slope.stderr > MOST_SLOPE:
        raise click.ClickException(f"{', '.join(grown) or 'memory'} adds up")


if __name__ == "__main__":
    main()
