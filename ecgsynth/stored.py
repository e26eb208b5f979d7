"""Beats on disk or in a bucket, in parts: as many as there is room for, a few of which are in memory at a time."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import LABELS
from ecgsynth.parts import PART_FORM, SHAPE_FORM, UNLIKE, Part, PartShape, read_columns, read_part
from ecgsynth.places import place
from ecgsynth.untrusted import BEATS, conform, of_json, within

HEAD = "beats.json"
"""The file by which a folder of beats is known, and which is written when all its parts are there."""

MOST = 200_000
"""Beats that are loaded of a larger set where all must be in memory: some 250 MB a lead."""

DRAWN_OF = "drawn_of_sha256"

FORMAT = 1

_FEWEST = 20  # beats of a label that are loaded, if there are so many

_HEAD = {"format": int, **SHAPE_FORM, **BEATS, "parts": [PART_FORM]}


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
        path = within(folder / HEAD, folder)
        if not path.is_file():
            raise EcgsynthError(f"no beats in {folder}: {HEAD}, which is written last, is not there")
        try:
            head = conform(of_json(path.read_text(encoding="utf-8")), _HEAD)
            if head["format"] != FORMAT:
                raise EcgsynthError(f"{folder} is of format {head['format']}; this version reads format {FORMAT}")
            for part in head["parts"]:
                if Path(part["name"]).name != part["name"] or sum(count for *_, count in part["counts"]) != part["beats"]:
                    raise ValueError("its parts do not add up")
                within(folder / part["name"], folder)
            if not any(part["beats"] for part in head["parts"]):
                raise ValueError("it holds no beats")
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
            columns = read_columns(self.folder / part["name"], {*names, "classes", "symbols"})
            meant = self._meant(columns["classes"], columns["symbols"])
            yield {name: columns[name][meant] for name in names}

    def load(self) -> Beats:
        """Read all beats."""
        return concatenate(list(self.batches()))

    def _of_part(self, part: Part) -> Iterator[Beats]:
        declared = Counter({(beat_class, symbol): count for beat_class, symbol, count in part["counts"]})
        seen: Counter[tuple[str, str]] = Counter()
        for beats in read_part(self.folder / part["name"]):
            seen.update(zip(beats.classes.tolist(), beats.symbols.tolist(), strict=True))
            if not seen <= declared:
                break
            meant = beats if self.only is None else beats.take(self._meant(beats.classes, beats.symbols))
            yield replace(meant, source=self.source, info=self.info)
        if seen != declared:
            raise EcgsynthError(f"{self.folder / part['name']} holds other beats than {HEAD} says")

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
        kept, digest = [], hashlib.sha256()
        for beats in self.batches():
            digest.update(beats.rounded().tobytes())
            pairs = list(zip(beats.classes.tolist(), beats.symbols.tolist(), strict=True))
            wanted = np.zeros(len(beats), dtype=bool)
            for label in set(pairs):
                own = np.flatnonzero([pair == label for pair in pairs])
                places = drawn[label][np.searchsorted(drawn[label], seen[label]) : np.searchsorted(drawn[label], seen[label] + len(own))]
                wanted[own[places - seen[label]]] = True
                seen[label] += len(own)
            if wanted.any():
                kept.append(beats.take(wanted))
        self._add_classes(digest)
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
        self._add_classes(found)
        return found.hexdigest()

    def _add_classes(self, digest: Any) -> None:
        """Add the classes of all beats to a digest of their signals."""
        for columns in self.columns("classes"):
            digest.update("".join(columns["classes"].tolist()).encode())


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


def seal(folder: Path, parts: Sequence[Part], *, source: str, info: Mapping[str, Any]) -> StoredBeats:
    """Say of a folder that all its parts are there.

    Raises
    ------
    EcgsynthError
        If there is no beat in them, or they are of different shapes.
    """
    full = [part for part in parts if part["beats"]]
    shapes = {PartShape(*(part[name] for name in PartShape._fields)) for part in full}
    if not full:
        raise EcgsynthError("no beat could be cut: the records hold no beat annotation, or none fits its window")
    if len(shapes) > 1:
        raise EcgsynthError(UNLIKE)
    told = [{name: part[name] for name in ("name", "beats", "counts")} for part in full]
    head = {"format": FORMAT, **shapes.pop()._asdict(), "source": source, "info": dict(info), "parts": told}
    text = json.dumps(head)
    with atomic_path(folder / HEAD, force=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return StoredBeats(folder, json.loads(text))
