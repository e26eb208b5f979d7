"""What all generators share whose network is trained: validation, checkpoints, sampling by threads, half precision files."""

import copy
import json
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Steps
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ecgsynth
from ecgsynth.beats import Beats, impossible, refuse_impossible
from ecgsynth.cache import content
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.devices import CPU
from ecgsynth.distributed import n_processes, n_th, same_in_all
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import RARE, Arrays, Cells, Generator
from ecgsynth.generators.heads import read_history
from ecgsynth.generators.history import TrainingStep
from ecgsynth.generators.keeper import Keeper
from ecgsynth.generators.requests import Block, Request, class_counts
from ecgsynth.metrics.detection import detection_score
from ecgsynth.metrics.utility import score_classes
from ecgsynth.spaces import ComponentSpace, FrequencySpace, SampleSpace, Space
from ecgsynth.stored import StoredBeats
from ecgsynth.threads import one_thread_each
from ecgsynth.training import DivergenceError, Recipe, Trainer, Windows
from ecgsynth.untrusted import SEEDS, network_of
from ecgsynth.vectors import Vectors, to_vectors

SPACES = ("samples", "components", "frequencies")

PASSES = 2  # how often each beat of a window is learnt from on average, where not all beats fit into memory

_SCORED = 20_000  # beats on each side of a validation score
_SCORE_STEPS = 750  # training steps of its classifier
_DETECTED = 3_000  # beats on each side of a detection score
_MANY = 50  # new beats of a label that are looked at together
_ALIKE = 0.01  # of the spread of real beats: beats with less are all alike
_TWISTER = slice(24, 24 + 624 * 8)  # where torch has the state of its Mersenne Twister, in bytes
_SAVE_S = 20.0  # from one checkpoint to the next, which is what a training that is killed loses
_SAVE_COST = 0.01  # share of the time that checkpoints may take: where they are slow they are rarer


