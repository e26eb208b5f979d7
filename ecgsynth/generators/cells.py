"""Training beats: which can be learnt from, and what a generator is told of each, its label, and its lead where there are enough."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, refuse_impossible
from ecgsynth.errors import EcgsynthError
from ecgsynth.stored import StoredBeats

_FEW = 40  # beats of a label below which a lead is not told apart
_POOR = 10  # training beats of a label, of which it is worth a word


class Cell(NamedTuple):
    """What a generator is told of a beat: its label and lead, and how many training beats share both."""

    label: str
    lead: str
    n_beats: int


def cells_of(train: Beats | StoredBeats, by: str) -> list[list[Any]]:
    """Count labels and leads together: label by label, the most frequent lead first, rare ones counted with it."""
    found: Counter[tuple[str, str]] = Counter()
    if isinstance(train, Beats):
        found.update(zip(train.labels(by).tolist(), train.leads.tolist(), strict=True))
    else:
        column = "classes" if by == "class" else "symbols"
        for columns in train.columns(column, "leads"):
            found.update(zip(columns[column].tolist(), columns["leads"].tolist(), strict=True))
    cells: list[list[Any]] = []
    for label in train.counts(by):
        own = sorted(((-count, lead) for (name, lead), count in found.items() if name == label))
        told = [(lead, -count) for place, (count, lead) in enumerate(own) if place == 0 or -count >= _FEW]
        rest = -sum(count for count, _ in own) - sum(count for _, count in told)
        cells += [[label, lead, count + (rest if place == 0 else 0)] for place, (lead, count) in enumerate(told)]
    return cells


def held(cells: Sequence[Sequence[Any]], beats: Beats, by: str) -> list[list[Any]]:
    """Leave out leads of which none of these beats is: they count as their label's most frequent one that is there."""
    there = set(zip(beats.labels(by).tolist(), beats.leads.tolist(), strict=True))
    kept = [list(cell) for cell in cells if tuple(cell[:2]) in there]
    usual = {cell[0]: cell for cell in reversed(kept)}
    for label, lead, count in cells:
        if (label, lead) not in there:
            usual[label][2] += count
    return kept


def alike(cells: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Give the same labels, each of every lead and all as frequent, so that they tell nothing of how many beats there are."""
    labels, leads = dict.fromkeys(cell[0] for cell in cells), sorted({cell[1] for cell in cells})
    return [[label, lead, 1] for label in labels for lead in leads]


def numbers_of(beats: Beats, cells: Sequence[Cell], by: str) -> NDArray[np.int64]:
    """Give the number of each beat's cell; a lead that is not told apart counts as its label's most frequent."""
    numbers = {(cell.label, cell.lead): number for number, cell in reversed(list(enumerate(cells)))}
    usual = {cell.label: number for number, cell in reversed(list(enumerate(cells)))}
    pairs = zip(beats.labels(by).tolist(), beats.leads.tolist(), strict=True)
    return np.array([numbers.get((label, lead), usual[label]) for label, lead in pairs], dtype=np.int64)


@overload
def without_rare(train: Beats, by: str, at_least: int = 2) -> tuple[Beats, list[str]]: ...
@overload
def without_rare(train: Beats | StoredBeats, by: str, at_least: int = 2) -> tuple[Beats | StoredBeats, list[str]]: ...
def without_rare(train: Beats | StoredBeats, by: str, at_least: int = 2) -> tuple[Beats | StoredBeats, list[str]]:
    """Leave out the beats of labels that are too rare to learn; gives the others, and what is to be known of rare ones.

    Raises
    ------
    EcgsynthError
        If no label has so many.
    """
    counts, notes = train.counts(by), []
    rare = [name for name, count in counts.items() if count < at_least]
    few = [f"{name} ({count})" for name, count in counts.items() if at_least <= count < _POOR]
    if few:
        notes.append(f"few training beats of {by} {', '.join(few)}: new ones will be much like them, or poor")
    if not rare:
        return train, notes
    if len(rare) == len(counts):
        raise EcgsynthError(f"no {by} has {at_least} training beats: give more records, or ask for fewer (--at-least)")
    notes.append(f"{by} {', '.join(f'{name} ({counts[name]})' for name in rare)} left out: fewer than {at_least} training beats")
    return train.take(~np.isin(train.labels(by), rare)) if isinstance(train, Beats) else train.of(counts.keys() - set(rare), by), notes


def refuse_unlearnable(train: Beats, validation: Beats | None, by: str) -> None:
    """Raise if nothing can be learnt from these beats, or they do not fit those that weights are chosen by."""
    if not len(train):
        raise EcgsynthError("there are no training beats")
    if train.is_synthetic:
        raise EcgsynthError("a generator learns from real beats; these are synthetic")
    lonely = [name for name, count in train.counts(by).items() if count < 2]
    if lonely:
        raise EcgsynthError(f"{by} {', '.join(lonely)} has one training beat; at least two are needed to learn it (or leave it out)")
    if validation is not None and validation.window != train.window:
        raise EcgsynthError("training and validation beats differ in leads, length, sampling rate or place of the R peak")
    refuse_impossible(train, "training")
    if validation is not None:
        refuse_impossible(validation, "validation")
