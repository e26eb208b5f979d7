"""What to ask a generator for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.cells import Cell
from ecgsynth.labels import LABELS
from ecgsynth.sides import apportion
from ecgsynth.untrusted import SEEDS
from ecgsynth.vectors import Shape, Vectors, from_vectors

Interval = tuple[float, float]

MOST_BEATS = 10**9
"""Of a request or a recipe: so many are 100,000 shards of 10,000 beats, whose files have five digits by which they are in order."""


_MOST_FIRST = 2**45  # which leaves the number of a block two words of a seed
_MOST_POWER = 10  # of counts, as a share of which numbers still say something


class Block(NamedTuple):
    """Beats `number` * size and on, of one label."""

    label: str
    number: int


@dataclass(frozen=True)
class Request:
    """Beats asked for.

    Parameters
    ----------
    counts, seed, first, lead, rr_before, rr_after
        As for `ecgsynth.generators.base.Generator.sample`.

    Raises
    ------
    EcgsynthError
        If a number is negative, nothing is asked for, or an interval is empty.
    """

    counts: Mapping[str, int]
    seed: int = 0
    first: int = 0
    lead: str | None = None
    rr_before: Interval | None = None
    rr_after: Interval | None = None

    def __post_init__(self) -> None:
        if any(count < 0 for count in self.counts.values()) or not sum(self.counts.values()):
            raise EcgsynthError("ask for at least one beat, and no negative number")
        if not 0 <= self.seed < SEEDS or not 0 <= self.first < _MOST_FIRST:
            raise EcgsynthError(f"seeds are numbered from 0, below {SEEDS:,}, and beats from 0, below {_MOST_FIRST:,}")
        for interval in (self.rr_before, self.rr_after):
            if interval is not None and not 0 < interval[0] < interval[1]:
                raise EcgsynthError(f"RR from {interval[0]:g} to {interval[1]:g} s: two numbers above 0, the smaller first")

    def fits(self, vectors: Vectors, numbers: NDArray[np.int64], shape: Shape) -> NDArray[np.bool_]:
        """Say which beats are among those asked for: (n, D), (n,) -> (n,)."""
        fit = numbers >= self.first
        _, rhythm = from_vectors(vectors, shape)
        for name in ("rr_before", "rr_after"):
            if (interval := getattr(self, name)) is not None:
                fit &= (rhythm[name] >= interval[0]) & (rhythm[name] <= interval[1])
        return fit

    def of_each(self, cells: Sequence[Cell], *, by: str, rhythm: bool) -> dict[str, int]:
        """Give how many of each label are asked for, in the order of labels, of a model that has learnt these cells.

        Raises
        ------
        EcgsynthError
            If it has not learnt what is asked for, or that is more than `MOST_BEATS`.
        """
        if sum(self.counts.values()) > MOST_BEATS:
            raise EcgsynthError(f"ask for at most {MOST_BEATS:,} beats at a time: the next ones by the number of the first (--first)")
        leads, known = (list(dict.fromkeys(names)) for names in zip(*((cell.lead, cell.label) for cell in cells), strict=True))
        if self.lead is not None:
            if self.lead not in leads:
                raise EcgsynthError(f"unknown lead {self.lead}; this model has learnt {', '.join(leads)}")
            known = [cell.label for cell in cells if cell.lead == self.lead]
        if (self.rr_before or self.rr_after) and not rhythm:
            raise EcgsynthError("this model was trained without RR intervals, so its beats cannot be chosen by them")
        if unknown := [name for name in self.counts if name not in known]:
            of_lead = f" of lead {self.lead}" if self.lead else ""
            raise EcgsynthError(f"unknown {by} {', '.join(unknown)}; this model has learnt {', '.join(known)}{of_lead}: leave others out")
        return {name: int(self.counts[name]) for name in LABELS[by] if self.counts.get(name)}


def class_counts(beats: Beats | Mapping[str, int], *, power: float = 1.0, total: int | None = None, by: str = "class") -> dict[str, int]:
    """Compute a request for `Generator.sample` from real beats.

    Parameters
    ----------
    beats : Beats, or mapping of str to int
        The beats to go by, or their counts, such as a model's `counts`.
    power : float
        Labels are asked for in proportion to their count to this power: 1 for the natural
        proportions, 0 for as many of each, 0.5 between.
    total : int, optional
        Beats in all; as many as there are in `beats` if not given.
    by : str
        ``"class"`` or ``"symbol"``: what the model tells beats apart by.

    Returns
    -------
    dict of str to int
        `total` in all, and at least one of each label.

    Raises
    ------
    EcgsynthError
        If `total` is less than the number of labels.

    Examples
    --------
    >>> beats = Beats(signals=np.zeros((10, 256)), classes=np.array(list("NNNNNNNNVV")))
    >>> class_counts(beats, power=0)
    {'N': 5, 'V': 5}
    """
    counts = beats.counts(by) if isinstance(beats, Beats) else dict(beats)
    total = sum(counts.values()) if total is None else total
    if total < len(counts):
        raise EcgsynthError(f"{total} beats are too few for {len(counts)} classes")
    if not abs(power) <= _MOST_POWER:
        raise EcgsynthError(f"proportions are taken to a power from -{_MOST_POWER} to {_MOST_POWER}, not {power:g}")
    weights = np.array([float(count) ** power for count in counts.values()])
    parts = apportion(total, (weights / weights.sum()).tolist())
    while (parts < 1).any():
        parts[parts.argmin()] += 1
        parts[parts.argmax()] -= 1
    return dict(zip(counts, parts.tolist(), strict=True))
