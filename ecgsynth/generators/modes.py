"""What stands within a label: modes, which are clusters of its beats, and the styles of patients."""

import math

import numpy as np
import torch
from torch import Tensor

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Cells
from ecgsynth.vectors import Vectors

# Shapes: n training beats, B batch, P coordinates of a beat.

_MOST_MODES = 64  # of a label and lead
_FEWEST = 40  # beats of a mode: fewer join the nearest other


class Blend:
    """Blends beats with others of their mode, so that none is learnt as it was recorded.

    A beat x of a mode with mean m becomes m + sqrt(1 - share^2) (x - m) + share (y - m), where y is a beat of the mode drawn anew at
    each call: the mean and the covariance of the mode stay what they are.

    Parameters
    ----------
    codes : Tensor, shape (n, P)
        Training beats.
    modes : Tensor of int, shape (n,)
        Of each.
    share : float
        Of the other beat.

    References
    ----------
    Beats between beats: Chawla NV et al. SMOTE (2002), doi:10.1613/jair.953, and Zhang H et al. mixup (2018),
    doi:10.48550/arXiv.1710.09412; these make modes narrower, and weights whose squares add up to 1 do not.
    """

    def __init__(self, codes: Tensor, modes: Tensor, share: float) -> None:
        self.share = share
        self._counts = modes.bincount()
        self._firsts = self._counts.cumsum(0) - self._counts
        self._codes = codes[modes.argsort()]
        sums = torch.zeros(len(self._counts), codes.shape[1], dtype=torch.float64).index_add_(0, modes, codes.double())
        self._means = (sums / self._counts.clamp(min=1)[:, None]).to(codes)

    def __call__(self, beats: Tensor, modes: Tensor, random: torch.Generator) -> Tensor:
        """Blend each beat with another of its mode: (B, P), (B,) -> (B, P)."""
        if not self.share:
            return beats
        chance = torch.rand(len(beats), generator=random, dtype=torch.float64)
        other = self._codes[self._firsts[modes] + (chance * self._counts[modes]).long()]
        mean = self._means[modes]
        return mean + math.sqrt(1 - self.share**2) * (beats - mean) + self.share * (other - mean)


def find_modes(codes: Vectors, cells: Cells, size: int, seed: int) -> Cells:
    """Give the mode of each beat: beats of a cell are divided into clusters of about `size`, none very small."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    modes = np.zeros(len(codes), dtype=np.int64)
    for cell in np.unique(cells):
        own = np.flatnonzero(cells == cell)
        count = min(max(1, round(len(own) / size)), _MOST_MODES) if size else 1
        with threadpool_limits(1):  # several threads would add up in no fixed order
            found = KMeans(count, random_state=seed).fit(codes[own])
        large = np.flatnonzero(np.bincount(found.labels_) >= _FEWEST)
        nearest = found.transform(codes[own])[:, large].argmin(axis=1) if len(large) else np.zeros(len(own), dtype=np.int64)
        modes[own] = nearest + (modes.max() + 1 if cell else 0)
    return modes


def nearest_modes(codes: Vectors, cells: Cells, known: Vectors, known_cells: Cells, modes: Cells) -> Cells:
    """Give the mode of new beats: that of their cell whose mean, over the beats of known mode, is nearest."""
    from sklearn.metrics import pairwise_distances_argmin

    found = np.zeros(len(codes), dtype=np.int64)
    for cell in np.unique(cells):
        own = modes[known_cells == cell]
        names, places = np.unique(own, return_inverse=True)
        sums = np.zeros((len(names), known.shape[1]))
        np.add.at(sums, places, known[known_cells == cell])
        means = (sums / np.bincount(places)[:, None]).astype(np.float32)
        found[cells == cell] = names[pairwise_distances_argmin(codes[cells == cell], means)]
    return found


def find_styles(train: Beats, codes: Vectors, size: int) -> Vectors:
    """Give the style of each beat's patient: principal components of the patients' mean beats, of spread 1."""
    from sklearn.decomposition import PCA

    patients, places = np.unique(train.patients, return_inverse=True)
    if len(patients) <= size:
        raise EcgsynthError(f"{size} numbers of style need more than {size} training patients; there are {len(patients)}")
    means = np.stack([codes[places == number].mean(axis=0) for number in range(len(patients))])
    styles = PCA(size, whiten=True, random_state=0).fit_transform(means)
    return np.asarray(styles[places], dtype=np.float32)
