"""Shards: parts of a dataset, each of which is drawn, gated, set into strips and written by itself."""

import hashlib
import json
from collections import Counter
from collections.abc import Generator as Steps
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import ecgsynth
from ecgsynth.beats import concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, sha256
from ecgsynth.formats import Rows, join_rows, to_csv_rows, write_csv, write_parquet
from ecgsynth.gate import REASONS
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import write_record
from ecgsynth.sides import apportion
from ecgsynth.source import Source
from ecgsynth.strips import arrange, draw

SHARD = 10_000
"""Beats of a shard, which is made whole or not at all."""
PER_RECORD = 2000
"""Beats of a WFDB record: about half an hour."""
STRIDE = 2**24
"""Numbers that a quota has for its beats in a shard, so that shards ask nothing of each other."""
COUNTS = "counts.json"

_MOST_COUNTS = 20_000_000  # of quotas in shards
_CHANCE = 0.01  # below which a loss above its share is none of chance, at each of the looks that a build takes


class Shard(NamedTuple):
    """A part of a dataset: so many beats of each quota, all of one split, which of the split's shards it is, and its first row."""

    number: int
    split: str
    place: int
    of: int
    counts: tuple[int, ...]
    row: int


def plan(recipe: Recipe) -> list[Shard]:
    """Divide what is asked for into splits, and these into shards of at most some 10,000 beats.

    Raises
    ------
    EcgsynthError
        If there are too many quotas for so many shards.
    """
    n_beats = sum(quota.count for quota in recipe.quotas)
    if (n_beats // SHARD + len(recipe.splits)) * len(recipe.quotas) > _MOST_COUNTS:
        raise EcgsynthError(f"{len(recipe.quotas):,} quotas are too many for {n_beats:,} beats: make several datasets")
    by_quota = np.array([apportion(quota.count, list(recipe.splits.values())) for quota in recipe.quotas])  # (quotas, splits)
    shards: list[Shard] = []
    row = 0
    for split, counts in zip(recipe.splits, by_quota.T, strict=True):
        of = -(-int(counts.sum()) // SHARD)
        parts = np.array([np.diff(np.arange(of + 1) * int(count) // max(of, 1)) for count in counts])  # (quotas, shards)
        for place in range(of):
            shards.append(Shard(len(shards), split, place, of, tuple(parts[:, place].tolist()), row))
            row += sum(shards[-1].counts)
    return shards


def make_shard(source: Source, shard: Shard, place: Path) -> Steps[float, None, None]:
    """Draw the beats of a shard, and write it in all formats that are asked for, in the place of one of another source."""
    recipe, drawn = source.recipe, []
    for number, (quota, count) in enumerate(zip(recipe.quotas, shard.counts, strict=True)):
        if count:
            own = shard.number * len(recipe.quotas) + number
            drawn.append(_draw_quota(source, quota, count, range(own * STRIDE, (own + 1) * STRIDE)))
            yield 0.8 * sum(len(found.rows.beats) for found in drawn) / sum(shard.counts)
    rows = join_rows([found.rows for found in drawn])
    with atomic_path(place, force=True, marker=COUNTS) as temporary:
        temporary.mkdir()
        rows = _set_in_strips(rows, source, shard, temporary)
        rows.beats.save(temporary / "beats.npz")
        if "parquet" in recipe.formats:
            write_parquet(rows, temporary / f"{shard.split}-{shard.place:05d}-of-{shard.of:05d}.parquet", first_row=shard.row)
        files = {path.relative_to(temporary).as_posix(): sha256(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
        told = {"of": _digest(source, shard), "files": files, "tallies": [vars(found.tally) for found in drawn]}
        (temporary / COUNTS).write_text(json.dumps(told))
    yield 1.0


def is_whole(source: Source, shard: Shard, place: Path) -> bool:
    """Say whether a shard is there, made of this source, every file of it as it was written."""
    try:
        told = json.loads((place / COUNTS).read_text(encoding="utf-8"))
        return told["of"] == _digest(source, shard) and all(sha256(place / path) == digest for path, digest in told["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _digest(source: Source, shard: Shard) -> str:
    """Give the SHA-256 of all that a shard's bytes depend on."""
    return hashlib.sha256(f"{source.digest} {tuple(shard)}".encode()).hexdigest()


@dataclass
class Tally:
    """How many beats of a label the gate has looked at, how many it held back, and what it had against them."""

    label: str
    looked_at: int = 0
    held_back: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, against: NDArray[np.bool_], held_back: NDArray[np.bool_]) -> None:
        """Count beats in: (n, reasons), (n,)."""
        self.looked_at += len(against)
        self.held_back += int(held_back.sum())
        self.reasons.update({name: int(count) for name, count in zip(REASONS, against.sum(axis=0), strict=True) if count})

    def __add__(self, other: "Tally") -> "Tally":
        """Count two together."""
        return Tally(self.label, self.looked_at + other.looked_at, self.held_back + other.held_back, self.reasons + other.reasons)

    def refuse_more_than(self, share: float) -> None:
        """Raise if more than this share was held back, beyond what chance makes of so many beats."""
        from scipy.stats import binomtest

        more = self.held_back > share * self.looked_at
        if not more or binomtest(self.held_back, self.looked_at, share, alternative="greater").pvalue > _CHANCE:
            return
        worst = ", ".join(f"{name} {count:,}" for name, count in self.reasons.most_common())
        raise EcgsynthError(
            f"the gate holds back {self.held_back:,} of {self.looked_at:,} beats of {self.label} ({worst}): take another model or gate, "
            'raise most_rejected, let such beats stay and be marked (gate = "mark"), or build without a gate (gate = "none")'
        )


def read_tallies(place: Path) -> list[Tally]:
    """Read what the gate said of the beats of a shard that is done."""
    kept = json.loads((place / COUNTS).read_text(encoding="utf-8"))["tallies"]
    return [Tally(**tally | {"reasons": Counter(tally["reasons"])}) for tally in kept]


class Drawn(NamedTuple):
    """Beats of a quota, and what the gate said of all that were looked at."""

    rows: Rows
    tally: Tally


def _draw_quota(source: Source, quota: Quota, count: int, numbers: range) -> Drawn:
    """Draw beats of a quota, of these numbers, until so many have passed the gate; what is not finite is never kept."""
    model, parts = source.model, []
    tally, missing, first = Tally(quota.label), count, numbers.start
    while missing:
        whole = -(-missing // model.block) * model.block  # as many as are made anyway
        made = model.sample(**vars(quota.request(whole, seed=source.recipe.seed, first=first)))
        against = source.gate.check(made) if source.gate else np.zeros((len(made), len(REASONS)), dtype=bool)
        broken = ~np.isfinite(made.signals.reshape(len(made), -1)).all(axis=1)
        held_back = np.asarray(against.any(axis=1) if source.recipe.gate == "drop" else broken, dtype=bool)
        kept = np.flatnonzero(~held_back)[:missing]
        seen = int(kept[-1]) + 1 if len(kept) == missing else len(made)
        tally.add(against[:seen], held_back[:seen])
        tally.refuse_more_than(source.recipe.most_rejected)
        parts.append((made.take(kept), against[kept]))
        missing, first = missing - len(kept), int(made.samples[-1]) + 1
        if first + whole > numbers.stop:
            raise EcgsynthError(f"beats of {quota.label} as they are asked for are too rare: take a wider range of RR, or another gate")
    beats = concatenate([made for made, _ in parts])
    marked = np.concatenate([against for _, against in parts]) if source.gate else None
    return Drawn(Rows(beats, np.full(count, -1), np.full(count, quota.lead or ""), marked), tally)


def _set_in_strips(rows: Rows, source: Source, shard: Shard, folder: Path) -> Rows:
    """Put beats in the order of their strips, lead by lead, and write what is made of strips."""
    wfdb, csv = ("wfdb" in source.recipe.formats, "csv" in source.recipe.formats)
    done: list[Rows] = []
    cut: list[NDArray[np.float64]] = []
    for lead in np.unique(rows.beats.leads).tolist():
        of_lead = rows.take(np.flatnonzero(rows.beats.leads == lead))
        of_lead = of_lead.take(arrange(of_lead.beats))
        pieces = np.array_split(np.arange(len(of_lead.beats)), -(-len(of_lead.beats) // PER_RECORD))
        for piece in (of_lead.take(index) for index in pieces):
            if wfdb or csv:
                name = f"{shard.split}_{shard.number:05d}_{len(done):02d}"
                record = draw(piece.beats, name, seed=[source.recipe.seed, shard.number, len(done)])
                if csv:
                    cut.append(to_csv_rows(record, piece.beats.classes))
                if wfdb:
                    write_record(record, folder / "wfdb", comments=_comments(source))
                    named = replace(piece.beats, records=np.full(len(piece.beats), name))
                    piece = replace(piece, beats=named, places=record.samples)
            done.append(piece)
    if csv:
        write_csv(np.concatenate(cut), folder / "part.csv")
    return join_rows(done)


def _comments(source: Source) -> list[str]:
    return [
        "SYNTHETIC: of no patient, not for diagnosis; neighbouring beats belong to nobody in common",
        f"made by ecgsynth {ecgsynth.__version__}, generator {source.model.name}, seed {source.recipe.seed}",
        f"model SHA-256 {source.model_sha256}",
    ]
