"""Beats on disk or in a bucket, in parts: as many as there is room for, a few of which are in memory at a time."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES, LABELS, SYMBOL_TO_CLASS
from ecgsynth.places import open_file, place
from ecgsynth.untrusted import BEATS, MOST_SAMPLES, conform, is_above_0, is_count, is_whole, of_json

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = "beats.json"
"""The file by which a folder of beats is known, and which is written when all its parts are there."""

MOST = 200_000
"""Beats that are loaded of a larger set where all must be in memory: some 250 MB a lead."""

DRAWN_OF = "drawn_of_sha256"

FORMAT = 1

_FEWEST = 20  # beats of a label that are loaded, if there are so many
_UNLIKE = "the records differ in their number of leads: choose one lead instead of all"
_TEXT = ("classes", "symbols", "records", "patients", "leads", "sexes")

Part = dict[str, Any]
"""What is known of a part: name, beats, counts by class and symbol, and what its writer tells."""


def _is_count(value: Any) -> bool:
    """Say whether something is class, symbol and number of beats."""
    return len(value) == 3 and value[0] in AAMI_CLASSES and value[1] in ("", *SYMBOL_TO_CLASS) and is_count(value[2])


_PART = {"name": str, "beats": is_count, "counts": [_is_count]}
_SHAPE = {"n_leads": is_whole, "n_samples": is_whole, "fs": is_above_0, "r_sample": is_count}
_HEAD = {"format": int, **_SHAPE, **BEATS, "parts": [_PART]}


@dataclass(frozen=True)
class StoredBeats:
    """Beats in a folder of Parquet files.

    Parameters
    ----------
    folder : path
        Where, also an address that fsspec knows.
    head : mapping
        What is known of all: shape, counts, source, info, and the list of parts.
    only : frozenset of (str, str), optional
        Class and symbol of the beats that are meant; all if not given.
    """

    folder: Path
    head: Mapping[str, Any]
    only: frozenset[tuple[str, str]] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> "StoredBeats":
        """Open a folder of beats; none is read yet.

        Raises
        ------
        EcgsynthError
            If there is none, or it is not whole.
        """
        folder = place(folder)
        path = folder / HEAD
        if not path.is_file():
            raise EcgsynthError(f"no beats in {folder}: {HEAD}, which is written last, is not there")
        try:
            head = conform(of_json(path.read_text(encoding="utf-8")), _HEAD)
            if head["format"] != FORMAT:
                raise EcgsynthError(f"{folder} is of format {head['format']}; this version reads format {FORMAT}")
            for part in head["parts"]:
                if Path(part["name"]).name != part["name"] or sum(count for *_, count in part["counts"]) != part["beats"]:
                    raise ValueError("its parts do not add up")
            return cls(folder, head)
        except EcgsynthError:
            raise
        except (OSError, ValueError) as error:
            raise EcgsynthError(f"{path} is damaged ({error})") from error

    def __len__(self) -> int:
        return self.pairs().total()

    @property
    def source(self) -> str:
        """As `Beats.source`."""
        return str(self.head["source"])

    @property
    def is_synthetic(self) -> bool:
        """As `Beats.is_synthetic`."""
        return self.source not in ("real", "simulated")

    @property
    def info(self) -> dict[str, Any]:
        """As `Beats.info`."""
        return dict(self.head["info"])

    def counts(self, by: str = "class") -> dict[str, int]:
        """As `Beats.counts`."""
        found: Counter[str] = Counter()
        for pair, count in self.pairs().items():
            found[pair[by == "symbol"]] += count
        if found[""]:
            raise EcgsynthError("these beats have no annotation symbols: only their classes are known")
        return {name: found[name] for name in LABELS[by] if found[name]}

    def pairs(self) -> Counter[tuple[str, str]]:
        """Count beats by class and symbol."""
        found: Counter[tuple[str, str]] = Counter()
        for part in self.head["parts"]:
            for beat_class, symbol, count in part["counts"]:
                if self.only is None or (beat_class, symbol) in self.only:
                    found[beat_class, symbol] += count
        return found

    def of(self, labels: Collection[str], by: str = "class") -> "StoredBeats":
        """Give those of some labels."""
        return replace(self, only=frozenset(pair for pair in self.pairs() if pair[by == "symbol"] in labels))

    def batches(self) -> Iterator[Beats]:
        """Give all beats in their order, those of a record or some thousands at a time."""
        for part in self.head["parts"]:
            yield from self._of_part(part)

    def columns(self, *names: str) -> Iterator[dict[str, NDArray[Any]]]:
        """Give columns that are known of each beat, part by part; signals are not read."""
        for part in self.head["parts"]:
            with _opened(self.folder / part["name"]) as file:
                table = file.read(columns=list({*names, "classes", "symbols"}))
                columns = {name: _column(table, name) for name in table.column_names}
            meant = self._meant(columns["classes"], columns["symbols"])
            yield {name: columns[name][meant] for name in names}

    def load(self) -> Beats:
        """Read all beats."""
        return concatenate(list(self.batches()))

    def _of_part(self, part: Part) -> Iterator[Beats]:
        for beats in read_part(self.folder / part["name"]):
            meant = beats if self.only is None else beats.take(self._meant(beats.classes, beats.symbols))
            yield replace(meant, source=self.source, info=self.info)

    def _meant(self, classes: NDArray[np.str_], symbols: NDArray[np.str_]) -> NDArray[np.bool_]:
        if self.only is None:
            return np.ones(len(classes), dtype=bool)
        return np.array([pair in self.only for pair in zip(classes.tolist(), symbols.tolist(), strict=True)], dtype=bool)

    def some(self, most: int = MOST, *, seed: int = 0, whole: int = _FEWEST) -> Beats:
        """Read beats drawn at random: so many in all, of each label its share, or all if there are not more.

        Of rare labels come at least `whole` beats, or all there are.

        The same beats are drawn whatever parts they lie in; `DRAWN_OF` in their info has the digest of all.
        """
        if len(self) <= most:
            return self.load()
        drawn = {}
        for number, (label, count) in enumerate(sorted(self.pairs().items())):
            share = max(round(most * count / len(self)), min(count, whole))
            drawn[label] = np.sort(np.random.default_rng([seed, number]).choice(count, share, replace=False, shuffle=False))
        seen: Counter[tuple[str, str]] = Counter()
        kept, digest, classes = [], hashlib.sha256(), []
        for beats in self.batches():
            digest.update(beats.rounded().tobytes())
            classes.append("".join(beats.classes.tolist()))
            pairs = list(zip(beats.classes.tolist(), beats.symbols.tolist(), strict=True))
            wanted = np.zeros(len(beats), dtype=bool)
            for label in set(pairs):
                own = np.flatnonzero([pair == label for pair in pairs])
                places = drawn[label][np.searchsorted(drawn[label], seen[label]) : np.searchsorted(drawn[label], seen[label] + len(own))]
                wanted[own[places - seen[label]]] = True
                seen[label] += len(own)
            kept.append(beats.take(wanted))
        digest.update("".join(classes).encode())
        return replace(concatenate(kept), info={**self.info, DRAWN_OF: digest.hexdigest()})

    def window(self, number: int, size: int, *, seed: int = 0) -> Beats:
        """Read beats to train on next: some parts, in an order that is drawn anew each time all were read.

        Parameters
        ----------
        number : int
            0, 1, and so on: same number and seed, same beats.
        size : int
            Beats in memory; of larger parts so many are drawn.
        seed : int
            Of all draws.
        """
        parts = self.head["parts"]
        at_once = min(len(parts), max(1, size * len(parts) // len(self)))
        places = np.arange(number * at_once, (number + 1) * at_once)
        orders = {time: np.random.default_rng([seed, 0, time]).permutation(len(parts)) for time in set((places // len(parts)).tolist())}
        chosen = [parts[orders[place // len(parts)][place % len(parts)]] for place in places.tolist()]
        share = size / sum(part["beats"] for part in chosen)
        rng = np.random.default_rng([seed, 1, number])
        return concatenate([beats.take(rng.random(len(beats)) < share) for part in chosen for beats in self._of_part(part)])

    def digest(self) -> str:
        """As `Beats.digest` of all beats."""
        found = hashlib.sha256()
        for beats in self.batches():
            found.update(beats.rounded().tobytes())
        for columns in self.columns("classes"):
            found.update("".join(columns["classes"].tolist()).encode())
        return found.hexdigest()


def open_beats(path: str | Path) -> Beats | StoredBeats:
    """Give beats from a file of `Beats.save`, or open a folder of parts.

    Raises
    ------
    EcgsynthError
        If there are none, or they are damaged.
    """
    path = place(path)
    return StoredBeats.open(path) if path.is_dir() else Beats.load(path)


def load_beats(path: str | Path, *, most: int | None = None, seed: int = 0) -> Beats:
    """Read beats from a file of `Beats.save` or a folder of parts; of a folder at most so many, drawn at random, if that is said.

    Raises
    ------
    EcgsynthError
        If there are none, or they are damaged.
    """
    found = open_beats(path)
    if isinstance(found, Beats):
        return found
    return found.load() if most is None else found.some(most, seed=seed)


def write_part(path: Path, batches: Iterable[Beats], **told: Any) -> Part:
    """Write a part, each batch as a row group of its own; gives what is known of it.

    Raises
    ------
    EcgsynthError
        If the batches do not fit together, or it cannot be written.
    ValueError
        If there is no batch.
    """
    import pyarrow.parquet as pq

    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("a part has at least one batch")
    counts: Counter[tuple[str, str]] = Counter()
    schema = _to_table(first).schema
    plain = [name for name in schema.names if name != "signals"]
    compact = {"compression": "zstd", "use_dictionary": plain, "use_byte_stream_split": ["signals.list.element"]}
    with atomic_path(path, force=True) as temporary, pq.ParquetWriter(temporary, schema, **compact) as writer:
        for beats in chain([first], batches):
            if _shape(beats) != _shape(first):
                raise EcgsynthError(_UNLIKE)
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
            part: Part = conform(of_json(file.metadata.metadata[b"ecgsynth"]), {**_PART, **_SHAPE})
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
        for number in range(file.num_row_groups):
            try:
                yield _from_table(file.read_row_group(number), part)
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise EcgsynthError(f"{path} is damaged ({error})") from error


def seal(folder: Path, parts: Sequence[Part], *, source: str, info: Mapping[str, Any]) -> StoredBeats:
    """Say of a folder that all its parts are there.

    Raises
    ------
    EcgsynthError
        If there is no beat in them, or they are of different shapes.
    """
    full = [part for part in parts if part["beats"]]
    shapes = {_Shape(*(part[name] for name in _Shape._fields)) for part in full}
    if not full:
        raise EcgsynthError("no beat could be cut: the records hold no beat annotation, or none fits its window")
    if len(shapes) > 1:
        raise EcgsynthError(_UNLIKE)
    told = [{name: part[name] for name in ("name", "beats", "counts")} for part in full]
    head = {"format": FORMAT, **shapes.pop()._asdict(), "source": source, "info": dict(info), "parts": told}
    text = json.dumps(head)
    with atomic_path(folder / HEAD, force=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return StoredBeats(folder, json.loads(text))


class _Shape(NamedTuple):
    n_leads: int
    n_samples: int
    fs: float
    r_sample: int


def _shape(beats: Beats) -> _Shape:
    return _Shape(beats.n_leads, beats.n_samples, beats.fs, beats.r_sample)


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(open_file(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise EcgsynthError(f"{path} is no Parquet file, or it is damaged ({error})") from error


def _to_table(beats: Beats) -> "pa.Table":
    import pyarrow as pa

    signals = pa.FixedSizeListArray.from_arrays(pa.array(beats.signals.reshape(-1)), beats.n_leads * beats.n_samples)
    columns = {name: pa.array(getattr(beats, name)) for name in beats.columns}
    return pa.table({"signals": signals, **columns})


def _from_table(table: "pa.Table", part: Part) -> Beats:
    signals = table["signals"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    shape = (part["n_leads"], part["n_samples"]) if part["n_leads"] > 1 else (part["n_samples"],)
    columns: dict[str, Any] = {name: _column(table, name) for name in table.column_names if name != "signals"}
    return Beats(signals=signals.reshape(len(table), *shape), fs=part["fs"], r_sample=part["r_sample"], **columns)


def _column(table: "pa.Table", name: str) -> NDArray[Any]:
    if name not in _TEXT:
        return np.asarray(table[name].to_numpy())
    coded = table[name].combine_chunks().dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=np.str_)[coded.indices.to_numpy()] if len(coded) else np.array([], dtype=np.str_)
