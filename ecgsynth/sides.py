"""Rules by which beats fall on the sides of a split: made of how many there are, then asked of beats in their order."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth import mitdb
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import AAMI_CLASSES

SIDES = ("train", "val", "test")
SHARES = (0.65, 0.20, 0.15)
SCHEMES = ("beats", "patients", "dechazal")

ASKED = ("classes", "symbols", "records", "patients")
"""What a rule asks of each beat."""

Columns = Mapping[str, NDArray[Any]]

_AT_ONCE = 100_000  # places that are looked up together, in eight bytes each
_DRAWS = 20_000  # random assignments of patients among which the best is taken
_FEWEST_DRAWS, _DRAWN = 100, 20_000_000  # of many patients fewer, so that there are not more numbers than this


@dataclass(frozen=True)
class Census:
    """How many beats there are of each class and symbol, and of each class in each record.

    Parameters
    ----------
    labels : mapping of str to int
        Class and symbol -> beats.
    records : sequence of (str, str)
        Record and patient, sorted.
    classes : array of int64, shape (n_records, 5)
        Beats of each class in each of them.
    """

    labels: Mapping[str, int]
    records: Sequence[tuple[str, str]]
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, batches: Iterable[Columns]) -> "Census":
        """Count beats, of which some are given at a time."""
        labels, counts = Counter[str](), Counter[tuple[str, str, str]]()
        for columns in batches:
            labels.update(np.char.add(columns["classes"], columns["symbols"]).tolist())
            counts.update(zip(*(columns[name].tolist() for name in ("records", "patients", "classes")), strict=True))
        records = sorted({(record, patient) for record, patient, _ in counts})
        table = np.array([[counts[*key, name] for name in AAMI_CLASSES] for key in records], dtype=np.int64)
        return cls(labels, records, table.reshape(len(records), len(AAMI_CLASSES)))


@dataclass
class Rule:
    """Says on which side each beat falls; notes are what a reader of any result must know."""

    sides: Callable[[Columns], NDArray[np.int8]]
    notes: list[str] = field(default_factory=list)


def rule_of(scheme: str, census: Census, seed: int) -> Rule:
    """Make the rule of a scheme; it is asked once of every beat, in their order.

    Raises
    ------
    EcgsynthError
        If the scheme is unknown, or the beats do not allow it.
    """
    rng = np.random.default_rng(seed)
    if scheme == "beats":
        return Rule(_by_symbol(census, rng), ["beats of one patient fall on all sides: scores say nothing about new patients"])
    if scheme == "patients":
        sides, notes = _sides_of_patients(census, np.arange(len(census.records)), SHARES, rng)
    elif scheme == "dechazal":
        sides, notes = _sides_dechazal(census, rng)
    else:
        raise EcgsynthError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    return Rule(_by_record(dict(zip(census.records, sides.tolist(), strict=True))), notes)


def _by_symbol(census: Census, rng: np.random.Generator) -> Callable[[Columns], NDArray[np.int8]]:
    """Draw beats of each class and symbol; one byte a beat is held, and six are while a label is drawn."""
    drawn = {}
    for label in sorted(census.labels):
        count = census.labels[label]
        order = np.arange(count, dtype=np.min_scalar_type(count))
        rng.shuffle(order)  # as `rng.permutation` does in eight bytes a beat
        divided = np.repeat(np.arange(3, dtype=np.int8), apportion(count, SHARES))
        drawn[label] = np.empty(count, dtype=np.int8)
        for some, own in zip(*(np.array_split(column, 1 + count // _AT_ONCE) for column in (order, divided)), strict=True):
            drawn[label][some] = own
    seen = Counter[str]()

    def sides(columns: Columns) -> NDArray[np.int8]:
        found = np.empty(len(columns["classes"]), dtype=np.int8)
        labels = np.char.add(columns["classes"], columns["symbols"])
        for label in np.unique(labels).tolist():
            own = np.flatnonzero(labels == label)
            found[own] = drawn[label][seen[label] : seen[label] + len(own)]
            seen[label] += len(own)
        return found

    return sides


def _by_record(side_of: Mapping[tuple[str, str], int]) -> Callable[[Columns], NDArray[np.int8]]:
    def sides(columns: Columns) -> NDArray[np.int8]:
        keys = zip(columns["records"].tolist(), columns["patients"].tolist(), strict=True)
        return np.array([side_of[key] for key in keys], dtype=np.int8)

    return sides


def apportion(total: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """Divide `total` by `shares`, which add up to 1, into whole numbers that add up to it: largest remainders."""
    exact = total * np.asarray(shares)
    parts = np.floor(exact + 1e-9).astype(np.int64)
    behind = np.argsort(-(exact - parts), kind="stable")[: total - parts.sum()]
    parts[behind] += 1
    return parts


def _sides_of_patients(
    census: Census, index: NDArray[np.int64], shares: Sequence[float], rng: np.random.Generator
) -> tuple[NDArray[np.int8], list[str]]:
    """Assign the records at `index`, by their patients, to sides: of many random draws, the one nearest to the shares.

    First come classes missing from a side that could be there, then the distance of each side's
    share of all beats and of each class from what is wanted.
    """
    patients, patient_of = np.unique([census.records[place][1] for place in index], return_inverse=True)
    counts = np.zeros((len(AAMI_CLASSES), len(patients)), dtype=np.int64)
    np.add.at(counts.T, patient_of, census.classes[index])
    classes = [name for name, own in zip(AAMI_CLASSES, counts, strict=True) if own.any()]
    counts = counts[counts.any(axis=1)]
    if len(patients) < len(shares):
        raise EcgsynthError(f"{len(patients)} patients cannot fill {len(shares)} sides; `--scheme beats` splits within patients")
    class_of_patients = (counts > 0).sum(axis=1)  # no more sides than patients can hold a class

    n_draws = min(_DRAWS, max(_FEWEST_DRAWS, _DRAWN // len(patients)))  # where they are many, any draw is near
    sides = np.arange(len(shares), dtype=np.int8)
    ranks = np.repeat(sides, 1 + apportion(len(patients) - len(shares), shares))  # no side without a patient
    assigned = np.stack([ranks[rng.permutation(len(patients))] for _ in range(n_draws)])  # (draws, patients)
    some = np.array_split(assigned, 1 + assigned.size // _AT_ONCE)  # they are counted in eight bytes each
    held = np.concatenate([(draws == sides[:, None, None]) @ counts.T for draws in some], axis=1).swapaxes(0, 1)  # (draws, sides, classes)
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
    return assigned[best][patient_of], notes


def _sides_dechazal(census: Census, rng: np.random.Generator) -> tuple[NDArray[np.int8], list[str]]:
    records, patients = (np.array(column, dtype=np.str_) for column in zip(*census.records, strict=True))
    counts = census.classes.sum(axis=1)
    ds1, ds2 = np.isin(records, mitdb.DS1), np.isin(records, mitdb.DS2)
    if not ds1.any() or not ds2.any():
        raise EcgsynthError("the dechazal scheme is MIT-BIH's own: these beats are not of its records; use `--scheme patients`")
    known = np.isin(records, list(mitdb.SAME_PATIENT.values())) & np.isin(list(mitdb.SAME_PATIENT), records[ds2]).any()
    overlap = ds1 & (np.isin(patients, patients[ds2]) | known)
    train_and_val = np.flatnonzero(ds1 & ~overlap)
    parts = [share / sum(SHARES[:2]) for share in SHARES[:2]]
    halves, notes = _sides_of_patients(census, train_and_val, parts, rng)
    sides = np.full(len(records), -1, dtype=np.int8)
    sides[train_and_val] = halves
    sides[ds2] = 2
    if overlap.any():
        both = ", ".join(np.unique(records[overlap]))
        notes.insert(0, f"record {both} is left out of DS1 ({counts[overlap].sum()} beats): its patient is in DS2 under another number")
    paced = np.isin(records, mitdb.PACED)
    if paced.any():
        notes.append(f"paced records are left out ({counts[paced].sum()} beats), as AAMI asks")
    missing = sorted(set(mitdb.DS1 + mitdb.DS2) - set(records.tolist()))
    if missing:
        notes.append(f"not all of DS1 and DS2 is there; missing: {', '.join(missing)}")
    return sides, notes
