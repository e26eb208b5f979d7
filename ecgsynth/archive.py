"""An archive of records of any size into beats in parts, on any engine; what is done is kept."""

import hashlib
import json
from collections.abc import Generator as Steps
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ecgsynth
from ecgsynth.beats import Beats
from ecgsynth.cutting import Lost, Window, cut_record
from ecgsynth.engine import Engine, Job, Local
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.parts import Part, known_of, part_name, write_part
from ecgsynth.places import place
from ecgsynth.records import read_record
from ecgsynth.steps import Progress
from ecgsynth.stored import HEAD, StoredBeats, seal

PLAN = "plan.json"
"""Of what the parts in a folder are, while they are being cut."""

RECORDS = 16
"""Records of a part, which is cut whole or not at all: some 36,000 beats of half-hour records."""


def cut_archive_steps(
    records: Sequence[Path],
    folder: str | Path,
    *,
    window: Window | None = None,
    annotator: str = "atr",
    patients: Mapping[str, str] | None = None,
    per_part: int = RECORDS,
    engine: Engine | None = None,
    force: bool = False,
) -> Steps[Progress, None, StoredBeats]:
    """Cut the beats of many records into a folder of parts, yielding how far it is.

    A worker holds one record and its beats at a time. A call that was stopped goes on where it was; the beats are the same, and
    in the same order, as those of `extract_beats`, whatever the engine and the size of parts.

    Parameters
    ----------
    records : sequence of path
        As `find_records` gives them.
    folder : path
        Where, also an address that fsspec knows.
    window : Window, optional
        How beats are cut.
    annotator, patients
        As for `read_records`.
    per_part : int
        Records of a part.
    engine : Engine, optional
        What does the work; the cores of this machine if not given.
    force : bool
        Replace beats of other records, or cut otherwise.

    Returns
    -------
    StoredBeats
        ``info["left_out"]`` as of `extract_beats`.

    Raises
    ------
    EcgsynthError
        If the folder holds something else, a record cannot be read, or no beat is left.
    """
    folder, window = place(folder), window or Window()
    reading = {"annotator": annotator, "lead": window.lead, "patients": dict(patients) if patients else None}
    groups = [records[start : start + per_part] for start in range(0, len(records), per_part)]
    _claim(folder, {"window": vars(window), **reading, "per_part": per_part, "records": _names(records)}, force=force)
    jobs = [
        Job(
            f"{group[0].name} to {group[-1].name}",
            len(group),
            partial(_cut_part, group, folder / part_name(number), window, reading),
        )
        for number, group in enumerate(groups)
    ]
    try:
        parts: list[Part] = yield from (engine or Local()).steps(jobs)
    except EcgsynthError:
        _leave_nothing(folder)
        raise
    lost = [row for part in parts for row in part["left_out"]]
    info = {"before": window.before, "after": window.after, "band": window.band, "left_out": lost}
    stored = seal(folder, parts, source="real", info=info)
    (folder / PLAN).unlink(missing_ok=True)
    return stored


def _claim(folder: Path, asked: Mapping[str, Any], *, force: bool) -> None:
    """Begin a folder, or find there what was begun of the same."""
    text = json.dumps({"ecgsynth": ecgsynth.__version__, **asked}, default=list)
    plan, head = folder / PLAN, folder / HEAD
    if plan.is_file() and plan.read_text(encoding="utf-8") == text:
        return
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if there and not (plan.is_file() or head.is_file()):
        raise EcgsynthError(f"{folder} holds other things, which are not replaced: give another name")
    if there and not force:
        what = "beats" if head.is_file() else "a begun cut of other records, or cut otherwise"
        raise EcgsynthError(f"{folder} holds {what}: give another name, or --force to replace it")
    for name in sorted(there, key=lambda name: name != HEAD):  # from now on it is not whole
        if name in (HEAD, PLAN) or name.startswith("part-"):
            (folder / name).unlink()
    with atomic_path(plan, force=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _leave_nothing(folder: Path) -> None:
    """Take a folder away in which nothing was done yet."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [PLAN]:
            (folder / PLAN).unlink()
            folder.rmdir()


def _names(records: Sequence[Path]) -> str:
    """Give the SHA-256 of the names of all records."""
    return hashlib.sha256("\n".join(str(path) for path in records).encode()).hexdigest()


def _cut_part(records: Sequence[Path], path: Path, window: Window, reading: Mapping[str, Any]) -> Part:
    """Cut some records into a part, if it is not there."""
    if path.is_file():
        return known_of(path)
    lost: list[Lost] = []

    def cut() -> Iterator[Beats]:
        for record in records:
            beats, own = cut_record(read_record(record, **reading), window)
            lost.extend(own)
            yield beats

    return write_part(path, cut(), left_out=lost)
