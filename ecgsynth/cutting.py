"""Cutting records into beats: a window around each annotated R peak, filtered, with the rhythm it stands in."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import AFTER, BEFORE, FLAT_MV, FS, MOST_MV, Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import aami_classes
from ecgsynth.records import LEADS, Record, choose_leads
from ecgsynth.steps import map_lazily
from ecgsynth.untrusted import MOST_SAMPLES, RATES

BAND = (0.5, 40.0)
RR_AROUND = 1000
"""RR intervals before a beat, and as many after it, of which `Beats.rr_mean` is the mean: a quarter of an hour to each side."""

Lost = tuple[str, str, str, int]
"""Beats that could not be cut: record, symbol, reason, and how many."""

_LONG = 3.0  # s: longer intervals, which are pauses or gaps in the annotations, count as this in the running mean


@dataclass(frozen=True)
class Window:
    """How beats are cut.

    Parameters
    ----------
    lead, before, after, fs, band
        As for `extract_beats`.

    Raises
    ------
    EcgsynthError
        If the window is empty or too long, or the sampling rate or the band does not fit.
    """

    lead: str | Sequence[str] = LEADS
    before: float = BEFORE
    after: float = AFTER
    fs: float = FS
    band: tuple[float, float] | None = BAND

    def __post_init__(self) -> None:
        if not RATES[0] <= self.fs <= RATES[1]:
            raise EcgsynthError(f"the sampling rate of the beats (--fs) must be {RATES[0]:g} to {RATES[1]:g} Hz, not {self.fs:g}")
        if not (0 <= self.before < math.inf and 0 < self.after < math.inf) or self.n_samples < 2:
            raise EcgsynthError(f"the window of {self.before} s before and {self.after} s after the R peak is empty, or has no end")
        self.refuse_long(1)
        if self.band is not None and not 0 < self.band[0] < self.band[1] < self.fs / 2:
            low, high = self.band
            raise EcgsynthError(f"the band {low} to {high} Hz must lie between 0 and half of {self.fs:g} Hz, low before high")

    @property
    def n_before(self) -> int:
        """Samples before the R peak."""
        return round(self.before * self.fs)

    @property
    def n_samples(self) -> int:
        """Samples of a beat."""
        return self.n_before + round(self.after * self.fs)

    def refuse_long(self, n_leads: int) -> None:
        """Raise if beats of so many leads would be longer than any file of beats may say."""
        if n_leads * self.n_samples > MOST_SAMPLES:
            raise EcgsynthError(
                f"beats of {n_leads} x {self.n_samples:,} samples are too long: {MOST_SAMPLES:,} at most, all leads together "
                "(--before, --after, --fs, --lead)"
            )


def extract_beats(
    records: Iterable[Record],
    *,
    lead: str | Sequence[str] = LEADS,
    before: float = BEFORE,
    after: float = AFTER,
    fs: float = FS,
    band: tuple[float, float] | None = BAND,
    source: str = "real",
    workers: int = 2,
) -> Beats:
    """Cut the annotated beats out of records.

    Parameters
    ----------
    records : iterable of Record
        Taken one at a time, so a lazy reader stays lazy.
    lead : str or sequence of str
        Leads by preference; ``"first"`` stands for a record's first, ``"all"`` for all leads of a
        record together.
    before, after : float
        The window around the annotated R peak, s. The defaults give 108 + 148 = 256 samples at 360 Hz.
    fs : float
        Sampling rate of the beats, Hz; records of another rate are resampled.
    band : (float, float) or None
        Pass band in Hz, or None for no filter. A Butterworth filter of order 4, run forward and
        backward, so without phase shift.
    source : str
        What the beats are marked as.
    workers : int
        Threads that cut at a time.

    Returns
    -------
    Beats
        ``info["left_out"]`` lists ``[record, symbol, reason, count]`` for every annotated beat that could not be cut: at an
        ``"edge"`` of the record, over ``"non-finite"`` samples, as which those beyond `ecgsynth.beats.MOST_MV` count, or where
        the signal of a lead is ``"flat"``.

    Raises
    ------
    EcgsynthError
        If no beat is left, a record has none of the leads, or the window or the band does not fit.
    """
    window = Window(lead, before, after, fs, band)
    parts = map_lazily(lambda record: cut_record(record, window), records, workers)
    kept = [beats for beats, _ in parts if len(beats)]
    if len({beats.n_leads for beats in kept}) > 1:
        raise EcgsynthError("the records differ in their number of leads: choose one lead instead of all")
    left_out = [row for _, rows in parts for row in rows]
    if not kept:
        raise EcgsynthError("no beat could be cut: the records hold no beat annotation, or none fits its window")
    info = {"before": before, "after": after, "band": band, "left_out": left_out}
    return replace(concatenate(kept), source=source, info=info)


def cut_record(record: Record, window: Window) -> tuple[Beats, list[Lost]]:
    """Cut the annotated beats out of one record.

    Returns
    -------
    Beats
        In the order of their annotations; there may be none.
    list of Lost
        What could not be cut.

    Raises
    ------
    EcgsynthError
        If the record has none of the leads, or its beats would be too long.
    """
    channels = choose_leads(record.leads, window.lead)
    window.refuse_long(len(channels))
    leads = [_windows(record.signals[:, channel], record, window) for channel in channels]
    reasons = leads[0][2]
    for _, _, others in leads[1:]:  # a beat is kept if it is whole in every lead
        reasons = np.where(reasons == "", others, reasons)
    keep = reasons == ""
    windows = [windows[starts[keep]] for windows, starts, _ in leads]
    seconds = np.diff(record.samples) / record.fs
    n_kept = int(keep.sum())
    beats = Beats(
        signals=np.stack(windows, axis=1) if len(windows) > 1 else windows[0],
        classes=aami_classes(record.symbols)[keep],
        fs=window.fs,
        r_sample=window.n_before,
        symbols=record.symbols[keep],
        records=np.full(n_kept, record.name),
        patients=np.full(n_kept, record.patient),
        leads=np.full(n_kept, "+".join(record.leads[channel] for channel in channels)),
        sexes=np.full(n_kept, record.sex),
        samples=record.samples[keep],
        rr_before=np.concatenate([[np.nan], seconds])[: len(keep)][keep],
        rr_after=np.concatenate([seconds, [np.nan]])[: len(keep)][keep],
        rr_mean=_running_mean(seconds)[: len(keep)][keep],
        ages=np.full(n_kept, record.age),
    )
    lost = Counter(zip(record.symbols[~keep].tolist(), reasons[~keep].tolist(), strict=True))
    return beats, [(record.name, symbol, reason, count) for (symbol, reason), count in sorted(lost.items())]


def _running_mean(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the mean of the RR intervals around each of the n + 1 beats that n intervals lie between; NaN where there is none."""
    if not len(seconds):
        return np.array([np.nan])
    places = np.arange(len(seconds) + 1)
    first, last = np.maximum(places - RR_AROUND, 0), np.minimum(places + RR_AROUND, len(seconds))
    sums = np.concatenate([[0.0], np.cumsum(np.minimum(seconds, _LONG))])
    return np.asarray((sums[last] - sums[first]) / (last - first))


