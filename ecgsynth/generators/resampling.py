"""Generators whose model is the training beats themselves: copies of them, and points between them."""

import warnings
from abc import abstractmethod
from collections.abc import Generator as Steps
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Arrays, Cells, Generator
from ecgsynth.generators.history import TrainingStep
from ecgsynth.vectors import Vectors, to_vectors


class _KeepsBeats(Generator):
    """A generator whose whole model is the training beats."""

    holds_real_beats: ClassVar[bool] = True

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        vectors, cells = to_vectors(train), self._cells_of(train)
        self._beats = [vectors[cells == cell] for cell in range(len(self.cells))]
        yield from ()

    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        made = np.empty((len(cells), self.layout.size), dtype=np.float32)
        for cell in np.unique(cells):
            own = cells == cell
            made[own] = self._from_cell(int(cell), int(own.sum()), rng)
        return made

    @abstractmethod
    def _from_cell(self, cell: int, count: int, rng: np.random.Generator) -> Vectors:
        """Make `count` beats of one cell."""

    def _arrays(self) -> Arrays:
        return {f"beats.{cell}": beats for cell, beats in enumerate(self._beats)}

    def _restore(self, arrays: Arrays) -> None:
        self._beats = [arrays[f"beats.{cell}"] for cell in range(len(self.cells))]


class Memorizer(_KeepsBeats):
    """Hands out real training beats, drawn with replacement: as useful as real ones and not private at all.

    The positive control of every privacy measure, and the ceiling of every utility measure.
    """

    name = "memorizer"

    def _from_cell(self, cell: int, count: int, rng: np.random.Generator) -> Vectors:
        beats = self._beats[cell]
        return np.asarray(beats[rng.integers(0, len(beats), count)])


class Smote(_KeepsBeats):
    """Synthetic minority oversampling: points on the line between a real beat and a near one of its label.

    Its model file holds the training beats, and each beat it makes lies close to two of them.

    Parameters
    ----------
    neighbors : int
        How many nearest beats the second one is drawn from; fewer where a label is smaller.
    base : int
        At most so many real beats of a label, drawn at random, are joined to each other: the
        neighbour search grows with their square.

    References
    ----------
    Chawla NV et al. SMOTE: synthetic minority over-sampling technique. J Artif Intell Res
    16:321-357 (2002), doi:10.1613/jair.953; as implemented in imbalanced-learn.
    """

    name = "smote"
    block: ClassVar[int] = 8192  # the neighbour search is paid once a block

    def __init__(self, *, neighbors: int = 5, base: int = 10_000) -> None:
        super().__init__()
        self.neighbors = neighbors
        self.base = base
        if neighbors < 1 or base < 2:
            raise EcgsynthError("neighbors must be positive, and base at least 2: a beat is joined to another")

    def _from_cell(self, cell: int, count: int, rng: np.random.Generator) -> Vectors:
        from imblearn.over_sampling import SMOTE

        beats = _some(self._beats[cell], self.base, rng)
        other = np.zeros((1, beats.shape[1]), dtype=np.float32)  # SMOTE wants a second class; it is left as it is
        smote = SMOTE(
            sampling_strategy={1: len(beats) + count},
            k_neighbors=min(self.neighbors, len(beats) - 1),
            random_state=np.random.RandomState(rng.bit_generator),
        )
        return _added(smote, beats, other)


class Adasyn(Smote):
    """SMOTE that makes more beats where a label is surrounded by others, and so is hard to learn.

    Parameters
    ----------
    neighbors, base
        As for `Smote`; `base` beats of the other labels stand around them.

    Notes
    -----
    Where no beat of a label has another label among its neighbours there is nothing hard about it, and
    beats are made as SMOTE makes them.

    References
    ----------
    He H et al. ADASYN: adaptive synthetic sampling approach for imbalanced learning. IJCNN (2008),
    doi:10.1109/IJCNN.2008.4633969; as implemented in imbalanced-learn.
    """

    name = "adasyn"

    def _from_cell(self, cell: int, count: int, rng: np.random.Generator) -> Vectors:
        from imblearn.over_sampling import ADASYN

        beats = _some(self._beats[cell], self.base, rng)
        others = [part for part, told in zip(self._beats, self.cells, strict=True) if told.label != self.cells[cell].label]
        if not others:
            return super()._from_cell(cell, count, rng)
        spare = count + len(beats)  # it rounds the number of each beat, so asks for more than are needed
        adasyn = ADASYN(
            sampling_strategy={1: len(beats) + spare},
            n_neighbors=min(self.neighbors, len(beats) - 1),
            random_state=np.random.RandomState(rng.bit_generator),
        )
        try:
            made = _added(adasyn, beats, _some(np.concatenate(others), self.base, rng))
        except (ValueError, RuntimeError):  # no neighbour of another label
            return super()._from_cell(cell, count, rng)
        if len(made) < count:
            return super()._from_cell(cell, count, rng)
        return np.asarray(made[rng.permutation(len(made))[:count]])


def _some(beats: Vectors, most: int, rng: np.random.Generator) -> Vectors:
    return beats if len(beats) <= most else np.asarray(beats[rng.choice(len(beats), most, replace=False)])


def _added(sampler: Any, beats: Vectors, others: Vectors) -> Vectors:
    """Give the beats that a sampler of imbalanced-learn adds to class 1."""
    labels = np.repeat([1, 0], [len(beats), len(others)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that class 1 will outnumber the other
        made, _ = sampler.fit_resample(np.concatenate([beats, others]), labels)
    return np.asarray(made[len(labels) :], dtype=np.float32)
