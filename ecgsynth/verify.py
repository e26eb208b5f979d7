"""Whether a dataset is what it was, and whether its beats can be made again."""

from collections.abc import Generator as Steps
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.build import HEAD, SUMS, files_of
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import sha256
from ecgsynth.formats import read_columns, read_parquet
from ecgsynth.generators import Generator, load_generator
from ecgsynth.labels import LABELS
from ecgsynth.models import shipped
from ecgsynth.places import place
from ecgsynth.recipe import load_recipe
from ecgsynth.steps import Progress
from ecgsynth.untrusted import conform, is_count, of_json, within

_LONGEST = 1000  # letters of a path
_FILES = 0.7  # share of the time that checksums take
_ROW = {"class": set(LABELS["class"]), "symbol": (str, None), "asked_lead": (str, None), "seed": is_count, "number": is_count}
_ROW |= {"model_sha256": str, "signal": [float]}
_HEAD = {"recipe": {"seed": int}, "model_sha256": str}
_Held = list[tuple[Path, int, int]]  # Parquet files, the number of the first row of each, and how many it has


class Verified(NamedTuple):
    """What was found of a dataset.

    Parameters
    ----------
    files : int
        How many its checksums name.
    problems : list of str
        What is wrong with which file or beat.
    same, near : int
        Beats made again that are the same to the last bit, and those that differ by less than a hundredth of a microvolt.
    note : str
        Why no beat was made again, if none was.
    """

    files: int
    problems: list[str]
    same: int = 0
    near: int = 0
    note: str = ""


@dataclass(frozen=True)
class Address:
    """By what a beat of a dataset is made again, and the beat as it is there, mV."""

    label: str
    lead: str | None
    seed: int
    number: int
    model_sha256: str
    signal: NDArray[np.float32]


NEAR_MV = 1e-5
"""Beats made again on another kind of processor may differ by so much, mV."""


def verify_steps(folder: str | Path, *, model: str = "", beats: int = 20) -> Steps[Progress, None, Verified]:
    """Check every file of a dataset, and make some of its beats again.

    Parameters
    ----------
    folder : path
        What `ecgsynth.build.build` made.
    model : str, optional
        Where its model is, if it does not come with ecgsynth: where the recipe says is not looked, as a stranger may have written it.
    beats : int
        How many beats to make again, evenly from first to last.

    Returns
    -------
    Verified

    Raises
    ------
    EcgsynthError
        If the folder is no dataset.
    """
    folder = place(folder)
    sums = read_sums(folder)
    problems = [f"{path} is not in {SUMS}" for path in files_of(folder) if path not in sums]
    for number, (path, wanted) in enumerate(sums.items()):
        yield Progress(_FILES * number / len(sums), path)
        if not (folder / path).is_file():
            problems.append(f"{path} is missing")
        elif sha256(folder / path) != wanted:
            problems.append(f"{path} is not as it was")
    if problems:
        return Verified(len(sums), problems)
    files = _held(folder)
    problems += _strangers(folder, files)
    if problems or not beats:
        return Verified(len(sums), problems)
    if not files:
        return Verified(len(sums), problems, note="addresses of beats are in Parquet files, which it does not have")
    try:
        made = model_of(folder, model)
    except EcgsynthError as error:
        return Verified(len(sums), problems, note=str(error))
    same, near, digest = 0, 0, made.fingerprint()
    rows = np.unique(np.linspace(0, sum(count for *_, count in files) - 1, beats).astype(int)).tolist()
    for number, row in enumerate(rows):
        yield Progress(_FILES + (1 - _FILES) * number / len(rows), f"beat {row:,}")
        address = _address(*_found(folder, files, row))
        if address.model_sha256 != digest:
            return Verified(len(sums), problems, note="the model is another one than that which made it")
        again = make_again(made, address).signals.ravel()
        if again.shape != address.signal.shape:
            raise EcgsynthError(f"{folder} is damaged: beat {row:,} is of another length than its model makes")
        apart = float(np.abs(again - address.signal).max())
        equal, close = np.array_equal(again, address.signal), apart <= NEAR_MV
        same, near = same + equal, near + (close and not equal)
        if not close:
            problems.append(f"beat {row:,} made again differs by {apart:.2g} mV")
    return Verified(len(sums), problems, same, near)


def model_of(folder: Path, model: str | Path = "") -> Generator:
    """Load what made a dataset: one that comes with ecgsynth, or `model`.

    Where the recipe says is not looked: a stranger may have written it, and what it names may be anywhere.

    Raises
    ------
    EcgsynthError
        If it comes not with ecgsynth and `model` does not say where it is, or it cannot be read.
    """
    named = load_recipe(folder / "recipe.toml").model
    if not model and named not in shipped():
        raise EcgsynthError(f"the dataset was made by {named}; --model says where that is")
    try:
        return load_generator(model or shipped()[named])
    except EcgsynthError as error:
        raise EcgsynthError(f"{error}; --model says where it is") from error