@dataclass(kw_only=True, eq=False)
class TrainedGenerator(Generator):
    """A generator whose network learns step by step.

    A subclass gives the settings below their defaults, adds its own, and writes `_trainer`, `_new_network`
    and `_make`.
    """

    takes_cards: ClassVar[bool] = True
    name: str
    steps: int
    minutes: float | None = None
    batch: int
    rate: float
    ema: float
    class_power: float = 0.5
    space: str = "components"
    components: int = 64
    whitening: float = 0.0
    validations: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        positive = {name: getattr(self, name) for name in ("steps", "minutes", "rate", "components", "validations")}
        if wrong := [name for name, value in positive.items() if value is not None and not 0 < value < math.inf]:
            raise EcgsynthError(f"{', '.join(wrong)} must be a number above 0")
        if self.batch < 2:
            raise EcgsynthError(f"batch must be at least 2, not {self.batch}")
        if not (0 <= self.ema <= 1 and 0 <= self.whitening <= 1 and 0 <= self.class_power < math.inf):
            raise EcgsynthError("ema and whitening must lie between 0 and 1, and class_power not below 0")
        if not 0 <= self.seed < SEEDS:
            raise EcgsynthError(f"seeds are numbered from 0, below {SEEDS:,}")
        if self.space not in SPACES:
            raise EcgsynthError(f"unknown space {self.space!r}; known: {', '.join(SPACES)}")

    @property
    def group(self) -> int:
        """Beats of a batch that come in a row from one cell."""
        return 1

    @abstractmethod
    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        """Set up training; called with torch's random state seeded."""

    @abstractmethod
    def _new_network(self) -> nn.Module:
        """Make the network that `_make` samples from, untrained."""

    @abstractmethod
    def _make(self, network: nn.Module, cells: Tensor, random: torch.Generator) -> Tensor:
        """Make the coordinates of one beat of each cell: (B,) -> (B, P)."""

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        vectors = to_vectors(train, self.layout.n_rhythm)
        self._space: Space
        if self.space == "samples":
            self._space = SampleSpace.fit(vectors)
        elif self.space == "frequencies":
            self._space = FrequencySpace.of(*self.layout, fs=train.fs)
        else:
            self._space = ComponentSpace.fit(vectors, self.components, self.whitening, self.layout.n_rhythm)
        codes, cells = self._space.encode(vectors), self._cells_of(train)
        known = self._prepare(train, codes, cells)
        recipe = Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})
        columns = torch.from_numpy(known), torch.from_numpy(cells)

        def begin() -> Trainer:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)  # of the CPU alone, which is what is forked
                made = self._trainer(*columns, recipe)
            if self._whole is not None:
                made.follow(Windows(max(1, PASSES * len(train) // self.batch), partial(self._window, self._whole, train, known, cells)))
            return made

        trainer = begin()
        self._network: nn.Module = trainer.average
        yield from self._train(trainer, Keeper(trainer, begin), train, validation, checkpoint)
        self._finish(trainer)

    def _window(self, whole: StoredBeats, train: Beats, known: Vectors, cells: Cells, number: int) -> tuple[Tensor, Tensor]:
        """Give coordinates and cells of what is learnt from next: all beats of rare labels, and others of the rest."""
        counts = whole.counts(self.by)
        rare = [label for label, count in counts.items() if count <= RARE]
        if number == 0 or len(rare) == len(counts):  # it begins with those that are in memory
            return torch.from_numpy(known), torch.from_numpy(cells)
        rest = whole.of(counts.keys() - set(rare), self.by)
        kept = np.isin(train.labels(self.by), rare)
        beats = rest.window(number, len(train) - int(kept.sum()), seed=self.seed)
        refuse_impossible(beats, "training")
        codes, own = self._space.encode(to_vectors(beats, self.layout.n_rhythm)), self._cells_of(beats)
        told = self._tell(codes, own, known, cells)
        return torch.from_numpy(np.concatenate([known[kept], told])), torch.from_numpy(np.concatenate([cells[kept], own]))

    def _tell(self, codes: Vectors, cells: Cells, known: Vectors, known_cells: Cells) -> Vectors:
        """Give the coordinates of new beats as `_prepare` gave those of `known`."""
        return codes

    def _finish(self, trainer: Trainer) -> None:
        """Do nothing at the end; a subclass may take what else was trained."""

    def _prepare(self, train: Beats, codes: Vectors, cells: Cells) -> Vectors:
        """Learn whatever the network needs beforehand; gives the coordinates, with more columns if it is told more."""
        return codes

    def _train(
        self, trainer: Trainer, keeper: Keeper, train: Beats, validation: Beats | None, checkpoint: Path | None
    ) -> Steps[TrainingStep, None, None]:
        if validation is not None and np.isin(validation.labels(self.by), self.classes).sum() < 2:
            validation = None  # it has nothing to tell of what is learnt
        shared = n_processes() > 1
        identity = self._identity(train, validation) if shared or checkpoint is not None else ""
        if checkpoint is not None and checkpoint.is_file():
            self._go_on(trainer, keeper, checkpoint, identity)
        if shared and not same_in_all(identity.encode() + trainer.digest()):
            raise EcgsynthError(
                f"the processes that train together differ, this one begins after step {trainer.step}: each needs the same version, "
                "settings and beats, and to go on the same checkpoint, under the same name"
            )
        due, save_at = self._next_due(trainer.share), time.monotonic() + _SAVE_S
        try:
            while trainer.share < 1:
                try:
                    losses = trainer.advance()
                    timely = trainer.share >= due
                    scores = self._look(trainer, keeper, train, validation) if timely else {}
                except torch.cuda.OutOfMemoryError as error:
                    raise EcgsynthError("the graphics card has too little memory: set a smaller batch or network") from error
                except DivergenceError as fault:
                    keeper.go_back(fault)
                    self.history_ = [step for step in self.history_ if step.step <= trainer.step]
                    self.notes_ = list(keeper.notes)
                    due = self._next_due(trainer.share)
                    continue
                due = self._next_due(trainer.share) if timely else due
                yield TrainingStep(trainer.step, trainer.share, **asdict(losses), **scores, drawn=trainer.drawn)
                if checkpoint is not None and (scores or time.monotonic() >= save_at):
                    save_at = self._save_checkpoint(trainer, keeper, checkpoint, identity)
        except GeneratorExit:  # whoever iterates has stopped: the step before is whole, as it is not after any other error
            if checkpoint is not None:
                self._save_checkpoint(trainer, keeper, checkpoint, identity)
            raise
        finally:
            weights = keeper.kept or self._network.state_dict()
            self._network.to(CPU).load_state_dict({name: _rounded(value) for name, value in weights.items()})
        keeper.end()
        self.notes_ = list(keeper.notes)

    def _look(self, trainer: Trainer, keeper: Keeper, train: Beats, validation: Beats | None) -> dict[str, Any]:
        """Make sure that all is well, and measure how good the beats are; gives the scores."""
        trainer.check_weights()
        scores: dict[str, Any] = {}
        if trainer.ready and validation is not None:
            scores = self._validate(train, validation)
            scores["best"] = keeper.judge(scores["validation_score"], scores.pop("alike", []))
        keeper.remember()
        return scores

    def _next_due(self, share: float) -> float:
        """Give the next share of the budget at which to validate."""
        return (int(share * self.validations + 1e-6) + 1) / self.validations - 1e-9

    def _validate(self, train: Beats, validation: Beats) -> dict[str, Any]:
        """Measure utility, by a small classifier trained on generated beats of several labels, and how easily they are detected."""
        rng = np.random.default_rng(0)
        by = self.by
        validation = validation.take(np.isin(validation.labels(by), self.classes))
        scored = validation.take(rng.permutation(len(validation))[:_SCORED])
        of = train if self._whole is None else self._whole.counts(by)
        made = self.sample(class_counts(of, total=_SCORED, by=by), seed=self.seed)
        counts = class_counts(scored, total=min(_DETECTED, len(scored)), by=by)
        fresh = self.sample(counts, seed=self.seed, first=len(made))
        if any(impossible(beats).any() for beats in (made, fresh)):
            raise DivergenceError("new beats hold what is not a number, or no ECG reaches")
        score = None
        if len(self.classes) > 1:
            predicted = BeatClassifier(steps=_SCORE_STEPS).fit(made, by=by).predict(scored)
            labels = list(dict.fromkeys([*scored.counts(by), *set(predicted.tolist())]))
            score = score_classes(annotated=scored.labels(by), predicted=predicted, classes=labels).macro_f1
        real = scored.take(np.concatenate([np.flatnonzero(scored.labels(by) == name)[:count] for name, count in counts.items()]))
        return {
            "validation_score": score,
            "detection": detection_score(real=real, synthetic=fresh),
            "alike": [label for label in self.classes if _are_alike(made, train, label, by)],
        }

    def before_saving(self) -> None:
        """Do nothing before a checkpoint is saved; whoever iterates may put here what brings to the disk what goes with it."""

    def _save_checkpoint(self, trainer: Trainer, keeper: Keeper, path: Path, identity: str) -> float:
        """Save what is needed to go on; gives when to do so again."""
        if n_th():  # the first of several processes does
            return np.inf
        begun = time.monotonic()
        self.before_saving()
        trainer.save(path, identity, keeper.state_dict() | {"history": [asdict(step) for step in self.history_]})
        ended = time.monotonic()
        return ended + max(_SAVE_S, (ended - begun) / _SAVE_COST)

    def _go_on(self, trainer: Trainer, keeper: Keeper, path: Path, identity: str) -> None:
        """Go on from what was saved."""
        with trainer.restore(path, identity) as extra:
            keeper.load_state_dict(extra)
            self.history_ = read_history(extra["history"])
        self.notes_ = list(keeper.notes)

    def _identity(self, train: Beats, validation: Beats | None) -> str:
        """Say what this training is, apart from its budget: a checkpoint of another one does not fit."""
        budget = ("steps", "minutes", "validations")
        settings = {name: value for name, value in self.params.items() if name not in budget}
        # Of beats that are too many for memory: signals and classes of all, and all that is known of those in memory.
        sides = [self.shape_["data_sha256"], content(train), content(validation) if validation is not None else None]
        return json.dumps([ecgsynth.__version__, self.name, settings, self.by, *sides], sort_keys=True)

    def _for_sampling(self, network: nn.Module) -> nn.Module:
        """Give the network in the form that `_make` is fastest with."""
        return network

    def _make_blocks(self, jobs: Sequence[Block], request: Request, workers: int | None) -> Iterator[tuple[Vectors, Cells]]:
        self._sampler = self._for_sampling(self._network if self._device == CPU else copy.deepcopy(self._network).to(CPU))
        # One thread makes a whole block: the sums in it have one order, whatever the number of threads.
        with one_thread_each(), ThreadPoolExecutor(workers or torch.get_num_threads()) as pool:
            yield from pool.map(lambda job: self._make_block(job, request), jobs)

    def _sample(self, cells: Cells, rng: np.random.Generator) -> Vectors:
        random = _stream(rng)
        with torch.no_grad():
            codes = self._make(self._sampler, torch.from_numpy(cells), random)
        return self._space.decode(codes.numpy())

    def _arrays(self) -> Arrays:
        weights = {f"network.{name}": _stored(value) for name, value in self._network.state_dict().items()}
        return weights | {f"space.{name}": value for name, value in self._space.arrays().items()}

    def _restore(self, arrays: Arrays) -> None:
        space = under("space.", arrays)
        kinds: dict[str, Callable[[Arrays], Space]] = {"samples": SampleSpace, "frequencies": FrequencySpace}
        self._space = kinds.get(self.space, ComponentSpace)(space)
        self._network = self._sampler = network_of(self._new_network, under("network.", arrays)).requires_grad_(False)


def _stream(rng: np.random.Generator) -> torch.Generator:
    """Give random numbers of torch whose whole state is drawn: a seed has 32 bits, in which blocks of a large request would meet."""
    stream = torch.Generator().manual_seed(0)
    state = stream.get_state()
    state[_TWISTER].view(torch.int64).copy_(torch.from_numpy(rng.integers(2**32, size=624)))
    return stream.set_state(state)


def under(prefix: str, arrays: Arrays) -> Arrays:
    """Give the arrays whose name begins so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _are_alike(made: Beats, real: Beats, label: str, by: str) -> bool:
    """Say whether new beats of a label hardly differ from each other, as real ones do."""
    new, old = (beats.signals[np.flatnonzero(beats.labels(by) == label)[:_SCORED]] for beats in (made, real))
    return min(len(new), len(old)) >= _MANY and bool(new.std(axis=0).mean() < _ALIKE * old.std(axis=0).mean())


def _rounded(value: Tensor) -> Tensor:
    """Round to half precision, in which models are stored: a loaded model is then the one that was saved."""
    return value.half().float() if value.is_floating_point() else value


def _stored(value: Tensor) -> NDArray[Any]:
    return (value.half() if value.is_floating_point() else value).cpu().numpy()
