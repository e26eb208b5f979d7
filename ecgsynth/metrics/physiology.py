"""Whether beats are those of hearts: their waves measured as a cardiologist would, and compared with those of real beats."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats

Values = NDArray[np.float64]

# Shapes: n beats, L samples.


class Measure(NamedTuple):
    """What is measured of a beat: its unit, and within which limits it is normal in adults, if there are any."""

    title: str
    unit: str
    limits: tuple[float, float] | None = None


MEASURES = {
    # Over 110 ms the QRS is prolonged: Surawicz B et al. Circulation 119(10):e235-e240 (2009),
    # doi:10.1161/CIRCULATIONAHA.108.191095.
    "qrs": Measure("QRS duration", "ms", (0, 110)),
    # Surawicz B, Knilans T. Chou's electrocardiography in clinical practice, 6th ed. (2008), chapter 1: PR 120 to
    # 200 ms, 60 to 100 beats a minute.
    "pr": Measure("PR interval", "ms", (120, 200)),
    "rr": Measure("RR before", "ms", (600, 1000)),
    # Rautaharju PM et al. Circulation 119(10):e241-e250 (2009), doi:10.1161/CIRCULATIONAHA.108.191096: QT corrected
    # for rate is normal from 390 ms up to 450 in men and 460 in women. Here it is not corrected.
    "qt": Measure("QT interval", "ms"),
    "r": Measure("R amplitude", "mV"),
    "p": Measure("P amplitude", "mV"),
    "t": Measure("T amplitude", "mV"),
    "st": Measure("ST level", "mV"),
}
"""What `measure_waves` gives, by its short name."""

_EACH = 1.0  # s that each beat has in the strip
_ST_S = 0.06  # s after the end of the QRS
_P_S, _T_S = (-0.26, -0.07), (0.12, 0.4)  # s from the R peak: where P and T waves are looked for
_P_WIDTH_S = (0.03, 0.15)  # at half its height
_P_SMOOTHED_S = 0.01  # spread of the smoothing before a P wave is looked for
_FEW = 10  # beats: with fewer the strip is too short to delineate, and they are repeated
_P_MV = 0.05  # half a small square of ECG paper: a lower hump is taken for no P wave
_FEWEST = 20  # values that a distance is worth taking of


def measure_waves(beats: Beats) -> dict[str, Values]:
    """Measure the waves of each beat.

    Beats are set into one strip, a second each, joined by straight lines, and delineated there.

    Parameters
    ----------
    beats : Beats
        Of one class, so that a beat's neighbours in the strip are like it; of several leads the first is measured.

    Returns
    -------
    dict of str to array, shape (n_beats,)
        Each of `MEASURES`; NaN where it could not be measured. Amplitudes are above the median of the beat's
        window, that of T the largest either way 120 to 400 ms after the R peak. That of P is how far the most prominent
        hump 260 to 70 ms before the R peak stands out of what is about it, 0 where there is none of 30 to 150 ms: slopes,
        drift, and the beginning of a wide QRS are no P waves. The ST level, 60 ms after the end of the QRS, is above its
        beginning; PR is that of beats with a P wave.

    Notes
    -----
    Durations are the delineator's: it measures QRS complexes too wide, and QT too short where T is inverted, of
    real and of synthetic beats alike. P waves are looked for without it, as it finds one before every beat. Of lead II of MIT-BIH
    an upright P wave of 0.05 mV or more is found in 0.91 of sinus beats, 0.17 of beats in atrial fibrillation, 0.13 of
    junctional, 0.07 of paced and 0.38 of ventricular ones, which may follow a P wave.

    References
    ----------
    Martínez JP et al. A wavelet-based ECG delineator. IEEE Trans Biomed Eng 51(4):570-581 (2004),
    doi:10.1109/TBME.2003.821031; as implemented in neurokit2 (Makowski D et al. Behav Res Methods
    53:1689-1696 (2021), doi:10.3758/s13428-020-01516-y).
    """
    import neurokit2 as nk

    signals = np.asarray(beats.signals if beats.n_leads == 1 else beats.signals[:, 0], dtype=np.float64)
    rounds = -(-_FEW // len(beats))
    strip, peaks = _strip(np.tile(signals, (rounds, 1)), beats.r_sample, beats.fs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means over nothing, where no wave is found
        _, found = nk.ecg_delineate(strip, {"ECG_R_Peaks": peaks}, sampling_rate=beats.fs, method="dwt")
    at = {name: _within(np.asarray(found[f"ECG_{name}"], dtype=np.float64), peaks, beats)[: len(beats)] for name in _MARKS}
    ms, level = 1000 / beats.fs, signals - np.median(signals, axis=1, keepdims=True)
    p_wave = _humps(signals, _P_S, beats)
    return {
        "qrs": ms * (at["R_Offsets"] - at["R_Onsets"]),
        "pr": np.where(p_wave >= _P_MV, ms * (at["R_Onsets"] - at["P_Onsets"]), np.nan),
        "rr": 1000 * beats.rr_before.astype(np.float64),
        "qt": ms * (at["T_Offsets"] - at["R_Onsets"]),
        "r": level[:, beats.r_sample],
        "p": p_wave,
        "t": _largest(level, _T_S, beats),
        "st": _heights(level, at["R_Offsets"] + _ST_S * beats.fs) - _heights(level, at["R_Onsets"]),
    }


_MARKS = ("P_Onsets", "R_Onsets", "R_Offsets", "T_Offsets")


def _strip(signals: Values, r_sample: int, fs: float) -> tuple[Values, NDArray[np.int64]]:
    """Join beats by straight lines: (n, L) -> the strip and the sample of each R peak in it."""
    count, length = signals.shape
    gap = max(2, round(_EACH * fs) - length)
    share = np.linspace(0, 1, gap + 2)[1:-1]
    following = np.roll(signals[:, 0], -1)
    lines = signals[:, -1:] * (1 - share) + following[:, None] * share
    return np.concatenate([signals, lines], axis=1).ravel(), r_sample + np.arange(count) * (length + gap)


def _within(marks: Values, peaks: NDArray[np.int64], beats: Beats) -> Values:
    """Give the sample of each mark in the window of its beat; those that lie outside are forgotten."""
    place = marks - (peaks - beats.r_sample)
    return np.where((place >= 0) & (place < beats.n_samples), place, np.nan)


def _largest(level: Values, between: tuple[float, float], beats: Beats) -> Values:
    """Give the largest deflection, up or down, between two times in s from the R peak: (n, L) -> (n,)."""
    part = level[:, _part(between, beats)]
    return np.asarray(part[np.arange(len(part)), np.abs(part).argmax(axis=1)])


def _humps(signals: Values, between: tuple[float, float], beats: Beats) -> Values:
    """Give the prominence of the most prominent hump between two times in s from the R peak: (n, L) -> (n,); 0 without one."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    part = gaussian_filter1d(signals, _P_SMOOTHED_S * beats.fs, axis=1)[:, _part(between, beats)]
    width = tuple(seconds * beats.fs for seconds in _P_WIDTH_S)
    found = (find_peaks(beat, prominence=0, width=width)[1]["prominences"] for beat in part)
    return np.array([prominences.max(initial=0.0) for prominences in found])


