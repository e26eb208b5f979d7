"""Beats: one heartbeat a row, cut from records or made by a generator, with what is known of each."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES, LABELS
from ecgsynth.places import local_copy, place
from ecgsynth.untrusted import arrays_of, column_of, of_beats, of_json

FS = 360.0
BEFORE = 0.3
AFTER = 148 / 360
FLAT_MV = 0.02
"""A window that moves less than this, peak to peak in mV, holds no heartbeat: four steps of MIT-BIH's converter."""
MOST_MV = 10_000.0
"""More than any ECG reaches, mV: recorders bear 300 mV of their electrodes (IEC 60601-2-25), and an R wave whose microvolts are taken
for millivolts has some thousands. Squares of so much are far from the end of single precision."""
DIGEST_MV = 0.01
"""Waveforms that are closer than this, in mV, are the same to `Beats.digest`: two steps of MIT-BIH's converter."""

FORMAT = 1

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
    def window(self) -> tuple[int, int, float, int]:
        """What beats must have in common to be set beside each other: leads, samples, samples a second, and the sample of the R peak."""
        return self.n_leads, self.n_samples, self.fs, self.r_sample

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
        return hashlib.sha256(self.rounded().tobytes() + "".join(self.classes.tolist()).encode()).hexdigest()

    def rounded(self) -> NDArray[np.float32]:
        """Give the signals as whole multiples of 0.01 mV."""
        return np.rint(self.signals * np.float32(1 / DIGEST_MV)) + np.float32(0)  # which makes -0 a 0

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
        path = place(path)
        if not path.is_file():
            raise EcgsynthError(f"no beats file at {path}")
        try:
            with local_copy(path) as here:
                arrays = arrays_of(here, {"head", "signals", *_COLUMNS})
            if "head" not in arrays:
                raise EcgsynthError(f"{path} is no beats file of ecgsynth: it has no array called head, which `ecgsynth beats` writes")
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


def impossible(beats: Beats) -> NDArray[np.bool_]:
    """Say which beats hold what is no number, or lies beyond `MOST_MV`: (n_beats,)."""
    axes = tuple(range(1, beats.signals.ndim))
    return ~((beats.signals.max(axis=axes) <= MOST_MV) & (beats.signals.min(axis=axes) >= -MOST_MV))  # NaN is neither


def of_others(beats: Beats, *, than: Beats) -> bool:
    """Say whether all beats are of patients of whom there are none among others; not, where a beat may be of anybody."""
    known = beats.patients.all() and than.patients.all()
    return bool(known and not np.isin(beats.patients, than.patients).any())


def refuse_impossible(beats: Beats, what: str) -> None:
    """Raise if nothing can be learnt from, or said of, some of these beats, which are called `what`.

    Raises
    ------
    EcgsynthError
        If `impossible` says so of any.
    """
    odd = np.flatnonzero(impossible(beats))
    if len(odd):
        first = f"number {odd[0]:,}" + (f", of record {beats.records[odd[0]]}" if beats.records[odd[0]] else "")
        beyond = f"values that are not finite, or beyond {MOST_MV:,.0f} mV, which no ECG reaches"
        raise EcgsynthError(f"{len(odd):,} of the {what} beats hold {beyond}: leave them out (the first is {first})")


def concatenate(parts: Sequence[Beats]) -> Beats:
    """Join beats of one length, rate and R position; `source` and `info` are those of the first.

    Raises
    ------
    ValueError
        If there is nothing to join, or the beats do not fit together.
    """
    if not parts:
        raise ValueError("nothing to join")
    shapes = {part.window for part in parts}
    if len(shapes) > 1:
        raise EcgsynthError(f"beats of different (n_leads, n_samples, fs, r_sample) cannot be joined: {sorted(shapes)}")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return replace(parts[0], signals=np.concatenate([part.signals for part in parts]), **columns)
