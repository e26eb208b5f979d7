"""Strips: beats set one after another into continuous records, each with its R peak annotated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import CLASS_TO_SYMBOL
from ecgsynth.records import Record

UNKNOWN_RR = 0.8
"""RR interval, s, of beats that do not know theirs."""

_ECTOPIC = ("S", "V", "F")
_COMPONENTS = 8  # of the waveform, by which beats are alike
_RR_MV = 0.25  # as unlike as beats this far apart are those whose RR intervals differ by a factor of e
_RR_S = (0.25, 3.0)  # beats nearer than this could not both be shown, and a longer pause is none of a record's
_OWN_S = 0.08  # around its R peak a beat is shown as it is
_NEXT_S = 0.12  # before the R peak of the next beat, in which its QRS complex begins
_PASSAGE_S = 0.05  # in which, at least, one beat passes into the next
_EDGE_S = 0.5  # of baseline before the first and after the last beat's window
_NOISE_OF = 5  # samples at either end of a beat, whose roughness the baseline between two beats takes on

# Shapes: n beats, C leads, L samples of a beat, T of a strip.
Floats = NDArray[np.float64]
Samples = NDArray[np.int64]


def arrange(beats: Beats) -> Samples:
    """Say in which order beats make a record that might be of a heart.

    Parameters
    ----------
    beats : Beats
        At least one.

    Returns
    -------
    array of int64, shape (n_beats,)
        The number of each beat. Normal and paced beats follow each other so that the next is, of those left, the one that is
        most like the last in waveform and rhythm; ectopic beats (S, V, F) stand among them one by one, at even distances,
        where the rate is about theirs.
    """
    before, after = _rhythm(beats)
    ectopic = np.isin(beats.classes, _ECTOPIC)
    likeness = np.column_stack([_components(beats), _RR_MV * np.log(before), _RR_MV * np.log(after)])
    background, single = np.flatnonzero(~ectopic), np.flatnonzero(ectopic)
    if not len(background):
        return single[_chain(likeness[single])]
    ground = background[_chain(likeness[background])]
    if not len(single):
        return ground
    gaps = ((np.arange(len(single)) + 0.5) * len(ground) / len(single)).astype(np.int64)
    usual = np.where(np.isfinite(beats.rr_mean), beats.rr_mean, np.sqrt(before * after))
    # The sum of differences is least if both are taken in the order of their size.
    taken = gaps[np.argsort(before[ground[gaps]], kind="stable")]
    placed = single[np.argsort(usual[single], kind="stable")]
    keys = np.concatenate([np.arange(len(ground)), taken - 0.5])
    return np.concatenate([ground, placed])[np.argsort(keys, kind="stable")]


def draw(beats: Beats, name: str, *, seed: int | Sequence[int] = 0) -> Record:
    """Set beats into a continuous record, one after another.

    Parameters
    ----------
    beats : Beats
        At least one, all of the same leads, in the order of `arrange`.
    name : str
        Of the record: letters, digits, ``-`` and ``_``.
    seed : int or sequence of int
        Of the noise of the baseline between beats.

    Returns
    -------
    Record
        mV, at the rate of the beats, annotated with their symbols, or with the general symbol of their class.

    Raises
    ------
    EcgsynthError
        If there are no beats, or some are of other leads.

    Notes
    -----
    The interval between two beats is the later one's RR before, to a sample, but an ectopic beat's RR after where another
    follows it; at least 0.25 and at most 3 s. What the window of a beat shows of the one that came after it, sooner than the next
    beat of the strip does, is left out. Where the windows of two beats overlap, one passes into the other, and within 80 ms
    of its R peak each is as it was. Where they do not reach each other, the baseline leads from one to the other, as rough as
    they are there.
    """
    leads = np.unique(beats.leads)
    if len(leads) != 1:
        raise EcgsynthError("a strip is of beats of the same leads" if len(leads) else "a strip needs at least one beat")
    edge = round(_EDGE_S * beats.fs)
    intervals = np.maximum(np.rint(_intervals(beats) * beats.fs).astype(np.int64), 1)
    peaks = edge + beats.r_sample + np.concatenate([[0], np.cumsum(intervals)])
    waves = beats.signals.reshape(len(beats), beats.n_leads, beats.n_samples)
    signals = _joined(waves, peaks, _shown(beats), beats, edge, np.random.default_rng(seed))
    names = tuple(str(leads[0]).split("+")) if beats.n_leads > 1 else (str(leads[0]),)
    if len(names) != beats.n_leads or len(set(names)) < len(names) or not all(names):  # unnamed, or not told apart
        names = tuple(f"ECG{number}" for number in range(1, beats.n_leads + 1)) if beats.n_leads > 1 else ("ECG",)
    return Record(name=name, signals=signals, leads=names, fs=beats.fs, symbols=symbols_of(beats), samples=peaks)


def symbols_of(beats: Beats) -> NDArray[np.str_]:
    """Give the annotation symbol of each beat, or the general one of its class: (n_beats,)."""
    general = np.array([CLASS_TO_SYMBOL[name] for name in beats.classes.tolist()], dtype="U1")
    return np.where(beats.symbols == "", general, beats.symbols)


def _rhythm(beats: Beats) -> tuple[Floats, Floats]:
    """Give RR before and after, within what a strip can show: (n,), (n,)."""
    before, after = (np.where(np.isfinite(rr), rr, UNKNOWN_RR).astype(np.float64) for rr in (beats.rr_before, beats.rr_after))
    return np.clip(before, *_RR_S), np.clip(after, *_RR_S)


def _intervals(beats: Beats) -> Floats:
    """Give the time from each beat to the next, s: (n,) -> (n - 1,)."""
    before, after = _rhythm(beats)
    ectopic = np.isin(beats.classes, _ECTOPIC)
    return np.where(ectopic[:-1] & ~ectopic[1:], after[:-1], before[1:])


def _components(beats: Beats) -> Floats:
    """Give the waveform in few numbers, whose distances are in mV, root mean square: (n, L) -> (n, 8)."""
    from sklearn.decomposition import PCA

    waves = beats.signals.reshape(len(beats), -1).astype(np.float64)
    if len(waves) < _COMPONENTS:
        return np.zeros((len(waves), 1))
    found = PCA(min(_COMPONENTS, waves.shape[1]), svd_solver="covariance_eigh").fit_transform(waves)
    return np.asarray(found / np.sqrt(waves.shape[1]))


def _chain(points: Floats) -> Samples:
    """Begin in the middle, and let each point be followed by the nearest of those left: (n, d) -> (n,)."""
    from_middle = points - np.median(points, axis=0)
    squares = (from_middle**2).sum(axis=1)
    order = [int(squares.argmin())]
    for _ in range(len(points) - 1):
        squares[order[-1]] = np.inf  # no more to be chosen
        order.append(int((squares - 2 * (from_middle @ from_middle[order[-1]])).argmin()))
    return np.array(order, dtype=np.int64)


def _shown(beats: Beats) -> Samples:
    """Give how many samples of each window are shown: what is of the beat after it only if that is where it was, (n,)."""
    after = _rhythm(beats)[1]
    intervals = np.append(_intervals(beats), np.inf)
    own = np.maximum(np.rint((after - _NEXT_S) * beats.fs), round(_OWN_S * beats.fs)).astype(np.int64)
    return np.where(after < intervals - 1 / beats.fs, np.minimum(beats.r_sample + own, beats.n_samples), beats.n_samples)


def _joined(
    waves: NDArray[np.float32], peaks: Samples, shown: Samples, beats: Beats, edge: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw the strip: (n, C, L), (n,) -> (T, C)."""
    length, least = beats.n_samples, round(_PASSAGE_S * beats.fs)
    own_before, own_after = (min(round(_OWN_S * beats.fs), side) for side in (beats.r_sample, length - beats.r_sample - 1))
    starts = peaks - beats.r_sample
    strip = np.zeros((waves.shape[1], int(starts[-1]) + length + edge), dtype=np.float32)
    nothing = np.zeros_like(waves[0])
    places = [-length, *starts.tolist(), strip.shape[1]]  # before the first and after the last beat there is nothing
    free = [0, *(peaks + own_after + 1).tolist(), strip.shape[1]]
    taken = [0, *(peaks - own_before).tolist(), strip.shape[1]]
    last, lengths = nothing, [length, *shown.tolist()]
    for number, wave in enumerate([*waves, nothing], start=1):
        ended, start = places[number - 1] + lengths[number - 1], places[number]
        begin, end = _passage(ended, start, least, free[number - 1], taken[number])
        strip[:, begin:end] = _passing(last, wave, np.arange(begin, end) - places[number - 1], np.arange(begin, end) - start, rng)
        strip[:, end : start + length] = wave[:, end - start :][:, : strip.shape[1] - end]
        last = wave[:, : lengths[number]] if number < len(lengths) else wave
    return strip.T


