"""The contract of every generator: fit, sample, save, load; checks, seeds and files are done here once."""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Generator as Steps
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.devices import CPU, describe, find_device
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, tensor_bytes
from ecgsynth.generators.cells import Cell, alike, cells_of, held, numbers_of, refuse_unlearnable
from ecgsynth.generators.heads import read_head
from ecgsynth.generators.history import TrainingStep
from ecgsynth.generators.requests import Block, Interval, Request
from ecgsynth.labels import LABELS, aami_classes
from ecgsynth.places import place
from ecgsynth.steps import drain
from ecgsynth.stored import DRAWN_OF, MOST, StoredBeats
from ecgsynth.vectors import Shape, Vectors, from_vectors, shape_of

Arrays = dict[str, NDArray[Any]]
Cells = NDArray[np.int64]

FORMAT = 2

RARE = 10_000
"""Beats of a label up to which all are held in memory, where not all beats fit."""

_HISTORY = 200  # steps of a training that are kept for its curves
_LOOKED_AT = 20_000  # beats after which a request for rare ones is given up


class Generator(ABC):
    """Learns labelled beats and makes new ones.

    A subclass takes keyword-only plain values, stores them unchanged under their names, and writes
    `_fit_steps`, `_sample`, `_arrays` and `_restore`. It sees beats as vectors (`ecgsynth.vectors`) and
    what it is told of each as the number of a cell of `cells`.

    Attributes
    ----------
    name : str
        The name under which it stands in `GENERATORS`.
    block : int
        Beats made at a time; always so many, so that a beat does not depend on how many are asked for.
    holds_real_beats : bool
        Whether the model file contains real beats, so that it must be guarded as they are.
    learns : bool
        Whether it learns more of beats than their window, labels and leads; if not, its model tells no more, nor their number and hash.
    tells_of_training : bool
        Whether the model file has the course of its training, which is of the training beats.
    shape_ : dict
        After fitting: the layout of beats, ``by`` which label they are told apart, ``cells`` and
        ``data_sha256`` of the training beats.
    history_ : list of TrainingStep
        After fitting: the steps at which the validation score was taken, and some two hundred between.
    notes_ : list of str
        After fitting: what went wrong in training, and what was done about it.
    """

    block: ClassVar[int] = 512
    holds_real_beats: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    tells_of_training: ClassVar[bool] = True
    takes_cards: ClassVar[bool] = False
    """Whether it can be trained on a graphics card."""
    name: str

    def __init__(self) -> None:
        self.shape_: dict[str, Any] = {}
        self.history_: list[TrainingStep] = []
        self._whole: StoredBeats | None = None
        self._device = CPU
        self.notes_: list[str] = []

    @property
    def params(self) -> dict[str, Any]:
        """The constructor's values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "name"}

    @property
    def by(self) -> str:
        """What its beats are told apart by: ``"class"`` or ``"symbol"``."""
        return str(self._fitted()["by"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels it has learnt: AAMI classes or symbols."""
        return tuple(dict.fromkeys(cell.label for cell in self.cells))

    @property
    def counts(self) -> dict[str, int]:
        """Training beats of each label; as many of each where nothing is learnt."""
        return {label: sum(cell.n_beats for cell in self.cells if cell.label == label) for label in self.classes}

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads it has learnt."""
        return tuple(dict.fromkeys(cell.lead for cell in self.cells))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every combination of label and lead that it has learnt."""
        return tuple(Cell(*cell) for cell in self._fitted()["cells"])

    @property
    def n_parameters(self) -> int:
        """How many numbers it has learnt: weights and statistics, and beats where it holds any."""
        return sum(array.size for array in self._arrays().values())

    @property
    def layout(self) -> Shape:
        """How the columns of its vectors are laid out."""
        return Shape(self._fitted()["n_leads"], self._fitted()["n_samples"], self._fitted().get("n_rhythm", 2))

    def fit(self, train: Beats, validation: Beats | None = None, *, by: str = "class", device: str = "cpu") -> Self:
        """Learn from real beats.

        Parameters
        ----------
        train : Beats
            What is learnt.
        validation : Beats, optional
            What the weights to keep are chosen by; without it the last are kept.
        by : str
            ``"class"`` to learn AAMI classes, ``"symbol"`` to learn annotation symbols.
        device : str
            Where its network is trained, `ecgsynth.devices.find_device`; new beats are made by the processor.

        Returns
        -------
        Generator
            Itself.

        Raises
        ------
        EcgsynthError
            If the beats are synthetic, a label has fewer than two, or the device is not there or of no use to this generator.
        """
        for _ in self.fit_steps(train, validation, by=by, device=device):
            pass
        return self

    def fit_steps(
        self,
        train: Beats | StoredBeats,
        validation: Beats | None = None,
        checkpoint: str | Path | None = None,
        *,
        by: str = "class",
        device: str = "cpu",
    ) -> Steps[TrainingStep, None, None]:
        """Learn step by step, as `fit`; whoever iterates may show progress, or stop and keep the best so far.

        Parameters
        ----------
        train : Beats or StoredBeats
            What is learnt. Of more beats than `ecgsynth.stored.MOST` those of rare labels are held in memory, and others in turn; a
            generator without training steps, or with differential privacy, learns from so many, drawn at random.
        validation, by, device
            As for `fit`.
        checkpoint : path, optional
            Training goes on from this file if it is there, and is saved to it now and then.
        """
        self._device = find_device(device)
        if self._device != CPU and not self.takes_cards:
            raise EcgsynthError(f"{self.name} is not trained on a graphics card: leave the device out")
        self._whole = None
        if isinstance(train, StoredBeats):
            self._whole = train if len(train) > MOST else None
            train = train.some(MOST, whole=RARE)
        refuse_unlearnable(train, validation, by)
        self.shape_ = self._describe(train, by)
        if self._whole is not None:
            self.shape_ |= self._describe_whole(self._whole, train, by)
        self.shape_ |= {} if self.learns else {"cells": alike(self.shape_["cells"]), "data_sha256": ""}
        if self._device != CPU:
            self.shape_["trained_on"] = describe(self._device)
        self.history_, self.notes_ = [], []
        with closing(self._fit_steps(train, validation, place(checkpoint) if checkpoint else None)) as steps:
            for step in steps:
                pace = step.share / step.step  # a training that goes on may have another budget than when it was stopped
                due = not self.history_ or pace * (step.step - self.history_[-1].step) >= 1 / _HISTORY - 1e-9
                if self.tells_of_training and (due or step.detection is not None or step.share >= 1):
                    self.history_.append(step)
                yield step

    def _describe(self, train: Beats, by: str) -> dict[str, Any]:
        """Give what a model tells of the beats it learnt from."""
        return {
            **shape_of(train)._asdict(),
            "fs": train.fs,
            "r_sample": train.r_sample,
            "rhythm": bool(np.isfinite(train.rr_before).any()),
            "by": by,
            "cells": cells_of(train, by),
            "data_sha256": train.digest(),
        }

    def _describe_whole(self, whole: StoredBeats, drawn: Beats, by: str) -> dict[str, Any]:
        """Give what a model tells of beats that are too many for memory, beside their shape; `drawn` are those in memory."""
        return {"cells": held(cells_of(whole, by), drawn, by), "data_sha256": drawn.info[DRAWN_OF]}

    def sample(
        self,
        counts: Mapping[str, int],
        *,
        seed: int = 0,
        first: int = 0,
        lead: str | None = None,
        rr_before: Interval | None = None,
        rr_after: Interval | None = None,
        workers: int | None = None,
    ) -> Beats:
        """Make new beats.

        Beat i of a label depends on the model, the seed and `lead` alone: not on how many are asked for,
        in what order, or on how many threads.

        Parameters
        ----------
        counts : mapping of str to int
            Label -> how many; `class_counts` computes such a request from real beats.
        seed : int
            Same model, request and seed on one machine: same beats.
        first : int
            The number of the first beat of each label: ``first=1000`` goes on where a request for 1000
            beats ended.
        lead : str, optional
            Make beats of this lead only; otherwise leads are drawn as often as each label has them.
        rr_before, rr_after : (float, float), optional
            Keep beats only whose interval to the beat before, or after, lies between these, s; those kept
            have the numbers that they would have had anyway.
        workers : int, optional
            Threads; as many as torch has if not given, one a core.

        Returns
        -------
        Beats
            Label by label in the order of `ecgsynth.labels.LABELS`, with ``source`` set to the
            generator's name, ``samples`` to the number of each beat, and ``info`` naming the seed,
            the SHA-256 of the model and of the beats it learnt from, and the synthetic patient if all are of one.

        Raises
        ------
        EcgsynthError
            If a label or lead was never seen, a count is negative, nothing is asked for, or beats of such
            intervals are too rare to be found.
        """
        request = Request(counts, seed=seed, first=first, lead=lead, rr_before=rr_before, rr_after=rr_after)
        return drain(self.sample_steps(request, workers=workers))

    def sample_steps(self, request: Request, *, workers: int | None = None) -> Steps[float, None, Beats]:
        """Do the work of `sample`, yielding the share done; the result is the generator's return value."""
        missing = self.wanted(request)
        total = sum(missing.values())
        ahead = dict.fromkeys(missing, request.first // self.block)
        found: dict[str, list[tuple[Vectors, Cells, Cells]]] = {name: [] for name in missing}
        while missing:
            jobs = [Block(name, ahead[name] + more) for name, count in missing.items() for more in range(-(-count // self.block))]
            for job, (vectors, cells) in zip(jobs, self._make_blocks(jobs, request, workers), strict=True):
                numbers = job.number * self.block + np.arange(self.block)
                kept = np.flatnonzero(request.fits(vectors, numbers, self.layout))[: missing[job.label]]
                if len(kept) < self.block:
                    vectors, cells, numbers = vectors[kept], cells[kept], numbers[kept]
                found[job.label].append((vectors, cells, numbers))
                missing[job.label] -= len(kept)
                ahead[job.label] += 1
                yield 1 - sum(missing.values()) / total
            missing = {name: count for name, count in missing.items() if count}
            for name in missing:
                looked_at, so_far = ahead[name] * self.block - request.first, sum(len(numbers) for _, _, numbers in found[name])
                if looked_at > _LOOKED_AT and so_far < looked_at / 1000:
                    raise EcgsynthError(f"only {so_far} of {looked_at:,} beats of {name} have such RR intervals: ask for a wider range")
        vectors, cells, numbers = (
            np.concatenate(columns) for columns in zip(*(part for own in found.values() for part in own), strict=True)
        )
        return self._to_beats(vectors, cells, numbers, request.seed)

    def wanted(self, request: Request) -> dict[str, int]:
        """Give how many beats of each label a request asks for, label by label in their order.

        Raises
        ------
        EcgsynthError
            If this model cannot make them.
        """
        return request.of_each(self.cells, by=self.by, rhythm=self.shape_["rhythm"])

    def _make_blocks(self, jobs: Sequence[Block], request: Request, workers: int | None) -> Iterator[tuple[Vectors, Cells]]:
        for job in jobs:
            yield self._make_block(job, request)

    def _make_block(self, job: Block, request: Request) -> tuple[Vectors, Cells]:
        # Each block has its own stream, so its beats depend on nothing else that is asked for.
        rng = np.random.default_rng([request.seed, self._stream_of(job.label), job.number])
        leads = self.leads if request.lead is None else (request.lead,)
        own = [(number, cell.n_beats) for number, cell in enumerate(self.cells) if cell.label == job.label and cell.lead in leads]
        numbers, counts = np.array(own).T
        cells = rng.choice(numbers, self.block, p=counts / counts.sum())
        return np.asarray(self._sample(cells, rng), dtype=np.float32), cells

    def _stream_of(self, label: str) -> int:
        """Give the number of the stream of random numbers, of those of a seed, that makes beats of a label."""
        return LABELS[self.by].index(label)

    def _to_beats(self, vectors: Vectors, cells: Cells, numbers: Cells, seed: int) -> Beats:
        signals, rhythm = from_vectors(vectors, self.layout)
        labels = np.array([cell.label for cell in self.cells])[cells]
        known: dict[str, Any] = rhythm if self.shape_["rhythm"] else {}
        if self.by == "symbol":
            known["symbols"] = labels
        return Beats(
            signals=signals,
            classes=aami_classes(labels) if self.by == "symbol" else labels,
            fs=self.shape_["fs"],
            r_sample=self.shape_["r_sample"],
            leads=np.array([cell.lead for cell in self.cells])[cells],
            samples=numbers,
            **known,
            source=self.name,
            info={
                "seed": seed,
                "model_sha256": self.fingerprint(),
                "data_sha256": self.shape_["data_sha256"],
                "holds_real_beats": self.holds_real_beats,
                **({} if self.learns else {"learns": False}),
                **{name: self.shape_[name] for name in ("privacy",) if name in self.shape_},
            },
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write one safetensors file: the arrays, and as metadata everything else.

        Raises
        ------
        EcgsynthError
            If something learnt is not a number, `path` exists and `force` is not set, or it cannot be written.
        """
        with atomic_path(path, force=force) as temporary:
            temporary.write_bytes(self._serialize())

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self._serialize()).hexdigest()

    def _serialize(self) -> bytes:
        head = {
            "format": FORMAT,
            "generator": self.name,
            "params": self.params,
            "shape": self._fitted(),
            "history": [asdict(step) for step in self.history_],
            "holds_real_beats": self.holds_real_beats,
        }
        return tensor_bytes(head, self._arrays())

    def _load(self, head: Mapping[str, Any], arrays: Arrays) -> None:
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']}, not {FORMAT}: train it again with this version")
        self.shape_, self.history_ = read_head(head)
        self._restore(arrays)
        with np.errstate(all="ignore"):  # one beat of each kind: whatever does not fit together shows now
            made = self._sample(np.arange(len(self.cells)), np.random.default_rng(0))
        if made.shape != (len(self.cells), self.layout.size):
            raise ValueError("its arrays are not of the size of its beats")

    def _fitted(self) -> dict[str, Any]:
        if not self.shape_:
            raise EcgsynthError(f"{self.name} has not learnt anything yet: call fit first")
        return self.shape_

    def _cells_of(self, beats: Beats) -> Cells:
        """Give the cell of each beat."""
        return numbers_of(beats, self.cells, self.by)

    @abstractmethod
    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        """Learn; yield after each step, if there are steps."""

    @abstractmethod
    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        """Make one beat of each of these cells: (len(cells), layout.size)."""

    @abstractmethod
    def _arrays(self) -> Arrays:
        """Give everything learnt as named arrays."""

    @abstractmethod
    def _restore(self, arrays: Arrays) -> None:
        """Take back what `_arrays` gave; `shape_` is set."""
