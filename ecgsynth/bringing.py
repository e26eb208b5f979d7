"""Records at addresses, brought to this machine: of their files no more than their headers ask for."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.headers import LARGEST, bytes_asked, parse_header
from ecgsynth.places import is_remote

_LARGEST_ANNOTATIONS = 1 << 26  # bytes of a file at an address
_PIECE = 1 << 20  # bytes that are brought at a time


@contextmanager
def brought(path: Path, annotator: str) -> Iterator[Path]:
    """Give a record of this machine for the block: itself, or a copy of what is at an address."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ecgsynth.") as folder:
        yield _download(path, annotator, Path(folder))


def _download(path: Path, annotator: str, folder: Path) -> Path:
    """Bring a record from an address into a folder of this machine: of its files what the headers ask for, once these are checked."""

    def bring(name: str, most: int) -> None:
        source = path.parent / name
        if Path(name).name == name and source.is_file():  # what is not there is missed by whoever reads it
            with source.open("rb") as there, open(folder / name, "wb") as here:
                while piece := there.read(min(_PIECE, max(0, most - here.tell()))):
                    here.write(piece)

    def header_of(name: str) -> Any:
        bring(f"{name}.hea", LARGEST + 1)
        return parse_header(folder / name)

    main = header_of(path.name)
    parts = [header_of(name) for name in sorted({*(getattr(main, "seg_name", None) or ())} - {"~", path.name})]
    asked: Counter[str] = Counter()
    for header in (main, *parts):
        asked |= bytes_asked(header)
    for name, most in asked.items():
        bring(name, most)
    bring(f"{path.name}.{annotator}", _LARGEST_ANNOTATIONS + 1)
    if (marks := folder / f"{path.name}.{annotator}").is_file() and marks.stat().st_size > _LARGEST_ANNOTATIONS:
        raise EcgsynthError(f"{marks.name} is larger than annotations are: {_LARGEST_ANNOTATIONS:,} bytes")
    return folder / path.name
