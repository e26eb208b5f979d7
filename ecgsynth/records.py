"""WFDB records: find them, read and write them, one at a time."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth import mitdb
from ecgsynth.annotations import read_annotations
from ecgsynth.bringing import brought
from ecgsynth.errors import EcgsynthError
from ecgsynth.headers import Header, belongs, first_line, read_header, segments_of
from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.places import is_remote, place

FIRST_LEAD = "first"
ALL_LEADS = "all"
LEADS = ("MLII", FIRST_LEAD)
"""The leads taken by default: MLII, and the first of a record without it."""

MOST_PER_S = 20
"""Beats that may be annotated in a second of a record; each takes as much memory as a whole window."""

_FEW = 100  # beats, which any record may have


@dataclass(frozen=True)
class Record:
    """One ECG record with its beat annotations.

    Parameters
    ----------
    name : str
        The record's name.
    signals : array of float32, shape (n_samples, n_leads)
        The ECG in mV; NaN where the record marks a sample invalid.
    leads : tuple of str
        The name of each lead.
    fs : float
        Sampling rate in Hz.
    symbols : array of str, shape (n_beats,)
        The annotation symbol of each beat; annotations of anything else are left out.
    samples : array of int64, shape (n_beats,)
        The annotated R peak of each beat, as a sample number of this record.
    patient : str
        Who this is: two records of one person share it. Defaults to the record's name.
    age : float
        Years; NaN where unknown.
    sex : str
        ``"F"``, ``"M"`` or ``""`` where unknown.
    """

    name: str
    signals: NDArray[np.float32]
    leads: tuple[str, ...]
    fs: float
    symbols: NDArray[np.str_]
    samples: NDArray[np.int64]
    patient: str = field(default="")
    age: float = float("nan")
    sex: str = ""

    def __post_init__(self) -> None:
        if self.signals.ndim != 2 or self.signals.shape[1] != len(self.leads):
            raise ValueError(f"record {self.name}: signals must be (n_samples, {len(self.leads)})")
        if self.samples.shape != self.symbols.shape:
            raise ValueError(f"record {self.name}: as many symbols as samples are needed")
        if not self.patient:
            object.__setattr__(self, "patient", self.name)


def find_records(where: str | Path | Sequence[str | Path]) -> list[Path]:
    """List the records of a folder, or check that the named ones are there.

    Parameters
    ----------
    where : path, or sequence of paths
        A folder of WFDB records, or, where none lies in it, of folders of them, or records by path without suffix (``"mitdb/100"``); also
        addresses that fsspec knows. Segments are not listed beside the record that is made of them.

    Returns
    -------
    list of Path
        Each record's path without suffix, sorted by name.

    Raises
    ------
    EcgsynthError
        If there is no record, or two of the same name.
    """
    several = isinstance(where, Sequence) and not isinstance(where, str)
    found: list[Path] = []
    for path in map(place, where if several else [where]):  # type: ignore[arg-type]
        if path.is_dir():
            headers = _headers_in(path)
            if not headers:
                raise EcgsynthError(f"no WFDB record in {path}: a record is a .hea file with its signal and annotations")
            found += [header.with_suffix("") for header in headers]
        elif path.with_name(path.name + ".hea").is_file():
            found.append(path)
        elif path.suffix == ".hea" and path.is_file():
            found.append(path.with_suffix(""))
        else:
            raise EcgsynthError(f"no folder and no WFDB record at {path}")
    unique = sorted({path.resolve(): path for path in found}.values(), key=lambda path: path.name)
    names = Counter(path.name for path in unique)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise EcgsynthError(f"several records are called {', '.join(twice)}: records are told apart by name")
    return unique


def read_records(
    where: str | Path | Sequence[str | Path],
    *,
    annotator: str = "atr",
    lead: str | Sequence[str] | None = None,
    patients: Mapping[str, str] | None = None,
) -> Iterator[Record]:
    """Read WFDB records lazily, one at a time.

    Parameters
    ----------
    where : path, or sequence of paths
        As for `find_records`.
    annotator : str
        Suffix of the annotation file.
    lead : str or sequence of str, optional
        Read only this lead: the first of these names that a record has, where ``"first"`` stands for
        its first, ``"all"`` for all. All leads if not given.
    patients : mapping of str to str, optional
        Record name -> patient, where several records are one person. MIT-BIH's own pair, 201 and 202,
        is known.

    Yields
    ------
    Record

    Raises
    ------
    EcgsynthError
        If there is no record, or one cannot be read.
    """
    yield from read_each(find_records(where), annotator=annotator, lead=lead, patients=patients)


def read_each(paths: Iterable[Path], skipped: list[tuple[str, str]] | None = None, **how: Any) -> Iterator[Record]:
    """Read records lazily, `how` as for `read_record`; name and fault of one that cannot be read go to `skipped`, if that is given."""
    for path in paths:
        try:
            record = read_record(path, **how)
        except EcgsynthError as error:
            if skipped is None:
                raise
            skipped.append((path.name, str(error)))
        else:
            yield record


def read_record(
    path: str | Path,
    *,
    annotator: str = "atr",
    lead: str | Sequence[str] | None = None,
    patients: Mapping[str, str] | None = None,
) -> Record:
    """Read one WFDB record with its beat annotations.

    Parameters
    ----------
    path : path
        The record, without suffix.
    annotator : str
        Suffix of the annotation file.
    lead, patients
        As for `read_records`.

    Returns
    -------
    Record

    Raises
    ------
    EcgsynthError
        If the header, a signal file or the annotations are missing, damaged or not in mV.
    """
    path = place(path)
    try:
        with brought(path, annotator) as here:
            header = read_header(here)
            channels = list(range(len(header.leads))) if lead is None else choose_leads(header.leads, lead)
            signals = _read_signals(here, header, channels)
            symbols, samples = _read_annotations(here, annotator, header)
    except EcgsynthError as error:
        raise EcgsynthError(f"record {path}: {error}") from error
    age, sex = _age_and_sex(header.comments)
    name = path.name
    patient = (patients or {}).get(name, name)
    if mitdb.is_mitdb(name, header.fs, header.n_samples) and not (patients and name in patients):
        patient = mitdb.SAME_PATIENT.get(name, name)
    return Record(
        name=name,
        signals=signals,
        leads=tuple(header.leads[channel] for channel in channels),
        fs=header.fs,
        symbols=symbols,
        samples=samples,
        patient=patient,
        age=age,
        sex=sex,
    )


def choose_leads(leads: Sequence[str], preferred: str | Sequence[str]) -> list[int]:
    """Give the index of the first preferred lead that is there, or of every lead for ``"all"``.

    Parameters
    ----------
    leads : sequence of str
        The leads of a record.
    preferred : str or sequence of str
        Lead names; ``"first"`` stands for the record's first, ``"all"`` for all of them.

    Returns
    -------
    list of int
        One index, or those of all leads.

    Raises
    ------
    EcgsynthError
        If none of them is there.
    """
    names = [preferred] if isinstance(preferred, str) else list(preferred)
    for name in names:
        if name in leads:
            return [list(leads).index(name)]
        if name == FIRST_LEAD:
            return [0]
        if name == ALL_LEADS:
            return list(range(len(leads)))
    there = ", ".join(leads)
    raise EcgsynthError(f"no lead {' or '.join(names)}; there are {there} (add {FIRST_LEAD!r} to take the first where none fits)")


_MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "nV": 1e-6}


def write_record(record: Record, folder: Path, *, comments: Sequence[str] = ()) -> None:
    """Write a record as WFDB: ``NAME.hea``, ``NAME.dat`` (format 16) and ``NAME.atr``.

    Samples are kept to half a step of 1/1000 mV, or of the smallest step that holds the record's largest
    value: none is clipped. Samples that are not finite are marked invalid. `Record.patient` has no place
    in the format. A record without beats gets an annotation file without annotations.

    Parameters
    ----------
    record : Record
        What to write; its name may hold letters, digits, ``-`` and ``_``.
    folder : Path
        Where; made if it is not there.
    comments : sequence of str
        Lines for the header, after age and sex where these are known.
    """
    import wfdb

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    finite = np.isfinite(record.signals)
    signals = np.where(finite, record.signals, 0).astype(np.float64)
    gain = min(1000.0, 32767 / max(float(np.abs(signals).max(initial=0)), 1e-9))
    digital = np.where(finite, np.rint(signals * gain), -32768).astype(np.int64)
    known = [f"Age: {record.age:.0f}"] if np.isfinite(record.age) else []
    known += [f"Sex: {record.sex}"] if record.sex else []
    leads = list(record.leads)
    wfdb.wrsamp(
        record.name,
        fs=record.fs,
        units=["mV"] * len(leads),
        sig_name=leads,
        d_signal=digital,
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads),
        baseline=[0] * len(leads),
        comments=[*([" ".join(known)] if known else []), *comments],
        write_dir=str(folder),
    )
    if not len(record.samples):  # which wfdb does not write: nothing but the word that ends the file
        (folder / f"{record.name}.atr").write_bytes(b"\0\0")
        return
    wfdb.wrann(record.name, "atr", record.samples, symbol=record.symbols.tolist(), fs=record.fs, write_dir=str(folder))


def _headers_in(folder: Path) -> list[Path]:
    """List the headers of a folder, or of the folders in it, but those of segments, which are read with their record."""

    def files(paths: Iterable[Path]) -> list[Path]:  # at an address each would be asked for, and there is nothing else
        return [path for path in paths if not path.name.startswith(".") and (is_remote(path) or path.is_file())]

    headers = files(folder.glob("*.hea")) or files(folder.rglob("*.hea") if is_remote(folder) else _below(folder))
    several = segments_of(headers)
    parts = {(header.parent, name) for header, names in several.items() for name in names}
    return [header for header in headers if (header.parent, header.stem) not in parts or header.stem in several.get(header, ())]


def _below(folder: Path) -> Iterator[Path]:
    """List the headers in all folders of a folder, also those that are links, each folder once."""
    seen = set[str]()
    for name, folders, files in os.walk(folder, followlinks=True):
        folders.sort()  # so that of two names of one folder the same is taken everywhere
        if (real := os.path.realpath(name)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(name, file) for file in files if file.endswith(".hea"))


def _read_signals(path: Path, header: Header, channels: list[int]) -> NDArray[np.float32]:
    """Read some leads in mV: (n_samples, n_leads)."""
    import wfdb

    units = [header.units[channel] for channel in channels]
    if unknown := sorted(set(units) - set(_MILLIVOLTS)):
        known = ", ".join(_MILLIVOLTS)
        raise EcgsynthError(f"units {', '.join(unknown)} are no voltage; known: {known} (or choose a lead that is one)")
    try:
        read = wfdb.rdrecord(str(path), channels=channels, return_res=64 if header.is_wide else 32).p_signal
    except Exception as error:  # wfdb raises whatever the damage leads to
        raise EcgsynthError(f"cannot be read ({first_line(error)})") from error
    if read is None or read.shape != (header.n_samples, len(channels)):
        raise EcgsynthError("its files do not hold the samples that its header declares")
    factors = np.array([_MILLIVOLTS[unit] for unit in units], dtype=read.dtype)
    return np.asarray(read if (factors == 1).all() else read * factors, dtype=np.float32)


def _read_annotations(path: Path, annotator: str, header: Header) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Read the beats that are annotated within a record, in the order of their time."""
    file = path.with_name(f"{path.name}.{annotator}")
    if not file.is_file():
        raise EcgsynthError(f"no annotations ({file.name} is not there); another annotator is set with --annotator")
    symbols, samples, clock = read_annotations(belongs(file, path))
    if clock is not None and clock != header.fs:  # annotations may have a clock of their own
        samples = np.rint(samples * (header.fs / clock)).astype(np.int64)
    beats = np.isin(symbols, list(SYMBOL_TO_CLASS))
    symbols, samples = symbols[beats], samples[beats]
    outside = int(((samples < 0) | (samples >= header.n_samples)).sum())
    if outside:
        raise EcgsynthError(f"{outside} annotations lie before its begin or behind its end; is it the right .{annotator}?")
    if (np.diff(samples) < 0).any():
        raise EcgsynthError(f"the annotations in {file.name} are not in the order of their time")
    if len(samples) > _FEW + MOST_PER_S * header.n_samples / header.fs:
        raise EcgsynthError(f"{file.name} has {len(samples):,} beats, more than {MOST_PER_S} a second: no heart beats so")
    return symbols, samples


def _age_and_sex(comments: Sequence[str]) -> tuple[float, str]:
    """Read age and sex from header comments: MIT-BIH's ``69 M ...`` or ``Age: 69 Sex: M`` of others."""
    text = " ".join(comments)
    plain = re.match(r"\s*(-?\d{1,3})\s+([MF?])\b", text)
    age = plain or re.search(r"\bage\W{1,4}(\d{1,3})\b", text, re.IGNORECASE)
    sex = re.search(r"\b(?:sex|gender)\W{1,4}([MF])", text, re.IGNORECASE)
    years = float(age.group(1)) if age else float("nan")
    letter = plain.group(2) if plain else (sex.group(1).upper() if sex else "")
    return (years if 0 <= years <= 120 else float("nan")), letter.replace("?", "")