def _part(between: tuple[float, float], beats: Beats) -> slice:
    first, last = (min(max(0, beats.r_sample + round(time * beats.fs)), beats.n_samples - 1) for time in between)
    return slice(first, last + 1)


def _heights(level: Values, places: Values) -> Values:
    """Give the level at a sample of each beat: (n, L), (n,) -> (n,); NaN where there is none."""
    known = np.isfinite(places) & (places < level.shape[1])
    values = np.full(len(places), np.nan)
    values[known] = level[known, places[known].astype(np.int64)]
    return values


def shares(measured: Mapping[str, Values]) -> dict[str, float]:
    """Give the share of beats with an upright P and T wave, and outside the normal limits of each measure.

    Parameters
    ----------
    measured : mapping of str to array
        What `measure_waves` gives.

    Returns
    -------
    dict of str to float
        0 to 1, of the beats where it could be measured; NaN where there are none. A P wave is 0.05 mV high, as lead II shows
        it in sinus rhythm.
    """
    found = {"upright P": _share(measured["p"] >= _P_MV, measured["p"]), "upright T": _share(measured["t"] > 0, measured["t"])}
    for name, measure in MEASURES.items():
        if measure.limits is not None:
            low, high = measure.limits
            found[f"{measure.title} not normal"] = _share((measured[name] < low) | (measured[name] > high), measured[name])
    return found


def _share(true: NDArray[np.bool_], of: Values) -> float:
    known = np.isfinite(of)
    return float(true[known].mean()) if known.any() else float("nan")


def wave_distances(*, real: Mapping[str, Values], synthetic: Mapping[str, Values]) -> dict[str, float]:
    """Compare the distributions of each measure: the Wasserstein distance, in the measure's unit.

    Parameters
    ----------
    real, synthetic : mapping of str to array
        What `measure_waves` gives of either side.

    Returns
    -------
    dict of str to float
        By how much values must be moved in the mean to make one distribution of the other; less is better.
        NaN where a side has fewer than 20 values.

    References
    ----------
    Ramdas A, García Trillos N, Cuturi M. Entropy 19(2):47 (2017), doi:10.3390/e19020047; as implemented in scipy.
    """
    from scipy.stats import wasserstein_distance

    distances = {}
    for name in MEASURES:
        sides = [side[name][np.isfinite(side[name])] for side in (real, synthetic)]
        distances[name] = float(wasserstein_distance(*sides)) if min(map(len, sides)) >= _FEWEST else float("nan")
    return distances
