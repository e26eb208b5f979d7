"""Beats: one heartbeat a row, cut from records or made by a generator, with what is known of each."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES, LABELS, aami_classes
from ecgsynth.records import LEADS, Record, choose_leads
from ecgsynth.steps import map_lazily
from ecgsynth.untrusted import arrays_of, column_of, of_beats, of_json

FS = 360.0
BEFORE = 0.3
AFTER = 148 / 360
BAND = (0.5, 40.0)
FLAT_MV = 0.02
"""A window that moves less than this, peak to peak in mV, holds no heartbeat: four steps of MIT-BIH's converter."""
RR_AROUND = 1000
"""RR intervals before a beat, and as many after it, of which `Beats.rr_mean` is the mean: a quarter of an hour to each side."""

DIGEST_MV = 0.01
"""Waveforms that are closer than this, in mV, are the same to `Beats.digest`: two steps of MIT-BIH's converter."""

FORMAT = 1

_LONG = 3.0  # s: longer intervals, which are pauses or gaps in the annotations, count as this in the running mean
_UNKNOWN: Any = None  # a column that was not given: filled in on creation


@dataclass(frozen=True)
class Beats:
    """Heartbeats of one length, real or synthetic.

    Parameters
    ----------
    signals : array of float32, shape (n_beats, n_samples) or (n_beats, n_leads, n_samples)
        mV; the R peak is at sample `r_sample` of each. Beats of one lead have two dimensions.
    classes : array of str, shape (n_beats,)
        AAMI class.
    fs : float
        Sampling rate in Hz.
    r_sample : int
        Where in each window the annotated R peak lies.
    symbols : array of str, shape (n_beats,)
        Annotation symbol; ``""`` where only the class is known, as in most synthetic beats.
    records, patients, leads, sexes : array of str, shape (n_beats,)
        Where each beat is from; ``""`` where unknown. Synthetic beats have no patient. The names of
        several leads are joined by ``+``.
    samples : array of int64, shape (n_beats,)
        The R peak's sample number in its record, at the record's own rate. In synthetic beats the number
        by which the generator's `sample` makes the same beat again.
    rr_before, rr_after : array of float32, shape (n_beats,)
        Time from the beat before and to the beat after, s; NaN where there is none.
    rr_mean : array of float32, shape (n_beats,)
        What is usual for the patient at that time: the mean RR interval around the beat, s; NaN where unknown.
    ages : array of float32, shape (n_beats,)
        Years; NaN where unknown.
    source : str
        ``"real"``, ``"simulated"`` or the name of the generator that made them.
    info : mapping
        Anything else worth keeping that is plain JSON: how they were cut, what was left out, a
        model's hash.
    """

    signals: NDArray[np.float32]
    classes: NDArray[np.str_]
    fs: float = FS
    r_sample: int = round(BEFORE * FS)
    symbols: NDArray[np.str_] = _UNKNOWN
    records: NDArray[np.str_] = _UNKNOWN
    patients: NDArray[np.str_] = _UNKNOWN
    leads: NDArray[np.str_] = _UNKNOWN
    sexes: NDArray[np.str_] = _UNKNOWN
    samples: NDArray[np.int64] = _UNKNOWN
    rr_before: NDArray[np.float32] = _UNKNOWN
    rr_after: NDArray[np.float32] = _UNKNOWN
    rr_mean: NDArray[np.float32] = _UNKNOWN
    ages: NDArray[np.float32] = _UNKNOWN
    source: str = "real"
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signals = np.asarray(self.signals, dtype=np.float32)
        if signals.ndim not in (2, 3):
            raise ValueError(f"signals must be (n_beats, n_samples) or (n_beats, n_leads, n_samples), not {signals.shape}")
        object.__setattr__(self, "signals", signals)
        for name, (dtype, unknown) in _COLUMNS.items():
            column = getattr(self, name)
            column = np.full(len(signals), unknown, dtype) if column is None else np.asarray(column).astype(dtype, copy=False)
            if column.shape != (len(signals),):
                raise ValueError(f"{name} must have one entry a beat: {len(signals)}, not {column.shape}")
            object.__setattr__(self, name, column)
        strange = sorted(set(np.unique(self.classes).tolist()) - set(AAMI_CLASSES))
        if strange:
            raise ValueError(f"unknown class {', '.join(map(repr, strange))}; known: {', '.join(AAMI_CLASSES)}")

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def n_samples(self) -> int:
        """Samples a beat and lead."""
        return int(self.signals.shape[-1])

    @property
    def n_leads(self) -> int:
        """Leads a beat."""
        return int(self.signals.shape[1]) if self.signals.ndim == 3 else 1

    @property
    def is_synthetic(self) -> bool:
        """Whether a generator made these beats."""
        return self.source not in ("real", "simulated")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all that has one entry a beat, but the signals."""
        return tuple(_COLUMNS)

    def labels(self, by: str = "class") -> NDArray[np.str_]:
        """Give the AAMI class or the annotation symbol of each beat.

        Raises
        ------
        EcgsynthError
            If `by` is neither ``"class"`` nor ``"symbol"``, or a symbol is unknown.
        """
        if by not in LABELS:
            raise EcgsynthError(f"beats are told apart by {' or '.join(LABELS)}, not by {by!r}")
        labels = self.classes if by == "class" else self.symbols
        if not labels.all():
            raise EcgsynthError("these beats have no annotation symbols: only their classes are known")
        return labels

    def counts(self, by: str = "class") -> dict[str, int]:
        """Count the beats of each label that is there, in the order of `ecgsynth.labels.LABELS`."""
        found = Counter(self.labels(by).tolist())
        return {name: found[name] for name in LABELS[by] if found[name]}

    def take(self, index: NDArray[Any]) -> "Beats":
        """Give the beats at `index`: integers or a mask."""
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in _COLUMNS}
        return replace(self, signals=self.signals[index], **columns)

    def digest(self) -> str:
        """Return the SHA-256 of the signals and their classes, by which the same beats are known again.

        Signals count to 0.01 mV, as the last digits of filtered ones differ from one kind of processor to another.
        """
        rounded = np.rint(self.signals * np.float32(1 / DIGEST_MV)) + np.float32(0)  # which makes -0 a 0
        return hashlib.sha256(rounded.tobytes() + "".join(self.classes.tolist()).encode()).hexdigest()

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write one ``.npz`` that loads without pickle.

        Raises
        ------
        EcgsynthError
            If `path` exists and `force` is not set, or it cannot be written.
        """
        head = {"format": FORMAT, "fs": self.fs, "r_sample": self.r_sample, "source": self.source, "info": dict(self.info)}
        columns = {name: getattr(self, name) for name in _COLUMNS}
        with atomic_path(path, force=force) as temporary, open(temporary, "wb") as file:
            np.savez(file, head=np.array(json.dumps(head)), signals=self.signals, **columns)

    @classmethod
    def load(cls, path: str | Path) -> "Beats":
        """Read what `save` wrote.

        Raises
        ------
        EcgsynthError
            If there is no such file, or it holds no beats.
        """
        if not Path(path).is_file():
            raise EcgsynthError(f"no beats file at {path}")
        try:
            arrays = arrays_of(path)
            head = of_json(str(column_of("head", arrays["head"], "U")))
            if head["format"] != FORMAT:
                raise EcgsynthError(f"{path} is of format {head['format']}; this version reads format {FORMAT}")
            there = [name for name in _COLUMNS if name in arrays or name != "rr_mean"]  # which version 0.1.0 did not write
            kinds = {"signals": "f", **{name: _KINDS[_COLUMNS[name][0]] for name in there}}
            columns: dict[str, Any] = {name: column_of(name, arrays[name], kind) for name, kind in kinds.items()}
            return cls(**columns, **of_beats(head, arrays["signals"].shape))
        except EcgsynthError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EcgsynthError(f"{path} is no beats file, or it is damaged ({error})") from error


