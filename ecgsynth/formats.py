"""The files in which synthetic beats leave: Parquet, CSV, npz and WFDB, each read back as it was written."""

import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.gate import REASONS
from ecgsynth.headers import first_line
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.places import place
from ecgsynth.records import Record
from ecgsynth.tables import TableFile
from ecgsynth.untrusted import column_of, conform, is_whole, of_beats, of_json, text_of

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("wfdb", "parquet", "csv", "npz")

CSV_HZ, CSV_COLUMNS, CSV_STEP = 125, 187, 1e-4
"""The layout of the heartbeat categorisation set: sampling rate, columns of the waveform, and the step to which they are rounded."""

PASSED, FAILED, NOT_ASKED = "passed", "failed", "not asked"

_CSV_RR = 1.2  # of the RR interval around a beat that a row of the CSV shows
_CSV_MEDIAN_OF = 11  # intervals: about those of ten seconds
_RHYTHM = ("rr_before", "rr_after", "rr_mean")


@dataclass(frozen=True)
class Rows:
    """Synthetic beats with where each is from and where it stands.

    Parameters
    ----------
    beats : Beats
        ``records`` names the WFDB record in which each stands, ``samples`` the number by which its generator makes it again.
    places : array of int64, shape (n_beats,)
        The sample of its R peak in that record.
    asked : array of str, shape (n_beats,)
        The lead that the generator was asked for, which is part of how it makes the beat again; ``""`` for any.
    against : array of bool, shape (n_beats, 8), optional
        Which reasons of the gate speak against it; None if it was not asked.
    """

    beats: Beats
    places: NDArray[np.int64]
    asked: NDArray[np.str_]
    against: NDArray[np.bool_] | None = None

    def take(self, index: NDArray[np.int64]) -> "Rows":
        """Give the rows at `index`."""
        against = None if self.against is None else self.against[index]
        return Rows(self.beats.take(index), self.places[index], self.asked[index], against)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Join rows, all of which the gate was asked about or none."""
    against = [part.against for part in parts if part.against is not None]
    return Rows(
        concatenate([part.beats for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.asked for part in parts]),
        np.concatenate(against) if against else None,
    )


def to_table(rows: Rows, *, first_row: int = 0) -> "pa.Table":
    """Set beats in an Arrow table, one row a beat, numbered from `first_row` on; its schema says what each column is."""
    import pyarrow as pa

    beats, info = rows.beats, rows.beats.info
    flat = pa.array(beats.signals.reshape(-1))
    verdicts = np.full(len(beats), NOT_ASKED) if rows.against is None else np.where(rows.against.any(axis=1), FAILED, PASSED)
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(first_row, first_row + len(beats))),
        "signal": pa.FixedSizeListArray.from_arrays(flat, beats.n_leads * beats.n_samples),
        "class": pa.array(beats.classes.tolist(), pa.string()),
        "symbol": pa.array(beats.symbols.tolist(), pa.string()),
        **{name: pa.array(getattr(beats, name), from_pandas=True) for name in _RHYTHM},  # NaN becomes null
        "lead": pa.array(beats.leads.tolist(), pa.string()),
        "fs": pa.array(np.full(len(beats), beats.fs, np.float64)),
        "generator": pa.array([beats.source] * len(beats), pa.string()),
        "model_sha256": pa.array([info.get("model_sha256", "")] * len(beats), pa.string()),
        "seed": pa.array(np.full(len(beats), info.get("seed", -1), np.int64)),
        "number": pa.array(beats.samples),
        "asked_lead": pa.array([lead or None for lead in rows.asked.tolist()], pa.string()),
        "gate": pa.array(verdicts.tolist(), pa.string()),
        "reasons": pa.array(_reasons(rows), pa.list_(pa.string())),
        "record": pa.array(beats.records.tolist(), pa.string()),
        "sample": pa.array(rows.places),
    }
    fields = [pa.field(name, column.type, metadata={"description": DESCRIPTIONS[name]}) for name, column in columns.items()]
    head = {"fs": beats.fs, "r_sample": beats.r_sample, "n_leads": beats.n_leads, "source": beats.source, "info": dict(info)}
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields, metadata={"ecgsynth": json.dumps(head)}))


DESCRIPTIONS = {
    "row": "number of the row in the dataset, from 0: what `ecgsynth sample --index` asks for",
    "signal": "the beat, mV, float32; of several leads one after another",
    "class": "AAMI class: N, S, V, F or Q",
    "symbol": "annotation symbol of MIT-BIH, empty where only the class is known",
    "rr_before": "time from the beat before, s; null where unknown",
    "rr_after": "time to the beat after, s; null where unknown",
    "rr_mean": "mean RR interval that is usual for the patient at that time, s; null where unknown",
    "lead": "lead, or leads joined by +",
    "fs": "sampling rate, Hz",
    "generator": "name of the generator",
    "model_sha256": "SHA-256 of the model's file",
    "seed": "seed of sampling",
    "number": "number of the beat to its generator: model, seed, label, asked_lead and number make the same beat again",
    "asked_lead": "lead that the generator was asked for, null for any",
    "gate": "passed, failed or not asked",
    "reasons": "what speaks against the beat",
    "record": "WFDB record in which the beat stands, empty if there is none",
    "sample": "sample of the R peak in that record, -1 if there is none",
}
"""Column of the Parquet files -> what it is."""


def _reasons(rows: Rows) -> list[list[str]]:
    if rows.against is None or not rows.against.any():
        return [[] for _ in range(len(rows.beats))]
    return [[REASONS[number] for number in np.flatnonzero(against)] for against in rows.against]


def from_table(table: "pa.Table") -> Beats:
    """Take the beats out of a table that `to_table` made.

    Raises
    ------
    EcgsynthError
        If it is none.
    """
    try:
        head = of_json(table.schema.metadata[b"ecgsynth"])
        values = np.concatenate([part.flatten().to_numpy(zero_copy_only=False) for part in table["signal"].chunks])
        leads, samples = conform(head, {"n_leads": is_whole})["n_leads"], len(values) // max(1, len(table) * head["n_leads"])
        shape = (len(table), leads, samples) if leads > 1 else (len(table), samples)
        keep = of_beats(head, shape)
        if empty := [name for name in (*_TEXT.values(), "signal") if table[name].null_count]:
            raise ValueError(f"{', '.join(empty)} of some beat is missing")
        text: dict[str, Any] = {name: text_of(name, table[column].to_pylist()) for name, column in _TEXT.items()}
        rhythm: dict[str, Any] = {name: column_of(name, table[name].to_numpy(), "f").astype(np.float32) for name in _RHYTHM}
        numbers = column_of("number", table["number"].to_numpy(), "iu")
        signals = column_of("signal", values, "f").reshape(shape)
        return Beats(signals=signals, samples=numbers, **text, **rhythm, **keep)
    except (KeyError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise EcgsynthError(f"this table holds no beats of ecgsynth ({error})") from error


_TEXT = {"classes": "class", "symbols": "symbol", "leads": "lead", "records": "record"}
_READ = [name for name in DESCRIPTIONS if name in (*_TEXT.values(), *_RHYTHM, "signal", "number")]


def write_parquet(rows: Rows, path: Path, *, first_row: int = 0) -> None:
    """Write beats as Parquet, one row a beat, numbered from `first_row` on: the same bytes for the same beats."""
    import pyarrow.parquet as pq

    with atomic_path(path, force=True) as temporary:
        pq.write_table(to_table(rows, first_row=first_row), temporary, compression="zstd")


def read_parquet(paths: Sequence[str | Path]) -> Beats:
    """Read the beats of one or more files that `write_parquet` wrote.

    Raises
    ------
    EcgsynthError
        If a file is none of these, or there is no file.
    """
    parts = [_named(place(path), lambda path: from_table(read_columns(path, _READ))) for path in paths]
    if not parts:
        raise EcgsynthError("there is no Parquet file to read")
    return concatenate(parts)


def read_columns(path: str | Path, columns: Sequence[str] | None = None) -> "pa.Table":
    """Read some columns of a Parquet file of beats, or all.

    Raises
    ------
    EcgsynthError
        If it is none, lacks one of them or rows, or says that it has far more rows than so many bytes can hold.
    """

    def read(path: Path) -> "pa.Table":
        with TableFile(path, "signal") as file:
            if not {"signal", *(columns or DESCRIPTIONS)} <= set(file.schema.names) or not file.metadata.num_rows:
                raise ValueError("it lacks columns or rows")
            return file.read(columns)

    return _named(place(path), read)


def _named(path: Path, read: Callable[[Path], Any]) -> Any:
    """Read a file; what is wrong with it is said with its name."""
    try:
        return read(path)
    except (OSError, ValueError, NotImplementedError) as error:  # of which those of Arrow are
        raise EcgsynthError(f"{path} is no Parquet file of ecgsynth, or it is damaged ({first_line(error)})") from error


def to_csv_rows(record: Record, classes: NDArray[np.str_]) -> NDArray[np.float64]:
    """Cut the beats of a record as those of the heartbeat categorisation set are cut.

    Parameters
    ----------
    record : Record
        Whose first lead is cut.
    classes : array of str, shape (n_beats,)
        The AAMI class of each annotated beat.

    Returns
    -------
    array of float64, shape (n_beats, 188)
        Each beat from its R peak on, 1.2 times the RR interval that is usual there, at 125 Hz; from 0, its lowest, to 1, its
        highest value, rounded to 0.0001; zeros after its end; and last the number of its class among N S V F Q.

    References
    ----------
    Kachuee M, Fazeli S, Sarrafzadeh M. ECG heartbeat classification: a deep transferable representation. ICHI 2018,
    doi:10.1109/ICHI.2018.00092. Deviations: the usual interval is the median of the eleven around a beat, not that of ten
    seconds; each beat is scaled by itself, not by its ten seconds.
    """
    from scipy.ndimage import median_filter
    from scipy.signal import resample_poly

    samples = record.samples
    intervals = np.diff(samples) if len(samples) > 1 else np.array([record.fs])
    usual = median_filter(intervals.astype(np.float64), size=min(_CSV_MEDIAN_OF, len(intervals)), mode="nearest")
    lengths = np.clip(np.rint(_CSV_RR * np.append(usual, usual[-1])[: len(samples)] * CSV_HZ / record.fs), 2, CSV_COLUMNS)
    rate = Fraction(CSV_HZ / record.fs).limit_denominator(1000)
    signal = resample_poly(record.signals[:, 0].astype(np.float64), rate.numerator, rate.denominator)
    # By the clock of the resampled signal, which differs a little from 125 Hz at odd rates.
    starts = np.minimum(np.rint(samples * float(rate)).astype(np.int64), len(signal) - 1)
    columns = np.arange(CSV_COLUMNS)
    shown = (columns < lengths[:, None]) & (starts[:, None] + columns < len(signal))
    values = signal[np.minimum(starts[:, None] + columns, len(signal) - 1)]
    low, high = (f(values, axis=1, keepdims=True, where=shown, initial=-s) for f, s in ((np.min, -np.inf), (np.max, np.inf)))
    scaled = np.where(shown, (values - low) / np.where(high > low, high - low, 1), 0)
    numbers = np.array([AAMI_CLASSES.index(name) for name in classes.tolist()], dtype=np.float64)
    return np.column_stack([np.rint(scaled / CSV_STEP) * CSV_STEP, numbers])


def write_csv(values: NDArray[np.float64], path: Path) -> None:
    """Write rows of numbers, without a head."""
    import pyarrow as pa
    from pyarrow.csv import WriteOptions
    from pyarrow.csv import write_csv as write

    rounded = np.round(values, 4)  # the shortest decimals that give these numbers
    table = pa.table([pa.array(np.ascontiguousarray(column)) for column in rounded.T], names=[str(n) for n in range(values.shape[1])])
    with atomic_path(path, force=True) as temporary:
        write(table, temporary, WriteOptions(include_header=False))


def read_csv(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Read a CSV of this layout.

    Returns
    -------
    signals : array of float64, shape (n_beats, 187)
    classes : array of str, shape (n_beats,)

    Raises
    ------
    EcgsynthError
        If it is of another layout.
    """
    import pyarrow as pa
    from pyarrow.csv import ConvertOptions, ReadOptions
    from pyarrow.csv import read_csv as read

    names = [str(number) for number in range(CSV_COLUMNS + 1)]
    try:
        options = ConvertOptions(column_types=dict.fromkeys(names, pa.float64()))
        table = read(path, ReadOptions(column_names=names), convert_options=options)
        values = np.column_stack([column.to_numpy() for column in table.columns])
        numbers = values[:, -1].astype(np.int64)
        return values[:, :-1], np.array(AAMI_CLASSES)[numbers]
    except (pa.ArrowInvalid, OSError, IndexError) as error:
        raise EcgsynthError(f"{path} is no CSV of heartbeats with {CSV_COLUMNS + 1} columns ({error})") from error


