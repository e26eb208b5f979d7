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
from ecgsynth.files import atomic_path, clear_all_scratch, names_in
from ecgsynth.parts import Part, known_of, part_name, write_part
from ecgsynth.places import place
from ecgsynth.records import read_each
from ecgsynth.steps import Progress
from ecgsynth.stored import HEAD, StoredBeats, seal

PLAN = "plan.json"
"""Of what the parts in a folder are; it stays, so that the same again finds that all is done."""

RECORDS = 16
"""Records of a part, which is cut whole or not at all: some 36,000 beats of half-hour records."""

_BEGINNING = '{"ecgsynth": '  # of every plan


def cut_archive_steps(
    records: Sequence[Path],
    folder: str | Path,
    *,
    window: Window | None = None,
    annotator: str = "atr",
    patients: Mapping[str, str] | None = None,
    per_part: int = RECORDS,
    skip: bool = False,
    engine: Engine | None = None,
    force: bool = False,
) -> Steps[Progress, None, StoredBeats]:
    """Cut the beats of many records into a folder of parts, yielding how far it is.

    A worker holds one record and its beats at a time. A call that was stopped goes on where it was, and one that is given again
    when all is done does nothing; the beats are the same, and in the same order, as those of `extract_beats`, whatever the engine
    and the size of parts.

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
    skip : bool
        Leave out records that cannot be read; what was begun without it goes on with it.
    engine : Engine, optional
        What does the work; the cores of this machine if not given.
    force : bool
        Replace beats that are there; what was begun of the same goes on.

    Returns
    -------
    StoredBeats
        ``info["left_out"]`` as of `extract_beats`; if records were skipped, ``info["skipped"]`` lists ``[record, why]``.

    Raises
    ------
    EcgsynthError
        If the folder holds something else, or is begun anew by another call meanwhile, a record cannot be read, or no beat is left.
    """
    folder, window = place(folder), window or Window()
    reading = {"annotator": annotator, "lead": window.lead, "patients": dict(patients) if patients else None}
    groups = [records[start : start + per_part] for start in range(0, len(records), per_part)]
    named = _digest("\n".join(str(path) for path in records))
    plan = {"ecgsynth": ecgsynth.__version__, "window": vars(window), **reading, "per_part": per_part, "records": named}
    asked = json.dumps(plan, default=list)
    if _claim(folder, asked, force=force):
        return StoredBeats.open(folder)
    jobs = [
        Job(
            f"{group[0].name} to {group[-1].name}",
            len(group),
            partial(_cut_part, group, folder / part_name(number), window, reading, _digest(asked), skip),
        )
        for number, group in enumerate(groups)
    ]
    try:
        parts: list[Part] = yield from (engine or Local()).steps(jobs)
    except EcgsynthError:
        _leave_nothing(folder, asked)
        raise
    lost = [row for part in parts for row in part["left_out"]]
    info: dict[str, Any] = {"before": window.before, "after": window.after, "band": window.band, "left_out": lost}
    if skipped := [row for part in parts for row in part.get("skipped", ())]:
        info["skipped"] = skipped
    return seal(folder, parts, source="real", info=info)


def _claim(folder: Path, asked: str, *, force: bool) -> bool:
    """Begin a folder, or find there what was begun of the same; says whether all of it is there."""
    clear_all_scratch(folder)
    there, begun = names_in(folder), _plan_of(folder)
    if begun == asked and not (force and HEAD in there):
        return HEAD in there
    if there and not (HEAD in there or begun.startswith(_BEGINNING)):
        raise EcgsynthError(f"{folder} holds other things, which are not replaced: give another name")
    if there and not force:
        what = "beats" if HEAD in there else "a begun cut of other records, or cut otherwise"
        raise EcgsynthError(f"{folder} holds {what}: give another name, or --force to replace it")
    if there:
        _write_plan(folder, json.dumps({"ecgsynth": ecgsynth.__version__}))  # which nobody asks for, until the old parts are gone
        for name in sorted(there, key=lambda name: name != HEAD):  # without which it is not whole
            if name == HEAD or name.startswith("part-"):
                (folder / name).unlink()
    _write_plan(folder, asked)
    return False


def _plan_of(folder: Path) -> str:
    """Read of what the parts in a folder are; nothing if that is not said."""
    return (folder / PLAN).read_text(encoding="utf-8", errors="replace") if (folder / PLAN).is_file() else ""


def _write_plan(folder: Path, text: str) -> None:
    with atomic_path(folder / PLAN, force=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _leave_nothing(folder: Path, asked: str) -> None:
    """Take a folder away in which nothing of this plan was done yet."""
    clear_all_scratch(folder)
    with suppress(OSError):
        if names_in(folder) == [PLAN] and _plan_of(folder) == asked:
            (folder / PLAN).unlink()
            folder.rmdir()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _cut_part(records: Sequence[Path], path: Path, window: Window, reading: Mapping[str, Any], asked: str, skip: bool) -> Part:
    """Cut some records into a part, if it is not there; `asked` is the digest of the plan that it is of."""
    if path.is_file():
        return known_of(path)
    lost: list[Lost] = []
    skipped: list[tuple[str, str]] = []

    def cut() -> Iterator[Beats]:
        for record in read_each(records, skipped if skip else None, **reading):
            beats, own = cut_record(record, window)
            lost.extend(own)
            yield beats
        if _digest(_plan_of(path.parent)) != asked:  # as by a worker that outlived the process which began it
            raise EcgsynthError(f"{path.parent} was begun anew by another call, cut otherwise: only one at a time can write there")

    told: dict[str, Any] = {"left_out": lost} | ({"skipped": skipped} if skip else {})
    return write_part(path, cut(), **told)
