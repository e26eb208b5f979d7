"""Generators that are a table of statistics: class means, and Gaussians of whole beats."""

from collections.abc import Generator as Steps
from pathlib import Path

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Arrays, Cells, Generator
from ecgsynth.generators.history import TrainingStep
from ecgsynth.generators.trained import under
from ecgsynth.spaces import ComponentSpace
from ecgsynth.vectors import Vectors, to_vectors


class ClassMean(Generator):
    """The mean beat of a label plus Gaussian noise of each sample's own spread: the least one must beat.

    It knows nothing of how samples vary together, so its beats are the mean with hiss on it.
    """

    name = "class-mean"

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        vectors, cells = to_vectors(train), self._cells_of(train)
        own = [vectors[cells == cell] for cell in range(len(self.cells))]
        self._mean = np.stack([part.mean(axis=0) for part in own])
        self._spread = np.stack([part.std(axis=0) for part in own])
        yield from ()

    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        noise = rng.standard_normal((len(cells), self.layout.size), dtype=np.float32)
        return np.asarray(self._mean[cells] + self._spread[cells] * noise)

    def _arrays(self) -> Arrays:
        return {"mean": self._mean, "spread": self._spread}

    def _restore(self, arrays: Arrays) -> None:
        self._mean, self._spread = arrays["mean"], arrays["spread"]


class Gaussian(Generator):
    """One multivariate normal distribution a label, over principal components of beats and their rhythm.

    Parameters
    ----------
    components : int
        Principal components kept.

    Notes
    -----
    The covariance of a label with few beats is shrunk by Ledoit and Wolf's estimate, so that no direction
    stands for single beats.

    References
    ----------
    Ledoit O, Wolf M. J Multivar Anal 88(2):365-411 (2004), doi:10.1016/S0047-259X(03)00096-4; as
    implemented in scikit-learn.
    """

    name = "gaussian"

    def __init__(self, *, components: int = 64) -> None:
        super().__init__()
        self.components = components
        if components < 1:
            raise EcgsynthError("components must be positive")

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        from sklearn.covariance import ledoit_wolf

        vectors, cells = to_vectors(train), self._cells_of(train)
        self._space = ComponentSpace.fit(vectors, self.components, whitening=1.0, n_rhythm=self.layout.n_rhythm)
        codes = self._space.encode(vectors).astype(np.float64)
        means, factors = [], []
        for cell in range(len(self.cells)):
            own = codes[cells == cell]
            covariance, _ = ledoit_wolf(own)
            means.append(own.mean(axis=0))
            factors.append(np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance))))
        self._means, self._factors = np.asarray(means, dtype=np.float32), np.asarray(factors, dtype=np.float32)
        yield from ()

    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        codes = rng.standard_normal((len(cells), self._means.shape[1]), dtype=np.float32)
        for cell in np.unique(cells):
            own = cells == cell
            codes[own] = codes[own] @ self._factors[cell].T + self._means[cell]
        return self._space.decode(codes)

    def _arrays(self) -> Arrays:
        return {"means": self._means, "factors": self._factors} | {f"space.{name}": value for name, value in self._space.arrays().items()}

    def _restore(self, arrays: Arrays) -> None:
        self._means, self._factors = arrays["means"], arrays["factors"]
        self._space = ComponentSpace(under("space.", arrays))
