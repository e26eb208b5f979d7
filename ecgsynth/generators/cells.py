"""What a generator is told of a beat: its label, and its lead where there are enough beats of it."""

from collections import Counter
from typing import Any, NamedTuple

from ecgsynth.beats import Beats
from ecgsynth.stored import StoredBeats

_FEW = 40  # beats of a label below which a lead is not told apart


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
