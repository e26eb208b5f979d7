"""Parts of a set of beats: Parquet files, each with what is known of it, read a row group at a time."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES, SYMBOL_TO_CLASS
from ecgsynth.tables import TableFile
from ecgsynth.untrusted import MOST_SAMPLES, column_of, conform, is_count, is_rate, is_whole, of_json, text_of

if TYPE_CHECKING:
    import pyarrow as pa

UNLIKE = "the records differ in their number of leads: choose one lead instead of all"

Part = dict[str, Any]
"""What is known of a part: name, beats, counts by class and symbol, and what its writer tells."""

_TEXT = ("classes", "symbols", "records", "patients", "leads", "sexes")


def _is_count(value: Any) -> bool:
    """Say whether something is class, symbol and number of beats."""
    return len(value) == 3 and value[0] in AAMI_CLASSES and value[1] in ("", *SYMBOL_TO_CLASS) and is_count(value[2])


PART_FORM = {"name": str, "beats": is_count, "counts": [_is_count]}
SHAPE_FORM = {"n_leads": is_whole, "n_samples": is_whole, "fs": is_rate, "r_sample": is_count}


def write_part(path: Path, batches: Iterable[Beats], **told: Any) -> Part:
    """Write a part, each batch as a row group of its own; gives what is known of it. Of no batch nothing is written.

    Raises
    ------
    EcgsynthError
        If the batches do not fit together, or it cannot be written.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return {"name": path.name, "beats": 0, "counts": [], **told}
    with atomic_path(path, force=True) as temporary:
        part = _write(temporary, first, batches, told)
        _loosen(temporary)
    return part


def _write(path: Path, first: Beats, batches: Iterator[Beats], told: Mapping[str, Any]) -> Part:
    import pyarrow.parquet as pq

    counts: Counter[tuple[str, str]] = Counter()
    schema = _to_table(first).schema
    plain = [name for name in schema.names if name != "signals"]
    compact = {"compression": "zstd", "use_dictionary": plain, "use_byte_stream_split": ["signals.list.element"]}
    with pq.ParquetWriter(path, schema, **compact) as writer:
        for beats in chain([first], batches):
            if _shape(beats) != _shape(first):
                raise EcgsynthError(UNLIKE)
            if len(beats):
                writer.write_table(_to_table(beats), row_group_size=len(beats))
            counts.update(zip(beats.classes.tolist(), beats.symbols.tolist(), strict=True))
        part: Part = {
            "name": path.name,
            "beats": sum(counts.values()),
            "counts": [[*label, count] for label, count in sorted(counts.items())],
            **_shape(first)._asdict(),
            **told,
        }
        writer.add_key_value_metadata({"ecgsynth": json.dumps(part)})
    return part


def _loosen(path: Path) -> None:
    """Write a part again as it is, without compression, if its beats are so alike that nobody would believe how many it holds."""
    import pyarrow.parquet as pq

    try:
        TableFile(path, lists="signals").__exit__()
    except ValueError:
        dense = path.with_name(f"{path.name}.dense")
        path.rename(dense)
        with pq.ParquetFile(dense) as file, pq.ParquetWriter(path, file.schema_arrow, compression="none", use_dictionary=False) as writer:
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                writer.write_table(group, row_group_size=max(1, len(group)))
            writer.add_key_value_metadata({"ecgsynth": file.metadata.metadata[b"ecgsynth"]})
        dense.unlink()


def part_name(number: int) -> str:
    """Give the name of a part."""
    return f"part-{number:06d}.parquet"


def known_of(path: Path) -> Part:
    """Give what is known of a part that is there; nothing if it is none.

    Raises
    ------
    EcgsynthError
        If it is no part.
    """
    with _opened(path) as file:
        try:
            part: Part = conform(of_json(file.metadata.metadata[b"ecgsynth"]), {**PART_FORM, **SHAPE_FORM})
            if part["n_leads"] * part["n_samples"] > MOST_SAMPLES or file.metadata.num_rows != part["beats"]:
                raise ValueError("it is not of the size that it says")
            return part
        except (KeyError, TypeError, ValueError) as error:
            raise EcgsynthError(f"{path} is no part of a folder of beats ({error})") from error


def read_part(path: Path) -> Iterator[Beats]:
    """Give the beats of a part, row group by row group.

    Raises
    ------
    EcgsynthError
        If it is no part, or damaged.
    """
    part = known_of(path)
    with _opened(path) as file:
        try:
            for table in file.groups():
                yield _from_table(table, part)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise EcgsynthError(f"{path} is damaged ({error})") from error


class PartShape(NamedTuple):
    """What all beats of a set share."""

    n_leads: int
    n_samples: int
    fs: float
    r_sample: int


def read_columns(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read columns of a part; its signals are not read.

    Raises
    ------
    EcgsynthError
        If it is no part, or damaged.
    """
    with _opened(path) as file:
        try:
            table = file.read(list(names))
            return {name: _column(table, name) for name in table.column_names}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise EcgsynthError(f"{path} is damaged ({error})") from error


def _shape(beats: Beats) -> PartShape:
    return PartShape(*beats.window)


def _opened(path: Path) -> TableFile:
    try:
        return TableFile(path, "signals")
    except (OSError, ValueError) as error:
        raise EcgsynthError(f"{path} is no Parquet file, or it is damaged ({error})") from error


def _to_table(beats: Beats) -> "pa.Table":
    import pyarrow as pa

    signals = pa.FixedSizeListArray.from_arrays(pa.array(beats.signals.reshape(-1)), beats.n_leads * beats.n_samples)
    columns = {name: pa.array(getattr(beats, name)) for name in beats.columns}
    return pa.table({"signals": signals, **columns})


def _from_table(table: "pa.Table", part: Part) -> Beats:
    import pyarrow as pa

    if table.schema.field("signals").type != pa.list_(pa.float32(), part["n_leads"] * part["n_samples"]):
        raise ValueError("its signals are of another kind")
    signals = table["signals"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    shape = (part["n_leads"], part["n_samples"]) if part["n_leads"] > 1 else (part["n_samples"],)
    columns: dict[str, Any] = {name: _column(table, name) for name in table.column_names if name != "signals"}
    return Beats(signals=signals.reshape(len(table), *shape), fs=part["fs"], r_sample=part["r_sample"], **columns)


def _column(table: "pa.Table", name: str) -> NDArray[Any]:
    import pyarrow as pa

    if name not in _TEXT:
        return column_of(name, np.asarray(table[name].to_numpy()), "i" if name == "samples" else "f")
    if table[name].null_count or not pa.types.is_dictionary(table.schema.field(name).type):
        raise ValueError(f"{name} holds values of another kind")
    coded = table[name].unify_dictionaries().combine_chunks()
    return text_of(name, coded.dictionary.to_pylist())[coded.indices.to_numpy()] if len(coded) else np.array([], dtype=np.str_)
