"""The mechanistic floor: beats from equations instead of from data."""

from collections.abc import Generator as Steps
from pathlib import Path

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.generators.base import Arrays, Cells, Generator
from ecgsynth.generators.history import TrainingStep
from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.simulate import simulate_beats
from ecgsynth.vectors import Vectors


class Ecgsyn(Generator):
    """Beats of simulated patients, after McSharry 2003: it learns no more than the window, the labels and the leads.

    What is learnt from data must beat it to be worth its risk to privacy, as this one has none. All
    symbols of a class are alike to it, and so are all leads.
    """

    learns = False
    name = "ecgsyn"

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        yield from ()

    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        label = self.cells[int(cells[0])].label  # a block is of one label
        aami_class = label if self.by == "class" else SYMBOL_TO_CLASS[label]
        before, total = self.shape_["r_sample"], self.layout.n_samples
        signals, *rr = simulate_beats(aami_class, len(cells), rng=rng, fs=self.shape_["fs"], n_before=before, n_after=total - before)
        return np.column_stack([*[signals] * self.layout.n_leads, *np.log(rr[: self.layout.n_rhythm])])

    def _arrays(self) -> Arrays:
        return {"none": np.zeros(1, dtype=np.float32)}  # a file without any array is refused by some readers

    def _restore(self, arrays: Arrays) -> None:
        pass
