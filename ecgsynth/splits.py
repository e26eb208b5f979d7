"""Splits: which beats train, which choose, which test."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth import mitdb
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.untrusted import conform, is_count, of_json

SIDES = ("train", "val", "test")
SHARES = (0.65, 0.20, 0.15)
SCHEMES = ("beats", "patients", "dechazal")

_SUMMARY = {"scheme": str, "seed": int, "notes": [str], "beats?": {str: is_count}, "classes?": {str: {str: is_count}}}
_DRAWS = 20_000  # random assignments of patients among which the best is taken


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
        for side in SIDES:
            if not len(getattr(self, side)):
                raise EcgsynthError(f"no beat for the {side} side: the {self.scheme} split needs more beats or patients")
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
    def load(cls, folder: str | Path) -> "Split":
        """Read what `save` wrote.

        Raises
        ------
        EcgsynthError
            If the folder holds no split, or a damaged one.
        """
        head_path = Path(folder) / "split.json"
        if not head_path.is_file():
            raise EcgsynthError(f"no split in {folder}: make one with `ecgsynth split`")
        head = read_summary(head_path)
        sides = {side: Beats.load(Path(folder) / f"{side}.npz") for side in SIDES}
        return cls(**sides, scheme=head["scheme"], seed=head["seed"], notes=tuple(head["notes"]))

    def summary(self) -> dict[str, Any]:
        """Scheme, seed, notes, and for each side its patients and counts by class, as plain JSON."""
        sides = {side: getattr(self, side) for side in SIDES}
        return {
            "scheme": self.scheme,
            "seed": self.seed,
            "notes": list(self.notes),
            "beats": {side: len(beats) for side, beats in sides.items()},
            "classes": {side: beats.counts() for side, beats in sides.items()},
            "patients": {side: np.unique(beats.patients).tolist() for side, beats in sides.items()},
        }


def read_summary(path: str | Path) -> dict[str, Any]:
    """Read what `Split.save` says of a split in ``split.json``, which is what `Split.summary` gives.

    Raises
    ------
    EcgsynthError
        If it is damaged.
    """
    try:
        return dict(conform(of_json(Path(path).read_text(encoding="utf-8")), _SUMMARY))
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
    if beats.is_synthetic:
        raise EcgsynthError("these beats are synthetic: a split is made of real ones")
    rng = np.random.default_rng(seed)
    if scheme == "beats":
        sides = _sides_by_symbol(beats, rng)
        notes = ["beats of one patient fall on all sides: scores say nothing about new patients"]
    elif scheme == "patients":
        sides, notes = _sides_by_patient(beats, np.arange(len(beats)), SHARES, rng)
    elif scheme == "dechazal":
        sides, notes = _sides_dechazal(beats, rng)
    else:
        raise EcgsynthError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    train, val, test = (beats.take(np.flatnonzero(sides == number)) for number in range(3))
    return Split(train, val, test, scheme=scheme, seed=seed, notes=tuple(notes))


def _sides_by_symbol(beats: Beats, rng: np.random.Generator) -> NDArray[np.int8]:
    sides = np.empty(len(beats), dtype=np.int8)
    groups = np.char.add(beats.classes, beats.symbols)
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        sides[members] = np.repeat(np.arange(3), apportion(len(members), SHARES))
    return sides


def apportion(total: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """Divide `total` by `shares`, which add up to 1, into whole numbers that add up to it: largest remainders."""
    exact = total * np.asarray(shares)
    parts = np.floor(exact + 1e-9).astype(np.int64)
    behind = np.argsort(-(exact - parts), kind="stable")[: total - parts.sum()]
    parts[behind] += 1
    return parts


def _sides_by_patient(
    beats: Beats, index: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator
) -> tuple[NDArray[np.int8], list[str]]:
    """Assign whole patients to sides: of many random draws, the one nearest to the shares.

    First come classes missing from a side that could be there, then the distance of each side's
    share of all beats and of each class from what is wanted.
    """
    patients, patient_of = np.unique(beats.patients[index], return_inverse=True)
    classes = [name for name in AAMI_CLASSES if (beats.classes[index] == name).any()]
    if len(patients) < len(shares):
        raise EcgsynthError(f"{len(patients)} patients cannot fill {len(shares)} sides; `--scheme beats` splits within patients")
    counts = np.stack([np.bincount(patient_of[beats.classes[index] == name], minlength=len(patients)) for name in classes])
    class_of_patients = (counts > 0).sum(axis=1)  # no more sides than patients can hold a class

    draws = np.stack([rng.permutation(len(patients)) for _ in range(_DRAWS)])
    ranks = np.repeat(np.arange(len(shares)), 1 + apportion(len(patients) - len(shares), shares))  # no side without a patient
    assigned = ranks[draws]  # (draws, patients)
    held = np.stack([(assigned == side) @ counts.T for side in range(len(shares))], axis=1)  # (draws, sides, classes)
    absent = np.maximum(0, np.minimum(len(shares), class_of_patients) - (held > 0).sum(axis=1)).sum(axis=1)
    wanted = np.asarray(shares)[:, None]
    off_beats = np.abs(held.sum(axis=2) / counts.sum() - wanted.T).sum(axis=1)
    off_classes = np.abs(held / counts.sum(axis=1) - wanted).sum(axis=1).mean(axis=1)
    cost = 10 * absent + off_beats + off_classes
    best = int(np.argmax(cost <= cost.min() + 0.1))  # the first that is nearly best, so that the seed has a say

    notes = [
        f"class {name} is on {int((held[best, :, c] > 0).sum())} of {len(shares)} sides: {int(class_of_patients[c])} patients have it"
        for c, name in enumerate(classes)
        if (held[best, :, c] == 0).any()
    ]
    return assigned[best][patient_of].astype(np.int8), notes


def _sides_dechazal(beats: Beats, rng: np.random.Generator) -> tuple[NDArray[np.int8], list[str]]:
    ds1, ds2 = np.isin(beats.records, mitdb.DS1), np.isin(beats.records, mitdb.DS2)
    if not ds1.any() or not ds2.any():
        raise EcgsynthError("the dechazal scheme is MIT-BIH's own: these beats are not of its records; use `--scheme patients`")
    known = np.isin(beats.records, list(mitdb.SAME_PATIENT.values())) & np.isin(list(mitdb.SAME_PATIENT), beats.records[ds2]).any()
    overlap = ds1 & (np.isin(beats.patients, np.unique(beats.patients[ds2])) | known)
    train_and_val = np.flatnonzero(ds1 & ~overlap)
    parts = [share / sum(SHARES[:2]) for share in SHARES[:2]]
    halves, notes = _sides_by_patient(beats, train_and_val, parts, rng)
    sides = np.full(len(beats), -1, dtype=np.int8)
    sides[train_and_val] = halves
    sides[ds2] = 2
    if overlap.any():
        both = ", ".join(np.unique(beats.records[overlap]))
        notes.insert(0, f"record {both} is left out of DS1 ({int(overlap.sum())} beats): its patient is in DS2 under another number")
    paced = np.isin(beats.records, mitdb.PACED)
    if paced.any():
        notes.append(f"paced records are left out ({int(paced.sum())} beats), as AAMI asks")
    missing = sorted(set(mitdb.DS1 + mitdb.DS2) - set(np.unique(beats.records).tolist()))
    if missing:
        notes.append(f"not all of DS1 and DS2 is there; missing: {', '.join(missing)}")
    return sides, notes
