"""Splits: which beats train, which choose, which test."""

import json
from collections import Counter
from collections.abc import Generator as Steps
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.parts import Part, part_name, read_part, write_part
from ecgsynth.places import place
from ecgsynth.sides import ASKED, SIDES, Census, rule_of
from ecgsynth.stored import HEAD, MOST, StoredBeats, open_beats, seal
from ecgsynth.untrusted import conform, is_count, of_json, within

_SUMMARY = {"scheme": str, "seed": int, "notes": [str], "beats?": {str: is_count}, "classes?": {str: {str: is_count}}}


@dataclass(frozen=True)
class Split:
    """Beats on three sides.

    Parameters
    ----------
    train, val, test : Beats
        To learn from, to choose by, to report on.
    scheme : str
        ``"beats"``, ``"patients"`` or ``"dechazal"``.
    seed : int
        The seed it was drawn with.
    notes : tuple of str
        What a reader of any result on this split must know.

    Raises
    ------
    EcgsynthError
        If a side is empty or, unless `scheme` is ``"beats"``, two sides share a patient.
    """

    train: Beats
    val: Beats
    test: Beats
    scheme: str
    seed: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse_empty([side for side in SIDES if not len(getattr(self, side))], self.scheme)
        if self.scheme != "beats":
            shared = shared_patients(self)
            if shared:
                raise EcgsynthError(f"patients on two sides of a {self.scheme} split: {', '.join(sorted(shared))}")

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write ``train.npz``, ``val.npz``, ``test.npz`` and ``split.json`` into a new folder."""
        with atomic_path(folder, force=force, marker="split.json") as temporary:
            temporary.mkdir()
            for side in SIDES:
                getattr(self, side).save(temporary / f"{side}.npz")
            (temporary / "split.json").write_text(json.dumps(self.summary(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, most: int = MOST) -> "Split":
        """Read what `save` or `split_stored_steps` wrote.

        Of a side in parts that has more than `most` beats so many are drawn at random, which the notes say.

        Raises
        ------
        EcgsynthError
            If the folder holds no split, or a damaged one.
        """
        folder = place(folder)
        head = read_summary(folder)
        notes = list(head["notes"])
        sides = {}
        for side in SIDES:
            found = open_side(folder, side)
            sides[side] = found if isinstance(found, Beats) else found.some(most)
            if len(sides[side]) < len(found):
                notes.append(f"of the {len(found):,} beats of the {side} side {len(sides[side]):,} are taken, drawn at random")
        return cls(**sides, scheme=head["scheme"], seed=head["seed"], notes=tuple(notes))

    def summary(self) -> dict[str, Any]:
        """Scheme, seed, notes, and for each side its patients and counts by class, as plain JSON."""
        sides = {side: getattr(self, side) for side in SIDES}
        told = {side: Counter(zip(beats.patients.tolist(), beats.classes.tolist(), strict=True)) for side, beats in sides.items()}
        return _summary(self.scheme, self.seed, self.notes, told)


def open_side(folder: str | Path, side: str) -> Beats | StoredBeats:
    """Give a side of the split in a folder; one in parts is opened, not read.

    Raises
    ------
    EcgsynthError
        If there is no split, or it is damaged.
    """
    folder = place(folder)
    read_summary(folder)
    return open_beats(within(folder / side if (folder / side / HEAD).is_file() else folder / f"{side}.npz", folder))


def load_side(folder: str | Path, side: str, *, most: int = MOST) -> Beats:
    """Read a side of the split in a folder: of one in parts at most so many beats, drawn at random.

    Raises
    ------
    EcgsynthError
        If there is no split, or it is damaged.
    """
    found = open_side(folder, side)
    return found if isinstance(found, Beats) else found.some(most)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Read what is said of the split in a folder, which is what `Split.summary` gives.

    Raises
    ------
    EcgsynthError
        If there is none, or it is damaged.
    """
    path = within(place(folder) / "split.json", place(folder))
    if not path.is_file():
        raise EcgsynthError(f"no split in {folder}: make one with `ecgsynth split`")
    try:
        return dict(conform(of_json(path.read_text(encoding="utf-8")), _SUMMARY))
    except ValueError as error:
        raise EcgsynthError(f"{path} is damaged ({error})") from error


def shared_patients(split: Split) -> set[str]:
    """Give the patients that stand on more than one side."""
    seen: set[str] = set()
    shared: set[str] = set()
    for side in SIDES:
        patients = set(np.unique(getattr(split, side).patients).tolist())
        shared |= seen & patients
        seen |= patients
    return shared


