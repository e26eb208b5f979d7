"""Controls: what any learnt generator is measured against."""

from collections.abc import Generator as Steps
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.generators.base import Arrays, Generator, TrainingStep


class _KeepsBeats(Generator):
    """A generator whose whole model is the training beats."""

    holds_real_beats: ClassVar[bool] = True

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        self._beats = {name: train.signals[train.classes == name] for name in train.counts()}
        yield from ()

    def _arrays(self) -> Arrays:
        return dict(self._beats)

    def _restore(self, arrays: Arrays) -> None:
        self._beats = dict(arrays)


class Memorizer(_KeepsBeats):
    """Hands out real training beats, drawn with replacement: as useful as real ones and not private at all.

    The positive control of every privacy measure, and the ceiling of every utility measure.
    """

    name = "memorizer"

    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        beats = self._beats[aami_class]
        return np.asarray(beats[rng.integers(0, len(beats), count)])


class Smote(_KeepsBeats):
    """Synthetic minority oversampling: points on the line between a real beat and a near one of its class.

    Its model file holds the training beats, and each beat it makes lies close to two of them.

    Parameters
    ----------
    neighbors : int
        How many nearest beats the second one is drawn from; fewer where a class is smaller.
    base : int
        At most so many real beats of a class, drawn at random, are joined to each other: the
        neighbour search grows with their square.

    References
    ----------
    Chawla NV et al. SMOTE: synthetic minority over-sampling technique. J Artif Intell Res
    16:321-357 (2002), doi:10.1613/jair.953; as implemented in imbalanced-learn.
    """

    name = "smote"

    def __init__(self, *, neighbors: int = 5, base: int = 10_000) -> None:
        super().__init__()
        self.neighbors = neighbors
        self.base = base

    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        from imblearn.over_sampling import SMOTE

        beats = self._beats[aami_class]
        if len(beats) > self.base:
            beats = beats[rng.choice(len(beats), self.base, replace=False)]
        other = np.zeros((1, beats.shape[1]), dtype=np.float32)  # SMOTE wants a second class; it is left as it is
        smote = SMOTE(
            sampling_strategy={1: len(beats) + count},
            k_neighbors=min(self.neighbors, len(beats) - 1),
            random_state=int(rng.integers(2**31)),
        )
        labels = np.repeat([1, 0], [len(beats), 1])
        made, _ = smote.fit_resample(np.concatenate([beats, other]), labels)
        return np.asarray(made[len(labels) :], dtype=np.float32)


class ClassMean(Generator):
    """The mean beat of a class plus Gaussian noise of each sample's own spread: the least one must beat.

    It knows nothing of how samples vary together, so its beats are the mean with hiss on it.
    """

    name = "class-mean"

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        self._moments = {}
        for name in train.counts():
            signals = train.signals[train.classes == name]
            self._moments[name] = np.stack([signals.mean(axis=0), signals.std(axis=0)]).astype(np.float32)
        yield from ()

    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        mean, spread = self._moments[aami_class]
        return np.asarray(mean + spread * rng.standard_normal((count, len(mean)), dtype=np.float32))

    def _arrays(self) -> Arrays:
        return dict(self._moments)

    def _restore(self, arrays: Arrays) -> None:
        self._moments = dict(arrays)