def address_of(folder: str | Path, row: int) -> Address:
    """Read by what a beat is made again, from files that are as they were.

    Parameters
    ----------
    folder : path
        A dataset with Parquet files.
    row : int
        The number of the beat in the dataset, from 0: the column of that name.

    Raises
    ------
    EcgsynthError
        If it is no dataset, there is no such beat or no Parquet file, or what says so is not as its checksum is.
    """
    folder = place(folder)
    sums = read_sums(folder)
    path, number = _found(folder, _held(folder), row)
    for read in (folder / "recipe.toml", path):
        if sha256(read) != sums.get(read.relative_to(folder).as_posix()):
            raise EcgsynthError(f"{read} is not as it was: `ecgsynth verify {folder}` says what else is not")
    return _address(path, number)


def _found(folder: Path, files: _Held, row: int) -> tuple[Path, int]:
    """Say in which file a beat is, and which of its rows it is."""
    for path, first, count in files:
        if first <= row < first + count:
            return path, row - first
    total = sum(count for *_, count in files)
    raise EcgsynthError(f"{folder} has no beat {row:,} in Parquet files: they hold {total:,}, numbered from 0")


def beats_of(folder: str | Path) -> Beats:
    """Read all beats of a dataset, from its Parquet files or its npz.

    Raises
    ------
    EcgsynthError
        If it is no dataset, or has neither.
    """
    folder = place(folder)
    read_sums(folder)
    paths = _parquet(folder)
    if paths:
        return read_parquet(paths)
    parts = [Beats.load(path) for path in sorted((folder / "npz").glob("*.npz"))]
    if not parts:
        raise EcgsynthError(f"{folder} has its beats neither as Parquet nor as npz")
    return concatenate(parts)


def make_again(model: Generator, address: Address) -> Beats:
    """Make a beat again."""
    return model.sample({address.label: 1}, seed=address.seed, first=address.number, lead=address.lead)


def read_sums(folder: Path) -> dict[str, str]:
    """Read the checksums of a dataset: path -> SHA-256.

    Raises
    ------
    EcgsynthError
        If it is no dataset.
    """
    if not (folder / HEAD).is_file() or not (folder / SUMS).is_file():
        raise EcgsynthError(f"no dataset in {folder}: `ecgsynth build` makes one")
    for link in (path for path in folder.rglob("*") if path.is_symlink()):
        within(link, folder)
    try:
        lines = [line.partition("  ") for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise EcgsynthError(f"{folder / SUMS} is damaged: it is no text") from error
    if outside := [path for _, _, path in lines if not _may_be_inside(path)]:
        raise EcgsynthError(f"{folder / SUMS} names a file outside of the dataset, or none: {outside[0][:80]!r}")
    return {path: digest for digest, _, path in lines}


def _may_be_inside(path: str) -> bool:
    """Say whether a path is one of a file in the folder that it is counted from."""
    parts = PurePath(path).parts
    return not PurePath(path).is_absolute() and ".." not in parts and len(path) < _LONGEST and all(len(part) <= 250 for part in parts)


def _parquet(folder: Path) -> list[Path]:
    """List the Parquet files in the order of the recipe's splits."""
    splits = load_recipe(folder / "recipe.toml").splits
    return [path for split in splits for path in sorted((folder / "parquet").glob(f"{split}-*.parquet"))]


def _held(folder: Path) -> _Held:
    return [(path, *_rows_of(path)) for path in _parquet(folder)]


def _rows_of(path: Path) -> tuple[int, int]:
    """Give the number of the first row of a file, and how many there are."""
    rows = read_columns(path, ["row"])["row"]
    if not is_count(first := rows[0].as_py()):
        raise EcgsynthError(f"{path} is damaged: its rows are numbered from {first!r}")
    return first, len(rows)


def _strangers(folder: Path, files: _Held) -> list[str]:
    """Tell of files with rows of another seed or model than the dataset is said to be made with."""
    try:
        head = conform(of_json((folder / HEAD).read_text(encoding="utf-8")), _HEAD)
    except ValueError as error:
        raise EcgsynthError(f"{folder / HEAD} is damaged: {error}") from error
    wanted = {"seed": head["recipe"]["seed"], "model_sha256": head["model_sha256"]}
    strange = [path.relative_to(folder).as_posix() for path, *_ in files if not _all_say(path, wanted)]
    return [f"{path} holds beats of another seed or model than {HEAD} names" for path in strange]


def _all_say(path: Path, wanted: dict[str, Any]) -> bool:
    """Say whether all rows of a file have these values."""
    table = read_columns(path, list(wanted))
    try:
        return all(found == value for name, value in wanted.items() for found in table[name].to_pylist())
    except ValueError:  # text that is none
        return False


def _address(path: Path, number: int) -> Address:
    """Take the address of a beat out of its row."""
    found = read_columns(path, list(_ROW)).slice(number, 1).to_pylist()[0]
    try:
        told = conform(found, _ROW, f"beat {number}")
    except ValueError as error:
        raise EcgsynthError(f"{path} is damaged: {error}") from error
    signal = np.array(told["signal"], dtype=np.float32)
    label = told["symbol"] or told["class"]
    return Address(label, told["asked_lead"], told["seed"], told["number"], told["model_sha256"], signal)
