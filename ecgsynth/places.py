"""Where files are: paths of this machine, and addresses as ``s3://bucket/beats`` that fsspec knows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecgsynth.errors import EcgsynthError


def place(where: str | Path) -> Path:
    """Give a path, or for an address what can be used as one.

    Raises
    ------
    EcgsynthError
        If what reads such addresses is not installed.
    """
    if not isinstance(where, str) or "://" not in where:
        return Path(where) if isinstance(where, str) else where
    try:
        from upath import UPath

        found: Path = UPath(where)
        found.exists()  # which is when the file system is looked for
        return found
    except ImportError as error:
        raise EcgsynthError(f"{where} is an address: pip install 'ecgsynth[scale]', and what fsspec asks for ({error})") from error
    except ValueError as error:
        raise EcgsynthError(f"{where} cannot be reached ({error})") from error


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
    """Put a file, or all files of a folder, at an address; the file called `last` when all others are there."""
    if made.is_dir():
        if path.exists():
            path.fs.rm(path.path, recursive=True)  # type: ignore[attr-defined]
        files = sorted((file for file in made.rglob("*") if file.is_file()), key=lambda file: (file.name == last, file))
        pairs = [(file, path.joinpath(*file.relative_to(made).parts)) for file in files]
    else:
        pairs = [(made, path)]
    for file, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "rb") as source, target.open("wb") as remote:
            shutil.copyfileobj(source, remote)
