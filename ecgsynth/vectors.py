"""Beats as vectors: the waveform and its rhythm in one row, which generators learn and make."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats

Vectors = NDArray[np.float32]

RHYTHM = 2
"""The last columns of a vector: the logarithm of RR before and of RR after, in s."""

_SECONDS = (0.1, 10.0)  # an RR interval beyond these is a gap in the annotations, not a rhythm
_UNKNOWN_RR = 0.8


class Shape(NamedTuple):
    """How the columns of a vector are laid out: each lead's samples in turn, then the rhythm."""

    n_leads: int
    n_samples: int

    @property
    def waveform(self) -> int:
        """Columns of the waveform."""
        return self.n_leads * self.n_samples

    @property
    def size(self) -> int:
        """Columns in all."""
        return self.waveform + RHYTHM


def shape_of(beats: Beats) -> Shape:
    """Give the layout of the vectors of these beats."""
    return Shape(beats.n_leads, beats.n_samples)


def to_vectors(beats: Beats) -> Vectors:
    """Set waveform and rhythm of each beat in a row.

    Parameters
    ----------
    beats : Beats
        Real or synthetic.

    Returns
    -------
    array of float32, shape (n_beats, n_leads * n_samples + 2)
        mV, then the natural logarithm of RR before and RR after in s, clipped to 0.1 to 10 s. An
        unknown interval is filled with the beat's other one, else with the median of the beats.
    """
    return np.concatenate([beats.signals.reshape(len(beats), -1), log_rhythm(beats)], axis=1, dtype=np.float32)


def log_rhythm(beats: Beats) -> NDArray[np.float32]:
    """Give the logarithm of both RR intervals, as in `to_vectors`: (n_beats, 2)."""
    rr = np.stack([beats.rr_before, beats.rr_after], axis=1)
    rr = np.where(np.isfinite(rr), rr, rr[:, ::-1])
    known = rr[np.isfinite(rr)]
    usual = np.median(known) if len(known) else _UNKNOWN_RR
    return np.log(np.clip(np.where(np.isfinite(rr), rr, usual), *_SECONDS)).astype(np.float32)


def from_vectors(vectors: Vectors, shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Take rows apart again: signals (n, n_samples) or (n, n_leads, n_samples) in mV, RR before and RR after (n,) in s."""
    signals = vectors[:, : shape.waveform]
    if shape.n_leads > 1:
        signals = signals.reshape(len(vectors), *shape)
    before, after = np.exp(np.clip(vectors[:, shape.waveform :].T, *np.log(_SECONDS)))
    return signals, before, after
