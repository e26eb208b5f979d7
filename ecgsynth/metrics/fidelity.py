"""Whether synthetic beats are distributed as real ones: distances between two sets of beats, 0 for equal ones."""

import numpy as np
from numpy.typing import NDArray

from ecgsynth.metrics.diversity import Features

# Shapes: n, m beats of either set, d features, L samples.

_CHUNK = 1000  # beats compared with all others at a time
_MEDIAN_OF = 2000  # beats whose distances the bandwidth is the median of
_WARP_S = 0.1  # a wave is taken for the same wave up to this far away
_FLOOR = 1e-6  # mV^2: power below this is noise of the arithmetic


def median_distance(features: Features) -> float:
    """Give the median distance between two of these points, by at most 2000 of them: (n, d) -> its unit.

    Where that is 0, as most are alike, it is that of points which differ, and 1 if none do.
    """
    from scipy.spatial.distance import pdist

    step = -(-len(features) // _MEDIAN_OF)
    apart = pdist(np.asarray(features[::step], dtype=np.float64))
    return float(np.median(apart)) or float(np.median(apart[apart > 0])) if apart.any() else 1.0


def mmd(*, real: Features, synthetic: Features, bandwidth: float | None = None) -> float:
    """Estimate the squared maximum mean discrepancy with a Gaussian kernel, without bias.

    Parameters
    ----------
    real, synthetic : array, shape (n, d) and (m, d)
        Features in one space.
    bandwidth : float, optional
        Of the kernel exp(-distance^2 / (2 bandwidth^2)); the median distance between real beats if not
        given, so that all generators are measured by one kernel.

    Returns
    -------
    float
        0 in the mean for equal distributions, and so below 0 as often as above; less is better.

    Raises
    ------
    ValueError
        If a set has fewer than two points.

    References
    ----------
    Gretton A et al. A kernel two-sample test. J Mach Learn Res 13:723-773 (2012).
    """
    from sklearn.metrics.pairwise import rbf_kernel

    _refuse_fewer_than_two(real, synthetic)
    width = bandwidth if bandwidth is not None else median_distance(real)

    def mean_kernel(one: Features, other: Features, *, itself: bool) -> float:
        chunks = (np.asarray(one[start : start + _CHUNK], dtype=np.float64) for start in range(0, len(one), _CHUNK))
        total = sum(float(rbf_kernel(chunk, other, gamma=1 / (2 * width**2)).sum()) for chunk in chunks)
        # A point beside itself says nothing; leaving it out takes the bias away.
        return (total - len(one)) / (len(one) * (len(one) - 1)) if itself else total / (len(one) * len(other))

    within = mean_kernel(real, real, itself=True) + mean_kernel(synthetic, synthetic, itself=True)
    return within - 2 * mean_kernel(real, synthetic, itself=False)


def frechet_distance(*, real: Features, synthetic: Features) -> float:
    """Measure the squared Fréchet distance between the normal distributions that fit both sets best.

    Parameters
    ----------
    real, synthetic : array, shape (n, d) and (m, d)
        Features in one space; of like size, as few points look further apart.

    Returns
    -------
    float
        |mean - mean'|^2 + trace(C + C' - 2 (C C')^(1/2)), less is better.

    Raises
    ------
    ValueError
        If a set has fewer than two points.

    References
    ----------
    Dowson DC, Landau BV. J Multivar Anal 12(3):450-455 (1982), doi:10.1016/0047-259X(82)90077-X; as a score
    of generators: Heusel M et al. (2017), doi:10.48550/arXiv.1706.08500.
    """
    _refuse_fewer_than_two(real, synthetic)
    sides = [np.asarray(side, dtype=np.float64) for side in (real, synthetic)]
    shift = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    one, other = (np.atleast_2d(np.cov(side, rowvar=False)) for side in sides)
    root = _root(one)
    # The root of C C' has the trace of the root of C^(1/2) C' C^(1/2), which is symmetric.
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(max(0.0, shift @ shift + np.trace(one) + np.trace(other) - 2 * common))


def _refuse_fewer_than_two(*sides: Features) -> None:
    if min(map(len, sides)) < 2:
        raise ValueError("at least two beats are needed on each side")


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def spectrum_distance(*, real: Features, synthetic: Features, fs: float, band: tuple[float, float] = (0.5, 40.0)) -> float:
    """Measure how far the mean power spectra of two sets of beats lie apart.

    Parameters
    ----------
    real, synthetic : array, shape (n, L) and (m, L)
        Waveforms of one lead, mV.
    fs : float
        Hz.
    band : (float, float)
        Frequencies compared, Hz.

    Returns
    -------
    float
        Root mean square difference of the levels, dB; less is better. 3 dB is a factor of two in power.

    References
    ----------
    Gray AH, Markel JD. Distance measures for speech processing. IEEE Trans Acoust 24(5):380-391 (1976),
    doi:10.1109/TASSP.1976.1162849: the log spectral distance, here of the mean spectra of both sides.
    """
    from scipy.signal import periodogram

    levels = []
    for side in (real, synthetic):
        frequencies, power = periodogram(np.asarray(side, dtype=np.float64), fs, window="hann", scaling="spectrum", axis=-1)
        inside = (frequencies >= band[0]) & (frequencies <= band[1])
        levels.append(10 * np.log10(power[:, inside].mean(axis=0) + _FLOOR))
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2)))


def warped_distances(*, beats: Features, to: NDArray[np.floating], fs: float) -> NDArray[np.float64]:
    """Measure the distance of each beat to one other beat, by dynamic time warping.

    Parameters
    ----------
    beats : array, shape (n, L)
        Waveforms of one lead, mV.
    to : array, shape (L,)
        Such as the mean beat of a class.
    fs : float
        Hz; waves are matched up to 100 ms apart.

    Returns
    -------
    array, shape (n,)
        Root of the summed squared differences along the best path, mV; never more than the Euclidean distance.

    References
    ----------
    Sakoe H, Chiba S. IEEE Trans Acoust 26(1):43-49 (1978), doi:10.1109/TASSP.1978.1163055; as implemented in
    dtaidistance.
    """
    from dtaidistance import dtw

    both = np.concatenate([np.asarray(to, dtype=np.float64)[None], np.asarray(beats, dtype=np.float64)])
    window = max(1, round(_WARP_S * fs)) + 1  # dtaidistance counts the diagonal
    found = dtw.distance_matrix_fast(both, window=window, block=((0, 1), (1, len(both))), compact=True, parallel=False)
    return np.asarray(found, dtype=np.float64)
