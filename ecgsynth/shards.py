"""Shards: parts of a dataset, each of which is drawn, gated, set into strips and written by itself."""

import json
from collections import Counter
from collections.abc import Generator as Steps
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import ecgsynth
from ecgsynth.beats import concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, sha256
from ecgsynth.findings import Evaluation
from ecgsynth.formats import Rows, join_rows, to_csv_rows, write_csv, write_parquet
from ecgsynth.gate import REASONS, Gate
from ecgsynth.generators import Generator, load_generator
from ecgsynth.models import shipped_gates
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import write_record
from ecgsynth.splits import apportion
from ecgsynth.strips import arrange, draw

FORMAT = 1
SHARD = 10_000
"""Beats of a shard, which is made whole or not at all."""
PER_RECORD = 2000
"""Beats of a WFDB record: about half an hour."""
STRIDE = 2**24
"""Numbers that a quota has for its beats in a shard, so that shards ask nothing of each other."""
COUNTS = "counts.json"

_ENOUGH = 200  # beats of a quota that are looked at before it may be given up


class Shard(NamedTuple):
    """A part of a dataset: so many beats of each quota, all of one split, and which of the split's shards it is."""

    number: int
    split: str
    place: int
    of: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Where beats come from.

    Parameters
    ----------
    recipe : Recipe
        What is asked for.
    model : Generator
        What makes it.
    gate : Gate, optional
        What lets it pass.
    evaluation : Evaluation, optional
        What was found of beats of the model.
    """

    recipe: Recipe
    model: Generator
    gate: Gate | None
    evaluation: Evaluation | None = None

    @cached_property
    def model_sha256(self) -> str:
        """The model's fingerprint."""
        return self.model.fingerprint()

    @classmethod
    def of(cls, recipe: Recipe) -> "Source":
        """Load what a recipe names.

        Raises
        ------
        EcgsynthError
            If a file is missing or damaged, the model holds real beats or cannot make what is asked for, no gate is known for it,
            or the evaluation is of another model.
        """
        model = load_generator(recipe.model)
        if model.holds_real_beats:
            raise EcgsynthError(f"{recipe.model} is a {model.name} that holds real beats: what it makes is not for release")
        for quota in recipe.quotas:
            model.wanted(quota.request(quota.count, seed=recipe.seed, first=0))
        gate = None if recipe.gate == "none" else _gate_for(model, recipe)
        evaluation = Evaluation.load(recipe.run) if recipe.run else None
        if evaluation and evaluation.synthetic.info.get("model_sha256") != model.fingerprint():
            raise EcgsynthError(f"the evaluation in {recipe.run} is of beats of another model than {recipe.model}")
        return cls(recipe, model, gate, evaluation)

    def head(self) -> dict[str, Any]:
        """Give all that the dataset's bytes depend on, as plain JSON."""
        gate = self.gate and {**self.gate.summary(), "sha256": self.gate.digest()}
        run = sha256(Path(self.recipe.run) / "evaluation.json") if self.recipe.run else None
        known = {"recipe": self.recipe.to_dict(), "model_sha256": self.model_sha256, "gate": gate, "run_sha256": run}
        return {"format": FORMAT, "ecgsynth": ecgsynth.__version__, **known}


def _gate_for(model: Generator, recipe: Recipe) -> Gate:
    if recipe.gate_file:
        return Gate.load(recipe.gate_file)
    of_same_beats = (gate for gate in map(Gate.load, shipped_gates()) if gate.data_sha256 == model.shape_.get("data_sha256"))
    found = next((gate for gate in of_same_beats if gate.by == model.by), None)
    if found is None:
        raise EcgsynthError(
            f"no gate comes with ecgsynth for the beats that {recipe.model} learnt: `ecgsynth gate SPLIT -o gate.safetensors` learns one "
            "(gate_file, or --gate), or build without (--no-gate)"
        )
    return found


def plan(recipe: Recipe) -> list[Shard]:
    """Divide what is asked for into splits, and these into shards of at most some 10,000 beats."""
    by_quota = np.array([apportion(quota.count, list(recipe.splits.values())) for quota in recipe.quotas])  # (quotas, splits)
    shards: list[Shard] = []
    for split, counts in zip(recipe.splits, by_quota.T, strict=True):
        of = -(-int(counts.sum()) // SHARD)
        parts = np.array([np.diff(np.arange(of + 1) * int(count) // max(of, 1)) for count in counts])  # (quotas, shards)
        for place in range(of):
            shards.append(Shard(len(shards), split, place, of, tuple(parts[:, place].tolist())))
    return shards


def make_shard(source: Source, shard: Shard, place: Path) -> Steps[float, None, None]:
    """Draw the beats of a shard, and write it in all formats that are asked for."""
    recipe, drawn = source.recipe, []
    for number, (quota, count) in enumerate(zip(recipe.quotas, shard.counts, strict=True)):
        if count:
            drawn.append(_draw_quota(source, quota, count, first=(shard.number * len(recipe.quotas) + number) * STRIDE))
            yield 0.8 * sum(len(found.rows.beats) for found in drawn) / sum(shard.counts)
    rows = join_rows([found.rows for found in drawn])
    with atomic_path(place, marker=COUNTS) as temporary:
        temporary.mkdir()
        rows = _set_in_strips(rows, source, shard, temporary)
        rows.beats.save(temporary / "beats.npz")
        if "parquet" in recipe.formats:
            write_parquet(rows, temporary / f"{shard.split}-{shard.place:05d}-of-{shard.of:05d}.parquet")
        (temporary / COUNTS).write_text(json.dumps([vars(found.tally) for found in drawn]))
    yield 1.0


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
        """Raise if more than this share was held back."""
        if self.looked_at < _ENOUGH or self.held_back <= share * self.looked_at:
            return
        worst = ", ".join(f"{name} {count:,}" for name, count in self.reasons.most_common())
        raise EcgsynthError(
            f"the gate holds back {self.held_back:,} of {self.looked_at:,} beats of {self.label} ({worst}): take another model or gate, "
            'raise most_rejected, let such beats stay and be marked (gate = "mark"), or build without a gate (gate = "none")'
        )


def read_tallies(place: Path) -> list[Tally]:
    """Read what the gate said of the beats of a shard that is done."""
    return [Tally(**kept | {"reasons": Counter(kept["reasons"])}) for kept in json.loads((place / COUNTS).read_text())]


class Drawn(NamedTuple):
    """Beats of a quota, and what the gate said of all that were looked at."""

    rows: Rows
    tally: Tally


def _draw_quota(source: Source, quota: Quota, count: int, *, first: int) -> Drawn:
    """Draw beats of a quota from number `first` on until so many have passed the gate."""
    model, parts = source.model, []
    tally, missing = Tally(quota.label), count
    while missing:
        whole = -(-missing // model.block) * model.block  # as many as are made anyway
        made = model.sample(**vars(quota.request(whole, seed=source.recipe.seed, first=first)))
        against = source.gate.check(made) if source.gate else np.zeros((len(made), len(REASONS)), dtype=bool)
        held_back = np.asarray(against.any(axis=1)) & (source.recipe.gate == "drop")
        kept = np.flatnonzero(~held_back)[:missing]
        seen = int(kept[-1]) + 1 if len(kept) == missing else len(made)
        tally.add(against[:seen], held_back[:seen])
        tally.refuse_more_than(source.recipe.most_rejected)
        parts.append((made.take(kept), against[kept]))
        missing, first = missing - len(kept), int(made.samples[-1]) + 1
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
