"""Files of strangers: what they say is held against what they are, and nothing in them is run.

Whatever is wrong with one is a `ValueError`, to which whoever reads the file adds its name.
"""

import json
import math
import os
import tomllib
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgsynth.errors import EcgsynthError
from ecgsynth.places import is_remote, place

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

MOST_SAMPLES = 1 << 17
"""Of a beat, all leads together."""

RATES = (1.0, 100_000.0)
"""Sampling rates of beats, Hz."""

SEEDS = 2**32
"""Seeds are numbered from 0, below this: scikit-learn takes no others."""

_UNPACKED = 64  # bytes that one of a compressed file may stand for
_SMALL = 1 << 24  # bytes that any file may unpack to
_LONGEST, _LONGEST_LEADS = 256, 2000  # letters of a name, and of those of 400 leads together
_LARGEST_TOML, _DEEPEST = 1_000_000, 1000  # letters, and dots in a line: a key takes time by the square of them
_SPARE = (4, 10_000)  # numbers of a network a weight of its file, and besides: some are made and not kept
_HEADS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


def within(path: Path, folder: Path) -> Path:
    """Give a path in a folder, if it leads to nothing outside.

    Raises
    ------
    EcgsynthError
        If it is, or lies behind, a link that leads out of the folder.
    """
    if not is_remote(path) and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise EcgsynthError(f"{path} is a link that leads out of {folder}: nothing outside of it is read")
    return path


def of_json(text: str | bytes) -> Any:
    """Read JSON, whose depth and numbers have their limits."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def of_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file, whose size and depth have their limits."""
    with place(path).open(encoding="utf-8") as file:
        text = file.read(_LARGEST_TOML + 1)
    if len(text) > _LARGEST_TOML:
        raise ValueError(f"it has more than {_LARGEST_TOML:,} letters")
    if max(line.count(".") for line in text.split("\n")) > _DEEPEST:
        raise ValueError(f"a line of it has more than {_DEEPEST:,} dots: write it in several")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def arrays_of(path: str | Path, known: Collection[str]) -> "dict[str, NDArray[Any]]":
    """Read the arrays of these names from an npz file: of plain values, and no larger than what the file holds of them."""
    import numpy as np

    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.removesuffix(".npy") in known]
            refuse_unbacked(sum(member.file_size for member in members), path)
            for member in members:
                with archive.open(member) as file:
                    shape, _, dtype = getattr(np.lib.format, _HEADS[np.lib.format.read_magic(file)])(file)
                if math.prod(shape) * dtype.itemsize > member.file_size or min(shape, default=0) < 0:
                    raise ValueError(f"{member.filename} says it is larger than it is")
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
        return found
    except OSError:
        raise
    except Exception as error:  # zip and numpy raise whatever the damage leads to
        raise ValueError(str(error).strip() or type(error).__name__) from error


def refuse_unbacked(size: int, path: str | Path) -> None:
    """Raise if a file is said to hold far more bytes than it has."""
    has = place(path).stat().st_size
    if size > max(_SMALL, _UNPACKED * has):
        raise ValueError(f"it says it holds {size:,} bytes, and has {has:,}")


def network_of(make: "Callable[[], nn.Module]", arrays: "Mapping[str, NDArray[Any]]") -> "nn.Module":
    """Make a network and give it these weights, but none whose settings ask for far more numbers than there are weights."""
    import torch
    from torch.nn.modules import module as hooks

    most, seen = sum(array.size for array in arrays.values()), 0

    def count(owner: Any, name: str, numbers: Any) -> None:
        nonlocal seen
        seen += 0 if numbers is None else numbers.numel()
        if seen > _SPARE[0] * most + _SPARE[1]:
            raise ValueError("its settings ask for a larger network than it has weights for")

    counting = [hooks.register_module_parameter_registration_hook(count), hooks.register_module_buffer_registration_hook(count)]
    try:
        with torch.device("meta"):  # where nothing takes memory
            make()
    finally:
        for hook in counting:
            hook.remove()
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and then replaced
        network = make().eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return network


