"""What the scripts share: the records, and long measurements kept part by part."""

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

import ecgsynth as es
from ecgsynth import mitdb
from ecgsynth.fetch import locate_records
from ecgsynth.files import atomic_path, discard
from ecgsynth.generators import Generator

Found = dict[str, Any]

_FEWEST = 10  # training beats of a class


def mitdb_beats() -> es.Beats:
    """Cut the beats of MIT-BIH."""
    folder = locate_records()
    if folder is None:
        raise click.ClickException("needs the MIT-BIH records: `ecgsynth fetch DIR`, then set ECGSYNTH_MITDB=DIR")
    return es.extract_beats(es.read_records(folder, lead=es.LEADS))


def mitdb_split() -> es.Split:
    """Cut the beats of MIT-BIH and divide them by the scheme `beats`, seed 0."""
    return es.split_beats(mitdb_beats(), scheme="beats", seed=0)


def unpaced_beats() -> es.Beats:
    """Cut the beats N S V F of the 43 patients of MIT-BIH who have no paced ones."""
    beats = mitdb_beats()
    return beats.take(np.isin(beats.classes, list("NSVF")) & ~np.isin(beats.records, list(mitdb.PACED)))


def classes_across(beats: es.Beats, patients: int) -> list[str]:
    """Name the classes of which so many patients have beats."""
    return [name for name in beats.counts() if len(np.unique(beats.patients[beats.classes == name])) >= patients]


def divided(beats: es.Beats, draw: int, patients: int | None = None, across: int = 1) -> es.Split:
    """Divide patients at random: two fifths are learnt from, one fifth is known to the attacker, two fifths are neither.

    Classes with too few training beats are left out, or with training beats of too few patients.
    """
    names = np.random.default_rng(draw).permutation(np.unique(beats.patients))
    share = 2 * len(names) // 5
    sides = (names[:share], names[share:-share], names[-share:])
    sides = (sides[0][:patients], *sides[1:])
    learnt = beats.take(np.isin(beats.patients, sides[0]))
    beats = beats.take(np.isin(beats.classes, [name for name in classes_across(learnt, across) if learnt.counts()[name] >= _FEWEST]))
    return es.Split(*(beats.take(np.isin(beats.patients, side)) for side in sides), scheme="patients", seed=draw)


def ds1_beats(classes: Iterable[str]) -> es.Beats:
    """Cut the beats of these classes of DS1's patients; leaves out the one who is in DS2, too, under another number."""
    beats = mitdb_beats()
    own = [name for name in mitdb.DS1 if name not in mitdb.SAME_PATIENT.values()]
    return beats.take(np.isin(beats.records, own) & np.isin(beats.classes, list(classes)))


def chosen(text: str | None, known: Iterable[str]) -> list[str]:
    """Read names with commas between; all if there is no text."""
    names = text.split(",") if text else list(known)
    if strange := set(names) - set(known):
        raise click.ClickException(f"unknown {', '.join(sorted(strange))}; known: {', '.join(known)}")
    return names


def rows_to_show(names: str | None, known: Iterable[str], files: Callable[[str], Iterable[Path]]) -> list[str]:
    """Name the rows that are asked for, and those all of whose parts are there, in the order of `known`."""
    known = list(known)
    asked = chosen(names, known)
    return [row for row in known if row in asked or all(file.is_file() for file in files(row))]


def part(path: Path, settings: Found, measure: Callable[[], Found]) -> Found:
    """Give what was measured before, else measure it and keep it in a file, with the version that measured it.

    What was measured with other settings is refused, not mixed in.
    """
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["settings"] != settings:
            raise click.ClickException(f"{path} was measured with other settings: begin with another --out")
        found: Found = kept["found"]
        return found
    found = measure()
    write(path, json.dumps({"ecgsynth": es.__version__, "settings": settings, "found": found}) + "\n")
    return found


def versions(parts: Iterable[Path]) -> str:
    """Name the versions that measured these parts, by comma."""
    return ", ".join(sorted({json.loads(path.read_text())["ecgsynth"] for path in parts}))


def trained(
    model: Generator, path: Path, train: es.Beats, validation: es.Beats | None = None, *, by: str = "class", device: str = "cpu"
) -> tuple[Generator, float | None]:
    """Train a generator, or load it from `path` if that is done; gives the minutes it took, too.

    Those that a graphics card is of no use to are trained without one. A kept model is taken wherever it was trained, as only
    rounding differs; its file says where. A training that was stopped goes on, and its minutes are then not known: None.
    """
    checkpoint = path.with_name(f"{path.name}.checkpoint")

    def fit() -> Found:
        begun, whole = time.monotonic(), not checkpoint.is_file()
        for _ in model.fit_steps(train, validation, checkpoint, by=by, device=device if model.takes_cards else "cpu"):
            pass
        model.save(path, force=True)
        discard(checkpoint)
        return {"minutes": round((time.monotonic() - begun) / 60, 2) if whole else None}

    settings = {"params": model.params, "train": train.digest(), "validation": validation and validation.digest(), "by": by}
    found = part(path.with_suffix(".training.json"), settings, fit)
    return es.load_generator(path), found["minutes"]


def one_core() -> None:
    """Have everything computed on one core from now on: the number of threads decides the last digits."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)


def memory(process: int) -> int:
    """Give the memory of a process and all that come of it, in kB; what several share is counted once."""
    try:
        own = int(Path(f"/proc/{process}/smaps_rollup").read_text().split("\nPss:")[1].split()[0])
        children = [child for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()]
    except (OSError, IndexError):  # it has ended
        return 0
    return own + sum(memory(int(child)) for child in children)


def machine() -> str:
    """Say on what this runs."""
    import torch

    known = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", known.read_text(), re.MULTILINE) if known.exists() else []
    return f"{os.cpu_count()} cores of {(names or [platform.machine()])[0]}, torch {torch.__version__}"


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Set a table in Markdown, its first column to the left and the others to the right."""
    heads = list(heads)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(path: Path, text: str) -> None:
    """Write a whole file or none."""
    with atomic_path(path, force=True) as temporary:
        temporary.write_text(text)
