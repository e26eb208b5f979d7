"""What the tests of datasets look at."""

from pathlib import Path

from ecgsynth.beats import Beats
from ecgsynth.formats import read_parquet


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beats_of(folder: Path, split: str) -> Beats:
    return read_parquet(sorted((folder / "parquet").glob(f"{split}-*.parquet")))
