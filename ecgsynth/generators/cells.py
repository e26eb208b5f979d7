"""What a generator is told of a beat: its label, and its lead where there are enough beats of it."""

from typing import Any, NamedTuple

import numpy as np

from ecgsynth.beats import Beats

_FEW = 40  # beats of a label below which a lead is not told apart


class Cell(NamedTuple):
    """What a generator is told of a beat: its label and lead, and how many training beats share both."""

    label: str
    lead: str
    n_beats: int


def cells_of(train: Beats, by: str) -> list[list[Any]]:
    """Count labels and leads together: label by label, the most frequent lead first, rare ones counted with it."""
    cells: list[list[Any]] = []
    labels = train.labels(by)
    for label, total in train.counts(by).items():
        leads, counts = np.unique(train.leads[labels == label], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        told = [index for place, index in enumerate(order) if place == 0 or counts[index] >= _FEW]
        rest = total - int(counts[told].sum())
        cells += [[label, str(leads[index]), int(counts[index]) + (rest if place == 0 else 0)] for place, index in enumerate(told)]
    return cells
