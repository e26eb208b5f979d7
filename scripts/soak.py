"""Build, verify and evaluate in one process for an hour, and see whether memory, descriptors, processes or files add up.

    python scripts/soak.py --minutes 60 -o results/reliability

Memory is that of the process after each round, once what the allocators of C and of Arrow merely keep for later is given back: it comes
and goes by tens of MB, by which an hour could not be told from a leak. The first quarter is left out of the slope: caches fill. It is a
line through the memory after each round, with its interval, whose upper end must lie below what would add up: memory of which too few
rounds were seen to say so is a failure, too. Files are counted in a folder that is the temporary one, too, and has the user's cache, and
in shared memory, where those of this process have its number in their names or folders. joblib leaves an empty folder there each time,
until the process ends.
"""

import ctypes
import gc
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow
from scipy.stats import linregress, t
from shared import Found, markdown, write

import ecgsynth as es
from ecgsynth.build import build_steps
from ecgsynth.engine import Local
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.source import Source
from ecgsynth.steps import drain
from ecgsynth.verify import verify_steps

COUNTS = {"N": 3000, "S": 300, "V": 700, "F": 100, "Q": 200}
TOLD = {"memory_mb": "memory, MB", "descriptors": "open files", "processes": "processes started by it", "files": "files left"}
TOLD |= {"shared": "files and folders in shared memory"}
FEWEST = 8  # rounds of which a line says something
MOST_SLOPE = 10.0  # MB an hour: memory must grow by less, beyond doubt


def state(scratch: Path) -> Found:
    """Give what this process holds: memory in MB, open descriptors, children, files left in the scratch folder and in shared memory."""
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {
        "memory_mb": round(memory, 1),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "processes": sum(map(len, children)),
        "files": sum(1 for path in scratch.rglob("*") if path.is_file()),
        "shared": sum(str(os.getpid()) in f"{folder}/{name}" for folder, _, names in os.walk("/dev/shm") for name in names),
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


def slope(rounds: list[Found]) -> tuple[float, float, float]:
    """Give by how many MB an hour memory grows from the second quarter on, and the ends of its 95 % interval."""
    later = rounds[len(rounds) // 4 :]
    line = linregress(np.array([row["seconds"] for row in later]) / 3600, [row["memory_mb"] for row in later])
    wide = line.stderr * t.ppf(0.975, len(later) - 2)
    return line.slope, line.slope - wide, line.slope + wide


def verdict(rounds: list[Found]) -> tuple[str, bool]:
    """Say whether something adds up, and by what."""
    early, late = _least(rounds)
    mean, low, high = slope(rounds)
    grown = [f"{name} ({early[name]:,} to {late[name]:,})" for name in early if name != "memory_mb" and late[name] > early[name]]
    grown += [] if high < MOST_SLOPE else ["memory"]  # nor is it known of what is no number
    line = f"memory grows by {mean:+.1f} MB an hour (95 % interval {low:+.1f} to {high:+.1f}, which must end below {MOST_SLOPE:g})"
    return f"May add up: {', '.join(grown)}; {line}." if grown else f"Nothing adds up; {line}.", bool(grown)


def told(rounds: list[Found]) -> str:
    """Say what became of each, in a table and a line."""
    early, late = _least(rounds)
    rows = [[TOLD.get(name, name), *(f"{state[name]:,}" for state in (rounds[0], early, late))] for name in early]
    took = f"{len(rounds)} rounds of build, verify and evaluate in {rounds[-1]['seconds'] / 60:.0f} minutes."
    heads = ["", "after the first round", "least in the second quarter", "least in the last"]
    return f"{markdown(heads, rows)}\n{took} {verdict(rounds)[0]}\n"


def _least(rounds: list[Found]) -> tuple[Found, Found]:
    """Give the least of each in the second quarter and in the last: processes come and go, and what adds up stays."""
    quarter = len(rounds) // 4
    names = [name for name in rounds[0] if name != "seconds"]
    early, late = ({name: min(row[name] for row in part) for name in names} for part in (rounds[quarter : 2 * quarter], rounds[-quarter:]))
    return early, late


@click.command()
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for what was found: soak.json and soak.md.")
def main(minutes: float, out: Path | None) -> None:
    """Run, print, and end with exit code 1 if something may add up."""
    split = es.split_beats(es.extract_beats(es.simulate_records(n_patients=12, minutes=5), source="simulated"))
    rounds: list[Found] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TMPDIR": folder, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        tempfile.tempdir = folder
        while time.monotonic() - begun < 60 * minutes or len(rounds) < FEWEST:
            turn(len(rounds), split, Path(folder))
            time.sleep(6)  # in which idle processes end
            rounds.append({"seconds": round(time.monotonic() - begun, 1), **state(Path(folder))})
    text = told(rounds)
    line, adds_up = verdict(rounds)
    if out:
        found = {"ecgsynth": es.__version__, "minutes": minutes, "slope": slope(rounds), "rounds": rounds}
        write(out / "soak.json", json.dumps(found) + "\n")
        write(out / "soak.md", text)
    click.echo(text)
    if adds_up:
        raise click.ClickException(line)


if __name__ == "__main__":
    main()
