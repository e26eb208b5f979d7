"""The coordinates in which generators learn: vectors brought to like spread, or their principal components."""

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ecgsynth.untrusted import MOST_SAMPLES
from ecgsynth.vectors import RHYTHM, Vectors

Arrays = dict[str, NDArray[np.float32]]

_HIGHEST = 40.0  # Hz, to which beats are filtered
_USUAL_RR, _SPREAD_RR = float(np.log(0.8)), 0.3

# Shapes: n beats, D columns of a vector, R of them rhythm, P coordinates.


class Space(Protocol):
    """Maps vectors to coordinates and back."""

    size: int

    def encode(self, vectors: Vectors) -> Vectors:
        """Give coordinates: (n, D) -> (n, P)."""

    def decode(self, codes: Vectors) -> Vectors:
        """Give vectors: (n, P) -> (n, D)."""

    def arrays(self) -> Arrays:
        """Give everything learnt."""


class SampleSpace:
    """Every column of a vector, shifted and scaled to mean 0 and spread 1."""

    def __init__(self, arrays: Arrays) -> None:
        self._mean, self._scale = arrays["mean"], arrays["scale"]
        self.size = len(self._mean)

    @classmethod
    def fit(cls, vectors: Vectors) -> Self:
        """Learn from vectors: (n, D)."""
        return cls({"mean": vectors.mean(axis=0), "scale": vectors.std(axis=0) + np.float32(1e-3)})

    def encode(self, vectors: Vectors) -> Vectors:
        """Give coordinates: (n, D) -> (n, D)."""
        return np.asarray((vectors - self._mean) / self._scale, dtype=np.float32)

    def decode(self, codes: Vectors) -> Vectors:
        """Give vectors: (n, D) -> (n, D)."""
        return np.asarray(codes * self._scale + self._mean, dtype=np.float32)

    def arrays(self) -> Arrays:
        """Give mean (D,) and scale (D,)."""
        return {"mean": self._mean, "scale": self._scale}


class ComponentSpace:
    """Principal components of the waveform, and the rhythm as it is.

    A beat of 256 samples band-passed at 40 Hz has far fewer degrees of freedom than samples, so a network
    learns it from a quarter of the numbers.

    Parameters
    ----------
    arrays : dict
        ``mean`` (D,), ``basis`` (P - R, D - R) and ``scale`` (P,).
    """

    def __init__(self, arrays: Arrays) -> None:
        self._mean, self._basis, self._scale = arrays["mean"], arrays["basis"], arrays["scale"]
        self.size = len(self._scale)
        self._waveform, self._components = self._basis.shape[1], self._basis.shape[0]

    @classmethod
    def fit(cls, vectors: Vectors, components: int, whitening: float, n_rhythm: int) -> Self:
        """Learn from vectors.

        Parameters
        ----------
        vectors : array, shape (n, D)
            Beats.
        components : int
            Principal components kept; no more than the beats allow.
        whitening : float
            0 leaves each component its spread in mV but for a common factor, 1 makes all alike: the
            spread is divided by itself to this power.
        n_rhythm : int
            How many of the last columns are rhythm.
        """
        from sklearn.decomposition import PCA

        waveform, rhythm = np.split(vectors, [vectors.shape[1] - n_rhythm], axis=1)
        components = min(components, *waveform.shape)
        pca = PCA(components, svd_solver="covariance_eigh").fit(waveform)
        spread = np.sqrt(np.maximum(pca.explained_variance_, 1e-10))
        scale = spread**whitening
        scale *= np.sqrt(np.mean((spread / scale) ** 2))  # mean square 1 over all components
        arrays = {
            "mean": np.concatenate([pca.mean_, rhythm.mean(axis=0)]),
            "basis": pca.components_,
            "scale": np.concatenate([scale, rhythm.std(axis=0) + 1e-3]),
        }
        return cls({name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()})

    def encode(self, vectors: Vectors) -> Vectors:
        """Give coordinates: (n, D) -> (n, P)."""
        centred = vectors - self._mean
        codes = np.concatenate([centred[:, : self._waveform] @ self._basis.T, centred[:, self._waveform :]], axis=1)
        return np.asarray(codes / self._scale, dtype=np.float32)

    def decode(self, codes: Vectors) -> Vectors:
        """Give vectors: (n, P) -> (n, D)."""
        scaled = codes * self._scale
        vectors = np.concatenate([scaled[:, : self._components] @ self._basis, scaled[:, self._components :]], axis=1) + self._mean
        return np.asarray(vectors, dtype=np.float32)

    def arrays(self) -> Arrays:
        """Give mean (D,), basis (P - R, D - R) and scale (P,)."""
        return {"mean": self._mean, "basis": self._basis, "scale": self._scale}


