"""WFDB headers: what a record says of itself, held against its files before any of them is read."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.places import is_remote

RATES = (40.0, 100_000.0)
"""Between which sampling rates, in Hz, a record is one of an ECG."""

LARGEST = 1 << 20
"""Bytes of a header."""

_LONGEST, _MOST, _SEGMENTS = 1024, 1000, 5000  # bytes of a line, signals, segments and gaps
_AGAIN = 100  # times that a record may name segments which it has named before
_GAINS = (1e-6, 1e15)  # steps a unit, to either sign
_BACKED = 64  # samples that a byte on the disk may stand for: compressed ones, and those of gaps
_AT_ONCE = 1000  # headers that are in memory to see which are segments
_FEW = 10_000_000  # samples that need no byte behind them,
_BEATS = 360.0  # Hz, to which records of a lower rate are brought
_BYTES: dict[str, int | Fraction] = {
    "8": 1,
    "16": 2,
    "24": 3,
    "32": 4,
    "61": 2,
    "80": 1,
    "160": 2,
    "212": Fraction(3, 2),
    "310": Fraction(4, 3),
    "311": Fraction(4, 3),
    "508": 0,
    "516": 0,
    "524": 0,
}
_UNSAID, _PACKED = 1 << 40, 8  # frames of a header that does not say how many; bytes that a compressed sample has at most
_MULTIPLE = re.compile(rb"[-\w]+/\d")  # the name of a record, and how many segments it has
_PLAIN = re.compile(r"(?!\.)[^/\\:\0]{1,250}")  # a file of the same folder
_ODD = bytes([11, 12, 28, 29, 30])  # which some take for the end of a line


@dataclass(frozen=True)
class Header:
    """What a record says of itself.

    Parameters
    ----------
    leads : tuple of str
        The name of each lead.
    units : tuple of str
        The unit of each.
    fs : float
        Frames a second.
    n_samples : int
        Frames.
    comments : tuple of str
        The lines of its comments.
    is_wide : bool
        Whether it holds samples of 32 bits, which single precision rounds.
    """

    leads: tuple[str, ...]
    units: tuple[str, ...]
    fs: float
    n_samples: int
    comments: tuple[str, ...]
    is_wide: bool


@dataclass(frozen=True)
class _Size:
    """How many samples something declares, and the files that hold them."""

    samples: int
    files: dict[Path, int]


def read_header(path: Path) -> Header:
    """Read the header of a record, and check that all it names is there, as large as it says, and in its folder.

    Parameters
    ----------
    path : Path
        The record, without suffix.

    Raises
    ------
    EcgsynthError
        If something of it cannot be.

    Notes
    -----
    Reading takes memory in proportion to the files: a record may declare ten million samples, or 64 for each byte of its files, once it
    is brought to the rate of beats.
    """
    main = parse_header(path)
    if not RATES[0] <= main.fs <= RATES[1]:
        raise EcgsynthError(f"its rate is {main.fs:g} frames a second, and none of an ECG: from {RATES[0]:g} to {RATES[1]:g} Hz are read")
    if not hasattr(main, "n_seg"):
        parts, sizes, layout = [main], [_size_of(path, main)], main
    else:
        parts, sizes, layout = _read_segments(path, main)
    n_samples = main.sig_len if main.sig_len is not None else _inferred(path, main)
    declared = max(n_samples * main.n_sig, sum(size.samples for size in sizes))
    held = sum({file: size for part in sizes for file, size in part.files.items()}.values())
    if declared > max(_FEW, _BACKED * held) * min(1.0, main.fs / _BEATS):
        raise EcgsynthError(f"it declares {declared:,} samples at {main.fs:g} Hz, and its files hold {held:,} bytes")
    leads = tuple(name or f"signal {number}" for number, name in enumerate(layout.sig_name, start=1))
    wide = any("32" in part.fmt for part in parts)
    return Header(leads, _units_of(parts, layout, len(leads)), float(main.fs), n_samples, tuple(main.comments), wide)


def segments_of(headers: Sequence[Path]) -> dict[Path, set[str]]:
    """Give those of some headers that are of several segments, each with the names of these.

    One that cannot be read is of none: whoever reads the record tells of it.
    """
    found = ((header, _segments_in(head)) for header, head in zip(headers, _heads(headers), strict=True))
    return {header: names for header, names in found if names}


def _segments_in(head: bytes) -> set[str]:
    words = [line.split() for line in head.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    return {line[0].decode("latin-1") for line in words[1:]} if words and _MULTIPLE.match(words[0][0]) else set()


def _heads(headers: Sequence[Path]) -> Iterator[bytes]:
    """Give the text of each header; those at an address are asked for many at a time."""
    for start in range(0, len(headers), _AT_ONCE):
        group: Sequence[Any] = headers[start : start + _AT_ONCE]
        if is_remote(group[0]):
            texts = group[0].fs.cat_ranges([header.path for header in group], 0, LARGEST, on_error="return")
            yield from (text if isinstance(text, bytes) else b"" for text in texts)
            continue
        for header in group:
            with open(header, "rb") as file:
                yield file.read(LARGEST)


def belongs(file: Path, record: Path) -> Path:
    """Give a file of a record, which must lie in the folder of its header; a link may lead to where the header's leads.

    Raises
    ------
    EcgsynthError
        If it is not there, or leads elsewhere.
    """
    if not file.is_file():
        raise EcgsynthError(f"its header names {file.name}, which is not there")
    homes = [record.parent.resolve(), record.with_name(f"{record.name}.hea").resolve().parent]
    if not any(file.resolve().is_relative_to(home) for home in homes):
        raise EcgsynthError(f"{file.name} is a link that leads out of its folder: nothing outside of it is read")
    return file


def bytes_asked(header: Any) -> Counter[str]:
    """Say of each file of a parsed header how many bytes from its begin may be read at most."""
    found: Counter[str] = Counter()
    for number, name in enumerate(getattr(header, "file_name", None) or ()):
        frames = _UNSAID if header.sig_len is None else header.sig_len + (header.skew[number] or 0)
        samples = min(frames * header.samps_per_frame[number], _UNSAID)
        found[name] += (header.byte_offset[number] or 0) + math.ceil(samples * (_BYTES.get(header.fmt[number]) or _PACKED)) + _PACKED
    return found


def parse_header(path: Path, record: Path | None = None) -> Any:
    """Read a header as it stands, once nothing in it can be a snare: gives a record of wfdb, of one segment or several."""
    import wfdb

    file = belongs(path.with_name(f"{path.name}.hea"), record or path)
    if file.stat().st_size > LARGEST:
        raise EcgsynthError(f"{file.name} is larger than a header is: {LARGEST:,} bytes")
    data = file.read_bytes()
    lines = [line.strip() for line in data.splitlines() if line.strip() and not line.strip().startswith(b"#")]
    if not lines or any(letter in data for letter in _ODD) or max(map(len, lines)) > _LONGEST:
        raise EcgsynthError(f"{file.name} is no header")
    if strange := [line for line in lines if not line.isascii()]:
        text = strange[0].decode("utf-8", errors="replace")
        raise EcgsynthError(f"{file.name} has letters that the format does not know (µV is written uV): {text!r}")
    is_multiple = bool(_MULTIPLE.match(lines[0]))
    most, parts = (_SEGMENTS, "segments") if is_multiple else (_MOST, "signals")
    if len(lines) - 1 > most:
        raise EcgsynthError(f"{file.name} has more than {most:,} {parts}")
    for line in lines[1:]:
        name = line.split()[0].decode()
        if not _PLAIN.fullmatch(name):
            raise EcgsynthError(
                f"{file.name} names {name[:80]!r}, which is no file, or outside of its folder: nothing outside of it is read"
            )
    try:
        found = wfdb.rdheader(str(path))
    except Exception as error:  # wfdb raises whatever the damage leads to
        raise EcgsynthError(f"{file.name} cannot be read ({first_line(error)})") from error
    said = getattr(found, "n_seg", 0) if is_multiple else found.n_sig
    if said != len(lines) - 1 or not said:
        raise EcgsynthError(f"{file.name} says it is of {said:,} {parts}, and tells of {len(lines) - 1:,}")
    return found


def _read_segments(path: Path, main: Any) -> tuple[list[Any], list[_Size], Any]:
    """Read the headers of the segments of a record: their records, what each declares, and the record that names the leads."""
    if main.sig_len is None or sum(main.seg_len) != main.sig_len:
        raise EcgsynthError(f"it says it is {main.sig_len} samples long, and its segments {sum(main.seg_len):,}")
    names = set(main.seg_name) - {"~"}
    if path.name in names:
        raise EcgsynthError("it is a segment of itself")
    if len(main.seg_name) - main.seg_name.count("~") - len(names) > _AGAIN:
        raise EcgsynthError(f"it names the same segments again more than {_AGAIN} times")
    known = {name: parse_header(path.with_name(name), path) for name in sorted(names)}
    if nested := [name for name, part in known.items() if hasattr(part, "n_seg")]:
        raise EcgsynthError(f"its segment {nested[0]} is made of segments, which the format does not allow")
    has_layout = main.seg_len[0] == 0
    if main.seg_name[0] == "~" or (not has_layout and "~" in main.seg_name):
        raise EcgsynthError("it has gaps, and no segment that says which signals there are")
    shown = list(zip(main.seg_name, main.seg_len, strict=True))[has_layout:]
    for name, length in shown:
        if name != "~" and (known[name].sig_len not in (None, length) or known[name].fs != main.fs):
            raise EcgsynthError(f"its segment {name} is of another length or rate than it says")
    layout = known[main.seg_name[0]]
    parts = [known[name] for name in dict.fromkeys(name for name, _ in shown) if name != "~"]
    alike = [layout] if has_layout else parts
    if any(part.n_sig != main.n_sig or part.sig_name != layout.sig_name for part in alike):
        raise EcgsynthError("its segments differ in their signals")
    sizes = {name: _size_of(path.with_name(name), known[name], path) for name in dict(shown) if name != "~"}
    return parts, [sizes[name] for name, _ in shown if name != "~"], layout


def _size_of(path: Path, part: Any, record: Path | None = None) -> _Size:
    """Check the signals of one segment, and that its files are as large as it says."""
    gains = [abs(gain) for gain in part.adc_gain]
    if not all(_GAINS[0] <= gain <= _GAINS[1] for gain in gains):
        raise EcgsynthError(f"a gain of {next(gain for gain in gains if not _GAINS[0] <= gain <= _GAINS[1]):g} steps a unit cannot be")
    by_file: dict[str, list[int]] = {}
    for number, name in enumerate(part.file_name):
        by_file.setdefault(name, []).append(number)
    held, samples = {}, 0
    for name, numbers in by_file.items():
        file = belongs(path.with_name(name), record or path)
        alike = {(part.fmt[number], part.byte_offset[number] or 0) for number in numbers}
        if len(alike) > 1 or numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise EcgsynthError(f"the signals in {name} differ in format, or others stand between them")
        fmt, offset = alike.pop()
        if fmt not in _BYTES:
            raise EcgsynthError(f"{name} is of format {fmt}; known: {', '.join(_BYTES)}")
        frame = [part.samps_per_frame[number] for number in numbers]
        skew = max(part.skew[number] or 0 for number in numbers)
        length = part.sig_len if part.sig_len is not None else _inferred(path, part)
        if min(frame) < 1 or length < 1 or skew >= length:
            raise EcgsynthError(f"{name} has no samples, or the skew between its signals is longer than they are")
        held[file.resolve()] = size = file.stat().st_size
        samples += (length + skew) * sum(frame)
        wanted = math.floor(offset + length * sum(frame) * _BYTES[fmt]) if _BYTES[fmt] else 0
        if wanted > size:
            raise EcgsynthError(f"{name} is cut short: it holds {size:,} bytes of {wanted:,}")
    return _Size(samples, held)


def _inferred(path: Path, part: Any) -> int:
    """Say how many frames there are where the header does not, by the size of the first file."""
    name = part.file_name[0]
    numbers = [number for number, other in enumerate(part.file_name) if other == name]
    each = _BYTES.get(part.fmt[0], 0) * sum(part.samps_per_frame[number] for number in numbers)
    if not each:
        raise EcgsynthError("its header does not say how long it is")
    return max(0, (path.with_name(name).stat().st_size - (part.byte_offset[0] or 0)) // each)


def _units_of(parts: Sequence[Any], layout: Any, n_leads: int) -> tuple[str, ...]:
    """Give the unit of each lead, which is the same in all segments; that of the layout where none has the lead."""
    found: list[Counter[str]] = [Counter() for _ in range(n_leads)]
    for part in parts:
        for number, (name, unit) in enumerate(zip(part.sig_name, part.units, strict=True)):
            place = number if part.sig_name == layout.sig_name else layout.sig_name.index(name) if name in layout.sig_name else None
            if place is not None:
                found[place][unit] += 1
    if mixed := [units for units in found if len(units) > 1]:
        raise EcgsynthError(f"its segments differ in the unit of a lead: {', '.join(sorted(mixed[0]))}")
    return tuple(next(iter(units), layout.units[number]) for number, units in enumerate(found))


def first_line(error: Exception) -> str:
    """Give the first line of what an error says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
