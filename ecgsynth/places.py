"""Where files are: paths of this machine, and addresses as ``s3://bucket/beats`` that fsspec knows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError

_HERE = ("file://", "local://")
"""How addresses of files of this machine begin, which are written as any other of these: whole or not at all."""


def place(where: str | Path) -> Path:
    """Give a path, or for an address what can be used as one.

    Raises
    ------
    EcgsynthError
        If what reads such addresses is not installed, or nothing can be reached there.
    """
    if not isinstance(where, str) or "://" not in where:
        return Path(where) if isinstance(where, str) else where
    if where.startswith(_HERE):
        return Path(where.partition("://")[2])
    if set(where) & set("*?["):
        raise EcgsynthError(f"{where} holds one of * ? [, which stand for several names at an address: give another name")
    try:
        from upath import UPath

        found: Path = UPath(where)
        found.exists()  # which is when the store is asked for the first time
        return found
    except ImportError as error:
        raise EcgsynthError(f"{where} is an address: pip install 'ecgsynth[scale]', and what fsspec asks for ({error})") from error
    except Exception as error:  # every store has errors of its own: no server, no credentials, no such protocol
        asked = "are the address, the network and your credentials right?"
        raise EcgsynthError(f"{where} cannot be reached: {_what(error)}; {asked}") from error


def here(where: str | Path) -> Path:
    """Give a path of this machine.

    Raises
    ------
    EcgsynthError
        If it is an address.
    """
    if "://" in str(where) and not str(where).startswith(_HERE):
        raise EcgsynthError(f"{where} is an address, and this works in a folder of this machine: give one, and copy it there afterwards")
    return place(where)


def is_remote(path: Path) -> bool:
    """Say whether a path of `place` is an address."""
    return not isinstance(path, Path)


def open_file(path: Path) -> Any:
    """Give what numpy and pyarrow read: the path, or an open file at an address."""
    return path.open("rb") if is_remote(path) else path


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Give a file of this machine for the block: the path itself, or a copy of what is at an address."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ecgsynth.") as folder:
        copy = Path(folder) / path.name
        if path.is_file():
            with path.open("rb") as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
        yield copy


def upload(made: Path, path: Path, *, last: str | None = None) -> None:
    """Put a file, or all files of a folder, at an address: a file whole or not at all; the file called `last` when all others are there.

    What stood there is removed first. No folder can be renamed there: one whose upload was cut short lies about in part, without `last`,
    until it is put there again; see `upload_begun`.

    Raises
    ------
    EcgsynthError
        If the store refuses, or cannot be reached.
    """
    try:
        if made.is_dir():
            _put_folder(made, path, last)
        else:
            _put(made, path)
    except Exception as error:  # every store has errors of its own
        raise EcgsynthError(f"cannot write {path}: {_what(error)}") from error


def upload_begun(path: Path, last: str) -> bool:
    """Say whether the upload of a folder was begun and did not end, so that it may be put there again."""
    return is_remote(path) and _mark(path, last).is_file()


def _mark(path: Path, last: str) -> Path:
    """Say which file stands in a folder while it is uploaded."""
    return path / f"{last}.uploading"


def _put_folder(made: Path, path: Any, last: str | None) -> None:
    mark: Any = _mark(path, last) if last else None
    if mark is not None:
        mark.write_text("Not all of this folder is here: the command that was putting it here, given again, does so anew.\n")
    old = [name for name in path.fs.find(path.path) if mark is None or not name.endswith(f"/{mark.name}")]
    for name in sorted(old, key=lambda name: not name.endswith(f"/{last}")):  # by which it is known; from now on it is not whole
        path.fs.rm_file(name)
    files = [file for file in made.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: (file.name == last, file.suffix == ".json", file)):  # what others are known by, after them
        _put(file, path.joinpath(*file.relative_to(made).parts))
    if mark is not None:
        path.fs.rm_file(mark.path)


def _put(file: Path, target: Any) -> None:
    if not target.drive:  # what is in a bucket needs no folders, and no bucket is made of a misspelt name
        target.parent.mkdir(parents=True, exist_ok=True)
    with target.fs.transaction:  # for stores that else show what has come so far
        target.fs.put_file(str(file), target.path)


def _what(error: Exception) -> str:
    """Give what an error says, with its kind, as some say no more than a name."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