def split_beats(beats: Beats, *, scheme: str = "beats", seed: int = 0) -> Split:
    """Split beats 65/20/15, or by the inter-patient division of de Chazal.

    Parameters
    ----------
    beats : Beats
        Real or simulated beats.
    scheme : str
        ``"beats"``: beats drawn at random within each symbol; a patient's beats fall on all sides, so
        results say nothing about new patients. ``"patients"``: no patient on two sides, every class on
        each side where the patients allow it. ``"dechazal"``: MIT-BIH's DS1 for training, with some of
        its patients held out for validation, DS2 for testing, paced records left out, and record 201
        left out of DS1 because its patient is in DS2 as 202.
    seed : int
        Same beats and seed, same split.

    Returns
    -------
    Split

    Raises
    ------
    EcgsynthError
        If the scheme is unknown, or the beats do not allow it.

    References
    ----------
    de Chazal P, O'Dwyer M, Reilly RB (2004), doi:10.1109/TBME.2004.827359. Deviation: record 201 is
    left out of DS1, where the paper has one person on both sides.
    """
    _refuse_synthetic(beats)
    columns = {name: getattr(beats, name) for name in ASKED}
    rule = rule_of(scheme, Census.of([columns]), seed)
    sides = rule.sides(columns)
    train, val, test = (beats.take(np.flatnonzero(sides == number)) for number in range(3))
    return Split(train, val, test, scheme=scheme, seed=seed, notes=tuple(rule.notes))


def split_stored_steps(
    beats: StoredBeats, folder: str | Path, *, scheme: str = "beats", seed: int = 0, force: bool = False
) -> Steps[float, None, dict[str, Any]]:
    """Split beats that need not fit into memory, as `split_beats` splits them, into a folder; yields the share that is done.

    Returns
    -------
    dict
        As of `Split.summary`.
    """
    _refuse_synthetic(beats)
    rule = rule_of(scheme, Census.of(beats.columns(*ASKED)), seed)
    told: dict[str, Counter[tuple[str, str]]] = {side: Counter() for side in SIDES}
    with atomic_path(folder, force=force, marker="split.json") as temporary:
        parts: dict[str, list[Part]] = {side: [] for side in SIDES}
        for number, part in enumerate(beats.head["parts"]):
            divided: dict[str, list[Beats]] = {side: [] for side in SIDES}
            for batch in read_part(beats.folder / part["name"]):
                sides = rule.sides({name: getattr(batch, name) for name in ASKED})
                for place_of, side in enumerate(SIDES):
                    own = batch.take(np.flatnonzero(sides == place_of))
                    divided[side] += [own] if len(own) else []
                    told[side].update(zip(own.patients.tolist(), own.classes.tolist(), strict=True))
            for side, batches in divided.items():
                if batches:
                    parts[side].append(write_part(temporary / side / part_name(number), batches))
            yield (number + 1) / len(beats.head["parts"])
        _refuse_empty([side for side in SIDES if not parts[side]], scheme)
        for side in SIDES:
            seal(temporary / side, parts[side], source=beats.source, info=beats.info)
        summary = _summary(scheme, seed, rule.notes, told)
        (temporary / "split.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _refuse_synthetic(beats: Beats | StoredBeats) -> None:
    if beats.is_synthetic:
        raise EcgsynthError("these beats are synthetic: a split is made of real ones")


def _refuse_empty(sides: Sequence[str], scheme: str) -> None:
    if sides:
        raise EcgsynthError(f"no beat for the {sides[0]} side: the {scheme} split needs more beats or patients")


def _summary(scheme: str, seed: int, notes: Sequence[str], told: Mapping[str, Mapping[tuple[str, str], int]]) -> dict[str, Any]:
    """Give what is to be known of a split, of how many beats of each patient and class each side has."""
    classes = {side: Counter[str]() for side in told}
    for side, counts in told.items():
        for (_, name), count in counts.items():
            classes[side][name] += count
    return {
        "scheme": scheme,
        "seed": seed,
        "notes": list(notes),
        "beats": {side: sum(counts.values()) for side, counts in told.items()},
        "classes": {side: {name: found[name] for name in AAMI_CLASSES if found[name]} for side, found in classes.items()},
        "patients": {side: sorted({patient for patient, _ in counts}) for side, counts in told.items()},
    }
