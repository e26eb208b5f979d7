"""The mechanistic floor: beats from equations instead of from data."""

from collections.abc import Generator as Steps
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.generators.base import Arrays, Generator, TrainingStep
from ecgsynth.simulate import simulate_beats


class Ecgsyn(Generator):
    """Beats of simulated patients, after McSharry 2003: it learns no more than the window and the classes.

    What is learnt from data must beat it to be worth its risk to privacy, as this one has none.
    """

    name = "ecgsyn"

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        yield from ()

    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        before, total = self.shape_["r_sample"], self.shape_["n_samples"]
        signals, _, _ = simulate_beats(aami_class, count, rng=rng, fs=self.shape_["fs"], n_before=before, n_after=total - before)
        return signals

    def _arrays(self) -> Arrays:
        return {"none": np.zeros(1, dtype=np.float32)}  # a file without any array is refused by some readers

    def _restore(self, arrays: Arrays) -> None:
        pass
