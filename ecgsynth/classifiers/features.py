"""What classifiers see of a beat."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.vectors import RHYTHM, log_rhythm, shape_of

FEATURES = ("shape", "shape+rr")
"""What a classifier may see of a beat: its waveform, or that and both RR intervals, over their running mean where that is known."""

_COMPONENTS = 32
_TINY = 1e-6  # mV

Features = NDArray[np.float32]


def told_rhythm(beats: Beats, n_rhythm: int) -> Features:
    """Give the logarithm of RR before and after: of each over the running mean if that is the third of `n_rhythm` that are known.

    Raises
    ------
    EcgsynthError
        If the beats do not know as much of their rhythm.
    """
    if not np.isfinite(beats.rr_before).any() or n_rhythm > shape_of(beats).n_rhythm:
        raise EcgsynthError("these beats lack RR intervals that the classifier is to use: use features='shape'")
    rhythm = log_rhythm(beats, n_rhythm)
    return rhythm[:, :2] - rhythm[:, 2:] if n_rhythm == len(RHYTHM) else rhythm


class BeatFeatures:
    """A beat in few numbers: principal components of its waveform, what lies outside them, and its rhythm if asked for.

    Parameters
    ----------
    rhythm : bool
        Whether the rhythm is among them.
    """

    def __init__(self, *, rhythm: bool = False) -> None:
        self.rhythm = rhythm

    def fit(self, beats: Beats, *others: Beats) -> Self:
        """Find the components of these beats, of several sets together if they are to be told apart."""
        from sklearn.decomposition import PCA

        waveforms = np.concatenate([side.signals.reshape(len(side), -1) for side in (beats, *others)])
        self._pca = PCA(min(_COMPONENTS, *waveforms.shape), svd_solver="covariance_eigh").fit(waveforms)
        self._n_rhythm = shape_of(beats).n_rhythm
        return self

    @property
    def n_told(self) -> int:
        """How many of the last columns are of the rhythm."""
        return 2 * self.rhythm

    def transform(self, beats: Beats) -> Features:
        """Give the components (mV), the logarithm of the distance from them (mV), and the rhythm: (n, 33) or (n, 35).

        Raises
        ------
        EcgsynthError
            If the rhythm is asked for, and these beats do not know it as those of `fit` did.
        """
        waveforms = beats.signals.reshape(len(beats), -1)
        codes = self._pca.transform(waveforms)
        outside = np.linalg.norm(waveforms - self._pca.inverse_transform(codes), axis=1)
        told = [told_rhythm(beats, self._n_rhythm)] if self.rhythm else []
        return np.column_stack([codes, np.log(outside + _TINY), *told]).astype(np.float32)