def column_of(name: str, array: "NDArray[Any]", kinds: str) -> "NDArray[Any]":
    """Give a column of numbers or of text, if it is of these kinds of numpy, and its text can be written."""
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} holds values of another kind")
    if array.dtype.kind == "U" and array.dtype.itemsize:
        letters = array.astype(array.dtype.newbyteorder("=")).reshape(-1).view("u4")
        if ((letters > 0x10FFFF) | (letters >> 11 == 0x1B)).any():  # beyond Unicode, or half of a letter
            raise ValueError(f"{name} holds text that cannot be written")
    return array


def text_of(name: str, values: Sequence[str]) -> "NDArray[Any]":
    """Set text in an array, each row of which takes as much as the longest: no name is so long."""
    import numpy as np

    most = _LONGEST_LEADS if name == "leads" else _LONGEST
    if not all(isinstance(value, str) and len(value) <= most for value in values):
        raise ValueError(f"{name} holds what is no text, or more than {most:,} letters of it")
    return np.array(values, dtype=np.str_)


def conform(value: Any, form: Any, where: str = "it") -> Any:
    """Give plain JSON back if it is of a form; raises otherwise.

    Parameters
    ----------
    value : plain JSON
        What was read.
    form
        ``str``, ``int``, ``float`` (an int is one) or ``bool``; None for None; ``object`` for anything; a list of one form; a
        dict of ``str`` to one form; a dict of names to forms, in which a name that ends in ``?`` may be missing and others may
        be there too; a tuple of forms, of which one fits; a function that says whether it fits; a set of what it may be.
    where : str
        What it is, for messages.

    Raises
    ------
    ValueError
        If it is not: with what, and where.
    """
    if isinstance(form, list) and isinstance(value, list):
        return [conform(item, form[0], f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(form, dict) and isinstance(value, Mapping):
        if str in form:
            return {conform(name, str, where): conform(item, form[str], f"{where}, {name:.40}") for name, item in value.items()}
        known = {name.removesuffix("?"): of for name, of in form.items()}
        if missing := [name for name in form if not name.endswith("?") and name not in value]:
            raise ValueError(f"{where} has no {missing[0]}")
        return {name: conform(item, known.get(name, object), f"{where}, {name:.40}") for name, item in value.items()}
    if isinstance(form, tuple):
        for one in form:
            with suppress(ValueError):
                return conform(value, one, where)
    elif _fits(value, form):
        return value
    raise ValueError(f"{where} cannot be {value!r:.60}")


def _fits(value: Any, form: Any) -> bool:
    if isinstance(form, set):
        return isinstance(value, str) and value in form
    if isinstance(form, dict | list):
        return False
    try:
        return bool(_PLAIN.get(form, form)(value))
    except (TypeError, ValueError):  # asked of something that it cannot be asked of
        return False


def _is_number(value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _HIGHEST) or value != value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


_HIGHEST = 1e300
_PLAIN: dict[Any, Any] = {
    object: lambda value: True,
    None: lambda value: value is None,
    str: _is_text,
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
    float: _is_number,
}


def is_share(value: Any) -> bool:
    """Say whether something is a number from 0 to 1."""
    return isinstance(value, int | float) and 0 <= value <= 1


def is_above_0(value: Any) -> bool:
    """Say whether something is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _HIGHEST


def is_whole(value: Any) -> bool:
    """Say whether something is a whole number above 0."""
    return is_count(value) and value > 0


def is_count(value: Any) -> bool:
    """Say whether something is a whole number from 0 on, as large as numbers of beats are."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_rate(value: Any) -> bool:
    """Say whether something is a sampling rate of beats, Hz."""
    return is_above_0(value) and RATES[0] <= value <= RATES[1]


BEATS = {"fs": is_rate, "r_sample": is_count, "source": str, "info": {str: object}}
"""What a file says of all its beats together."""


def of_beats(head: Any, shape: Sequence[int]) -> dict[str, Any]:
    """Take what a file says of all its beats together, if beats of such a shape, (n, samples) or (n, leads, samples), can be so."""
    told: dict[str, Any] = conform(head, BEATS)
    if len(shape) not in (2, 3) or not 0 < math.prod(shape[1:]) <= MOST_SAMPLES or told["r_sample"] >= shape[-1]:
        raise ValueError(f"beats of the shape {tuple(shape)}, with the R peak at {told['r_sample']:,}, cannot be")
    return {name: told[name] for name in BEATS}
