"""Whether synthetic beats are as various as real ones, and how near they come to those learnt from."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


class Manifold(NamedTuple):
    """How two sets of beats lie to each other; each in 0 to 1 but density, more is better.

    Parameters
    ----------
    precision : float
        Share of synthetic beats within reach of a real one: plausible.
    recall : float
        Share of real beats within reach of a synthetic one: no kind left out.
    density : float
        How many real beats have a synthetic one within their reach, over how many would by their own spacing.
    coverage : float
        Share of real beats that have a synthetic one within reach of them.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(*, real: Features, synthetic: Features, neighbors: int = 5) -> Manifold:
    """Compare two sets by the reach of each point: the distance to its k-th neighbour in its own set.

    Parameters
    ----------
    real, synthetic : array, shape (n, d)
        Vectors or features of beats, in one space; of like size, as reaches shrink with more points.
    neighbors : int
        k.

    Returns
    -------
    Manifold

    Raises
    ------
    ValueError
        If a set has no more than k points.

    References
    ----------
    Kynkäänniemi T et al. Improved precision and recall metric for assessing generative models (2019),
    doi:10.48550/arXiv.1904.06991; Naeem MF et al. Reliable fidelity and diversity metrics for generative
    models (2020), doi:10.48550/arXiv.2002.09797: density and coverage.
    """
    from sklearn.neighbors import NearestNeighbors

    if min(len(real), len(synthetic)) <= neighbors:
        raise ValueError(f"more than {neighbors} beats are needed on each side")
    among_real = NearestNeighbors(n_neighbors=neighbors, algorithm="brute").fit(real)
    among_synthetic = NearestNeighbors(n_neighbors=neighbors, algorithm="brute").fit(synthetic)
    reach_of_real = among_real.kneighbors()[0][:, -1]  # without arguments a point is not its own neighbour
    reach_of_synthetic = among_synthetic.kneighbors()[0][:, -1]
    precision = recall = density = 0.0
    covered = np.zeros(len(real), dtype=bool)
    for start in range(0, len(synthetic), _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = distances(real, synthetic[part])  # (n_real, chunk)
        within = apart <= reach_of_real[:, None]
        precision += float(within.any(axis=0).sum())
        density += float(within.sum())
        covered |= within.any(axis=1)
    for start in range(0, len(real), _CHUNK):
        apart = distances(real[start : start + _CHUNK], synthetic)
        recall += float((apart <= reach_of_synthetic).any(axis=1).sum())
    n_real, n_synthetic = len(real), len(synthetic)
    return Manifold(precision / n_synthetic, recall / n_real, density / (neighbors * n_synthetic), float(covered.mean()))


def nearest_distances(*, beats: Features, among: Features) -> NDArray[np.float64]:
    """Give the distance of each beat to the nearest of others: (n, d), (m, d) -> (n,)."""
    return np.asarray(_nearest(beats, among)[0], dtype=np.float64)


def nearest_places(*, beats: Features, among: Features) -> NDArray[np.int64]:
    """Say which of others is nearest to each beat: (n, d), (m, d) -> (n,)."""
    return np.asarray(_nearest(beats, among)[1], dtype=np.int64)


def _nearest(beats: Features, among: Features) -> tuple[Features, NDArray[np.int64]]:
    from sklearn.neighbors import NearestNeighbors

    distances, places = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(among).kneighbors(beats)
    return distances[:, 0], places[:, 0]


_CHUNK = 1000  # points compared with all others at a time


def distances(one: Features, other: Features) -> NDArray[np.float64]:
    """Give how far each of one set is from each of another: (n, d), (m, d) -> (n, m)."""
    from sklearn.metrics import pairwise_distances

    return np.asarray(pairwise_distances(one, other))
