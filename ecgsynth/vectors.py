"""Beats as vectors: the waveform and its rhythm in one row, which generators learn and make."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats

Vectors = NDArray[np.float32]

RHYTHM = ("rr_before", "rr_after", "rr_mean")
"""What the last columns of a vector are the logarithm of, in s; the last of them only where it is known."""

_SECONDS = (0.1, 10.0)  # an RR interval beyond these is a gap in the annotations, not a rhythm
_UNKNOWN_RR = 0.8


class Shape(NamedTuple):
    """How the columns of a vector are laid out: each lead's samples in turn, then the first `n_rhythm` of `RHYTHM`."""

    n_leads: int
    n_samples: int
    n_rhythm: int = 2

    @property
    def waveform(self) -> int:
        """Columns of the waveform."""
        return self.n_leads * self.n_samples

    @property
    def size(self) -> int:
        """Columns in all."""
        return self.waveform + self.n_rhythm


def shape_of(beats: Beats) -> Shape:
    """Give the layout of the vectors of these beats; the running mean is part of it if it is known wherever RR is."""
    mean_known = np.isfinite(beats.rr_mean[np.isfinite(beats.rr_before)])
    return Shape(beats.n_leads, beats.n_samples, len(RHYTHM) if len(mean_known) and mean_known.all() else len(RHYTHM) - 1)


def to_vectors(beats: Beats, n_rhythm: int | None = None) -> Vectors:
    """Set waveform and rhythm of each beat in a row.

    Parameters
    ----------
    beats : Beats
        Real or synthetic.
    n_rhythm : int, optional
        How many of `RHYTHM` are set there; as `shape_of` says if not given.

    Returns
    -------
    array of float32, shape (n_beats, n_leads * n_samples + n_rhythm)
        mV, then the natural logarithm of RR before, RR after and, if known, their running mean in s, clipped
        to 0.1 to 10 s. An unknown interval is filled with the beat's other one, else with the median of the
        beats; an unknown mean with the median of the means.
    """
    return np.concatenate(
        [beats.signals.reshape(len(beats), -1), log_rhythm(beats, n_rhythm or shape_of(beats).n_rhythm)], axis=1, dtype=np.float32
    )


def log_rhythm(beats: Beats, n_rhythm: int) -> NDArray[np.float32]:
    """Give the logarithm of the first so many of `RHYTHM`, as in `to_vectors`: (n_beats, n_rhythm)."""
    rr = np.stack([beats.rr_before, beats.rr_after], axis=1)
    parts = [np.where(np.isfinite(rr), rr, rr[:, ::-1]), beats.rr_mean[:, None]][: n_rhythm - 1]
    return np.concatenate([np.log(np.clip(_filled(part), *_SECONDS)) for part in parts], axis=1, dtype=np.float32)


def from_vectors(vectors: Vectors, shape: Shape) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Take rows apart again: signals (n, n_samples) or (n, n_leads, n_samples) in mV, and each of `RHYTHM` by its name (n,) in s."""
    signals = vectors[:, : shape.waveform]
    if shape.n_leads > 1:
        signals = signals.reshape(len(vectors), shape.n_leads, shape.n_samples)
    rhythm = np.exp(np.clip(vectors[:, shape.waveform :].T, *np.log(_SECONDS)))
    return signals, dict(zip(RHYTHM, rhythm, strict=False))


def _filled(rr: NDArray[np.float32]) -> NDArray[np.float32]:
    known = rr[np.isfinite(rr)]
    return np.where(np.isfinite(rr), rr, np.median(known) if len(known) else _UNKNOWN_RR)