# Every field that has one entry a beat: its dtype and what stands for "unknown".
_COLUMNS: dict[str, tuple[Any, Any]] = {
    "classes": (np.str_, ""),
    "symbols": (np.str_, ""),
    "records": (np.str_, ""),
    "patients": (np.str_, ""),
    "leads": (np.str_, ""),
    "sexes": (np.str_, ""),
    "samples": (np.int64, -1),
    "rr_before": (np.float32, np.nan),
    "rr_after": (np.float32, np.nan),
    "rr_mean": (np.float32, np.nan),
    "ages": (np.float32, np.nan),
}
_KINDS = {np.str_: "U", np.int64: "iu", np.float32: "f"}
assert set(_COLUMNS) < {f.name for f in fields(Beats)}


def concatenate(parts: Sequence[Beats]) -> Beats:
    """Join beats of one length, rate and R position; `source` and `info` are those of the first.

    Raises
    ------
    ValueError
        If there is nothing to join, or the beats do not fit together.
    """
    if not parts:
        raise ValueError("nothing to join")
    shapes = {(part.n_leads, part.n_samples, part.fs, part.r_sample) for part in parts}
    if len(shapes) > 1:
        raise EcgsynthError(f"beats of different (n_leads, n_samples, fs, r_sample) cannot be joined: {sorted(shapes)}")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return replace(parts[0], signals=np.concatenate([part.signals for part in parts]), **columns)


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
        ``info["left_out"]`` lists ``[record, symbol, reason, count]`` for every annotated beat that
        could not be cut: at an ``"edge"`` of the record, over ``"non-finite"`` samples, or where the
        signal of a lead is ``"flat"``.

    Raises
    ------
    EcgsynthError
        If no beat is left, a record has none of the leads, or the window or the band does not fit.
    """
    if before < 0 or after <= 0 or round((before + after) * fs) < 2:
        raise EcgsynthError(f"the window of {before} s before and {after} s after the R peak is empty")
    if band is not None and not 0 < band[0] < band[1] < fs / 2:
        raise EcgsynthError(f"the band {band[0]} to {band[1]} Hz must lie between 0 and half of {fs:g} Hz, low before high")

    def cut(record: Record) -> tuple[Beats, list[tuple[str, str, str, int]]]:
        return _cut_record(record, choose_leads(record.leads, lead), round(before * fs), round(after * fs), fs, band)

    parts = map_lazily(cut, records, workers)
    kept = [beats for beats, _ in parts if len(beats)]
    if len({beats.n_leads for beats in kept}) > 1:
        raise EcgsynthError("the records differ in their number of leads: choose one lead instead of all")
    left_out = [row for _, rows in parts for row in rows]
    if not kept:
        raise EcgsynthError("no beat could be cut: the records hold no beat annotation, or none fits its window")
    info = {"before": before, "after": after, "band": band, "left_out": left_out}
    return replace(concatenate(kept), source=source, info=info)


def _cut_record(
    record: Record, channels: Sequence[int], n_before: int, n_after: int, fs: float, band: tuple[float, float] | None
) -> tuple[Beats, list[tuple[str, str, str, int]]]:
    n_samples = n_before + n_after
    leads = [_windows(record.signals[:, channel], record, n_before, n_samples, fs, band) for channel in channels]
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
        fs=fs,
        r_sample=n_before,
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
    signal: NDArray[np.float32], record: Record, n_before: int, n_samples: int, fs: float, band: tuple[float, float] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.str_]]:
    """Give all windows of one lead, each beat's among them, and why that cannot be used, or ``""``."""
    raw, centers = _resample(signal, record.samples, record.fs, fs)
    clean = _band_pass(raw, fs, band)
    starts = centers - n_before
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