def _windows(
    signal: NDArray[np.float32], record: Record, window: Window
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.str_]]:
    """Give all windows of one lead, each beat's among them, and why that cannot be used, or ``""``."""
    signal = np.where(np.abs(signal) <= MOST_MV, signal, np.float32(np.nan))  # what no ECG reaches is as good as missing
    raw, centers = _resample(signal, record.samples, record.fs, window.fs)
    clean = _band_pass(raw, window.fs, window.band)
    n_samples = window.n_samples
    starts = centers - window.n_before
    inside = (starts >= 0) & (starts + n_samples <= len(raw))
    safe = np.where(inside, starts, 0)
    if len(raw) < n_samples:
        raw = clean = np.zeros(n_samples, dtype=np.float32)
    raw_windows = np.lib.stride_tricks.sliding_window_view(raw, n_samples)[safe]
    finite = np.asarray(np.isfinite(raw_windows).all(axis=1))
    moving = np.ptp(np.where(finite[:, None], raw_windows, 0), axis=1) >= FLAT_MV
    reasons = np.select([~inside, ~finite, ~moving], ["edge", "non-finite", "flat"], default="")
    return np.lib.stride_tricks.sliding_window_view(clean, n_samples), safe, reasons


def _resample(
    signal: NDArray[np.float32], samples: NDArray[np.int64], fs_from: float, fs_to: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Bring a signal and the sample numbers in it to another rate; missing stretches stay missing."""
    if fs_from == fs_to:
        return signal, samples
    from scipy.signal import resample_poly

    ratio = Fraction(fs_to / fs_from).limit_denominator(1000)
    filled, missing = _fill_gaps(signal)
    resampled = resample_poly(filled, ratio.numerator, ratio.denominator, padtype="line").astype(np.float32)
    exact = float(ratio)  # the clock of the resampled signal, which differs a little from that asked for at odd rates
    centers = np.rint(samples * exact).astype(np.int64)
    if missing.any():
        origin = np.rint(np.arange(len(resampled)) / exact).astype(np.int64)
        resampled[missing[np.minimum(origin, len(missing) - 1)]] = np.nan
    return resampled, centers


def _band_pass(signal: NDArray[np.float32], fs: float, band: tuple[float, float] | None) -> NDArray[np.float32]:
    if band is None:
        return signal
    from scipy.signal import butter, sosfiltfilt

    sections = butter(4, band, "bandpass", fs=fs, output="sos")
    filled, _ = _fill_gaps(signal)
    # A short record cannot be padded as far as scipy would like.
    padding = min(len(filled) - 1, 3 * (2 * len(sections) + 1))
    if padding < 0:
        return signal
    return np.asarray(sosfiltfilt(sections, filled, padlen=padding), dtype=np.float32)


def _fill_gaps(signal: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bridge non-finite stretches by straight lines, so that a filter does not spread them."""
    missing = np.asarray(~np.isfinite(signal))
    if not missing.any() or missing.all():
        return np.nan_to_num(signal, posinf=0, neginf=0) if missing.any() else signal, missing
    filled = signal.copy()
    filled[missing] = np.interp(np.flatnonzero(missing), np.flatnonzero(~missing), signal[~missing])
    return filled, missing