def _passage(ended: int, start: int, least: int, free: int, taken: int) -> tuple[int, int]:
    """Say from where to where one beat passes into the next: where their windows overlap, or between them, but near neither R peak."""
    begin, end = min(ended, start), max(ended, start)
    more = max(0, least - (end - begin))
    begin, end = max(begin - more // 2, free), min(end + more - more // 2, taken)
    if end - begin < least:
        begin = max(free, end - least)
    if begin >= end and free < taken:  # a window that ends soon after its R peak, far within that of the next beat
        begin, end = free, min(free + least, taken)
    return (begin, end) if begin < end else ((free + taken) // 2, (free + taken) // 2 + 1)  # the R peaks are too near each other


def _passing(last: NDArray[np.float32], wave: NDArray[np.float32], of_last: Samples, of_next: Samples, rng: np.random.Generator) -> Floats:
    """Pass from one beat into the next at these samples of either; beyond its window a beat stays at its level: (C, passage)."""
    share = (1 - np.cos(np.pi * (np.arange(len(of_last)) + 1) / (len(of_last) + 1))) / 2
    between = (of_last >= last.shape[1]) & (of_next < 0)
    noise = rng.standard_normal((len(last), len(of_last) + 2))
    smooth = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / np.sqrt(6)  # no rougher than a record after a low-pass filter
    ends = [end for end in (_roughness(last[:, -_NOISE_OF:]), _roughness(wave[:, :_NOISE_OF])) if end.any()]
    rough = np.min(ends, axis=0) if ends else 0.0
    held = [side[:, np.clip(at, 0, side.shape[1] - 1)] for side, at in ((last, of_last), (wave, of_next))]
    return np.asarray((1 - share) * held[0] + share * held[1] + rough * np.sin(np.pi * share) * between * smooth)


def _roughness(end: NDArray[np.float32]) -> Floats:
    """Give the noise at the end of a beat, mV: what is left of it beside a parabola, (C, 5) -> (C, 1)."""
    third = np.diff(end, n=3, axis=1)
    return np.sqrt((third**2).mean(axis=1, keepdims=True, dtype=np.float64) / 20) if third.size else np.zeros((len(end), 1))