def join_npz(parts: Sequence[Path], path: Path) -> None:
    """Join beats files into one without holding them all: each array is copied part by part.

    The result is what `Beats.save` writes of all beats together, with `source` and `info` of the first.
    """
    with (
        np.load(parts[0], allow_pickle=False) as first,
        atomic_path(path, force=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name in first.files:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                if name == "head":
                    np.lib.format.write_array(member, first[name], allow_pickle=False)
                else:
                    _copy_array(name, parts, member)


def _copy_array(name: str, parts: Sequence[Path], member: Any) -> None:
    shapes, dtypes = zip(*(_described(name, part) for part in parts), strict=True)
    dtype = np.result_type(*dtypes)  # text is as long as the longest
    whole = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (sum(s[0] for s in shapes), *shapes[0][1:])}
    np.lib.format.write_array_header_1_0(member, whole)
    for part in parts:
        with np.load(part, allow_pickle=False) as arrays:
            member.write(np.ascontiguousarray(arrays[name], dtype=dtype).tobytes())


def _described(name: str, part: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with np.load(part, allow_pickle=False) as arrays:
        array = arrays[name]
        return array.shape, array.dtype


def join_text(parts: Iterable[Path], path: Path) -> None:
    """Set text files one after another in one."""
    import shutil

    with atomic_path(path, force=True) as temporary, open(temporary, "wb") as joined:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, joined)