class FrequencySpace:
    """Cosine frequencies of the waveform up to 40 Hz, and the rhythm; nothing in it is learnt from beats.

    Parameters
    ----------
    arrays : dict
        ``leads``, ``samples``, ``kept`` frequencies a lead and ``rhythm`` columns, each (1,).

    Notes
    -----
    Frequency k is divided by 1 / (1 + k / 30) mV, about the spread of simulated beats to the power of 0.3; the logarithm of
    RR is counted from 0.8 s in units of 0.3.
    """

    def __init__(self, arrays: Arrays) -> None:
        leads, samples, kept, rhythm = (float(arrays[name][0]) for name in ("leads", "samples", "kept", "rhythm"))
        if not (leads >= 1 and 1 <= kept <= samples and leads * samples <= MOST_SAMPLES and 0 <= rhythm <= len(RHYTHM)):
            raise ValueError("beats cannot be of such frequencies")
        self._leads, self._samples, self._kept, self._rhythm = int(leads), int(samples), int(kept), int(rhythm)
        self._scale = (1 / (1 + np.arange(self._kept) / 30)).astype(np.float32)
        self.size = self._leads * self._kept + self._rhythm

    @classmethod
    def of(cls, n_leads: int, n_samples: int, n_rhythm: int, fs: float) -> Self:
        """Set up for beats of this shape: samples at `fs` Hz."""
        kept = min(n_samples, 1 + round(_HIGHEST * 2 * n_samples / fs))
        numbers = {"leads": n_leads, "samples": n_samples, "kept": kept, "rhythm": n_rhythm}
        return cls({name: np.array([number], dtype=np.float32) for name, number in numbers.items()})

    def encode(self, vectors: Vectors) -> Vectors:
        """Give coordinates: (n, D) -> (n, P)."""
        from scipy.fft import dct

        waveform, rhythm = np.split(vectors, [self._leads * self._samples], axis=1)
        waves = dct(waveform.reshape(-1, self._leads, self._samples), norm="ortho", axis=2)[:, :, : self._kept] / self._scale
        return np.concatenate([waves.reshape(len(vectors), -1), (rhythm - _USUAL_RR) / _SPREAD_RR], axis=1, dtype=np.float32)

    def decode(self, codes: Vectors) -> Vectors:
        """Give vectors: (n, P) -> (n, D)."""
        from scipy.fft import idct

        waves, rhythm = np.split(codes, [self._leads * self._kept], axis=1)
        waveform = idct(waves.reshape(-1, self._leads, self._kept) * self._scale, n=self._samples, norm="ortho", axis=2)
        return np.concatenate([waveform.reshape(len(codes), -1), rhythm * _SPREAD_RR + _USUAL_RR], axis=1, dtype=np.float32)

    def arrays(self) -> Arrays:
        """Give the numbers that it is set up with."""
        numbers = {"leads": self._leads, "samples": self._samples, "kept": self._kept, "rhythm": self._rhythm}
        return {name: np.array([number], dtype=np.float32) for name, number in numbers.items()}
