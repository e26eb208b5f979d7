"""The contract of every generator: fit, sample, save, load; checks, seeds and files are done here once."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Generator as Steps
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.splits import apportion

Arrays = dict[str, NDArray[Any]]

_HISTORY = 200  # steps of a training that are kept for its curves


@dataclass(frozen=True)
class TrainingStep:
    """What is known after one step of training.

    Parameters
    ----------
    step : int
        Steps done.
    share : float
        How much of the budget is used, 0 to 1.
    critic_loss, generator_loss : float
        Of this step.
    score_gap : float
        Mean critic score of real minus generated beats: near 0 the critic sees no difference, steady
        growth means that it runs away.
    validation_score : float or None
        Macro-F1 on validation beats of a small classifier trained on generated beats, where it was
        measured after this step.
    best : bool
        Whether these weights are the ones kept.
    """

    step: int
    share: float
    critic_loss: float
    generator_loss: float
    score_gap: float
    validation_score: float | None = None
    best: bool = False


class Generator(ABC):
    """Learns labelled beats and makes new ones.

    A subclass takes keyword-only plain values, stores them unchanged under their names, and writes
    `_fit_steps`, `_sample`, `_arrays` and `_restore`.

    Attributes
    ----------
    name : str
        The name under which it stands in `GENERATORS`.
    holds_real_beats : bool
        Whether the model file contains real beats, so that it must be guarded as they are.
    shape_ : dict
        After fitting: ``n_samples``, ``fs``, ``r_sample``, ``class_counts`` and ``data_sha256`` of the
        training beats.
    history_ : list of TrainingStep
        After fitting: the steps at which the validation score was taken, and some two hundred between.
    """

    holds_real_beats: ClassVar[bool] = False
    name: str

    def __init__(self) -> None:
        self.shape_: dict[str, Any] = {}
        self.history_: list[TrainingStep] = []

    @property
    def params(self) -> dict[str, Any]:
        """The constructor's values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "name"}

    @property
    def classes(self) -> tuple[str, ...]:
        """The AAMI classes it has learnt."""
        return tuple(self._fitted()["class_counts"])

    def fit(self, train: Beats, validation: Beats | None = None) -> Self:
        """Learn from real beats.

        Parameters
        ----------
        train : Beats
            What is learnt.
        validation : Beats, optional
            What the weights to keep are chosen by; without it the last are kept.

        Returns
        -------
        Generator
            Itself.

        Raises
        ------
        EcgsynthError
            If the beats are synthetic, or a class has fewer than two.
        """
        for _ in self.fit_steps(train, validation):
            pass
        return self

    def fit_steps(
        self, train: Beats, validation: Beats | None = None, checkpoint: str | Path | None = None
    ) -> Steps[TrainingStep, None, None]:
        """Learn step by step, as `fit`; whoever iterates may show progress, or stop and keep the best so far.

        Parameters
        ----------
        train, validation
            As for `fit`.
        checkpoint : path, optional
            Training goes on from this file if it is there, and is saved to it now and then.
        """
        if train.is_synthetic:
            raise EcgsynthError("a generator learns from real beats; these are synthetic")
        counts = train.counts()
        lonely = [name for name, count in counts.items() if count < 2]
        if lonely:
            raise EcgsynthError(f"class {', '.join(lonely)} has one training beat; at least two are needed to learn it (or leave it out)")
        if validation is not None and (validation.n_samples, validation.fs) != (train.n_samples, train.fs):
            raise EcgsynthError("training and validation beats differ in length or sampling rate")
        if not np.isfinite(train.signals).all():
            raise EcgsynthError("the training beats hold values that are not finite")
        self.shape_ = {
            "n_samples": train.n_samples,
            "fs": train.fs,
            "r_sample": train.r_sample,
            "class_counts": counts,
            "data_sha256": train.digest(),
        }
        self.history_ = []
        with closing(self._fit_steps(train, validation, Path(checkpoint) if checkpoint else None)) as steps:
            for step in steps:
                due = not self.history_ or step.share >= self.history_[-1].share + 1 / _HISTORY
                if due or step.validation_score is not None or step.share >= 1:
                    self.history_.append(step)
                yield step

    def sample(self, counts: Mapping[str, int], *, seed: int = 0) -> Beats:
        """Make new beats.

        Parameters
        ----------
        counts : mapping of str to int
            AAMI class -> how many; `class_counts` computes such a request from real beats.
        seed : int
            Same model, counts and seed on one machine: same beats.

        Returns
        -------
        Beats
            Class by class in the order N S V F Q, with ``source`` set to the generator's name and
            ``info`` naming the seed, and the SHA-256 of the model and of the beats it learnt from.

        Raises
        ------
        EcgsynthError
            If a class was never seen, a count is negative, or nothing is asked for.
        """
        known = self.classes
        unknown = sorted(set(counts) - set(known))
        if unknown:
            raise EcgsynthError(f"unknown class {', '.join(unknown)}; this model has learnt {', '.join(known)}")
        if any(count < 0 for count in counts.values()) or not sum(counts.values()):
            raise EcgsynthError("ask for at least one beat, and no negative number")
        wanted = [(name, int(counts[name])) for name in AAMI_CLASSES if counts.get(name)]
        # Each class has its own stream, so its beats do not depend on the other classes asked for.
        streams = {name: np.random.default_rng([seed, AAMI_CLASSES.index(name)]) for name, _ in wanted}
        parts = [np.asarray(self._sample(name, count, streams[name]), dtype=np.float32) for name, count in wanted]
        return Beats(
            signals=np.concatenate(parts),
            classes=np.repeat([name for name, _ in wanted], [count for _, count in wanted]),
            fs=self.shape_["fs"],
            r_sample=self.shape_["r_sample"],
            source=self.name,
            info={
                "seed": seed,
                "model_sha256": self.fingerprint(),
                "data_sha256": self.shape_["data_sha256"],
                "holds_real_beats": self.holds_real_beats,
            },
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write one safetensors file: the arrays, and as metadata everything else.

        Raises
        ------
        EcgsynthError
            If `path` exists and `force` is not set, or it cannot be written.
        """
        with atomic_path(path, force=force) as temporary:
            temporary.write_bytes(self._serialize())

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self._serialize()).hexdigest()

    def _serialize(self) -> bytes:
        from safetensors.numpy import save

        head = {
            "format": 1,
            "generator": self.name,
            "params": self.params,
            "shape": self._fitted(),
            "history": [asdict(step) for step in self.history_],
            "holds_real_beats": self.holds_real_beats,
        }
        # One metadata key, as the order of several is not fixed and the file's hash would change.
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        return bytes(save(arrays, metadata={"ecgsynth": json.dumps(head)}))

    def _load(self, head: Mapping[str, Any], arrays: Arrays) -> None:
        self.shape_ = dict(head["shape"])
        self.history_ = [TrainingStep(**step) for step in head["history"]]
        self._restore(arrays)

    def _fitted(self) -> dict[str, Any]:
        if not self.shape_:
            raise EcgsynthError(f"{self.name} has not learnt anything yet: call fit first")
        return self.shape_

    @abstractmethod
    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        """Learn; yield after each step, if there are steps."""

    @abstractmethod
    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Make `count` beats of one known class: (count, n_samples), mV."""

    @abstractmethod
    def _arrays(self) -> Arrays:
        """Give everything learnt as named arrays."""

    @abstractmethod
    def _restore(self, arrays: Arrays) -> None:
        """Take back what `_arrays` gave; `shape_` is set."""


def class_counts(beats: Beats, *, power: float = 1.0, total: int | None = None) -> dict[str, int]:
    """Compute a request for `Generator.sample` from real beats.

    Parameters
    ----------
    beats : Beats
        The beats to go by.
    power : float
        Classes are asked for in proportion to their count to this power: 1 for the natural
        proportions, 0 for as many of each, 0.5 between.
    total : int, optional
        Beats in all; as many as there are in `beats` if not given.

    Returns
    -------
    dict of str to int
        `total` in all, and at least one of each class.

    Raises
    ------
    EcgsynthError
        If `total` is less than the number of classes.

    Examples
    --------
    >>> beats = Beats(signals=np.zeros((10, 256)), classes=np.array(list("NNNNNNNNVV")))
    >>> class_counts(beats, power=0)
    {'N': 5, 'V': 5}
    """
    counts = beats.counts()
    total = len(beats) if total is None else total
    if total < len(counts):
        raise EcgsynthError(f"{total} beats are too few for {len(counts)} classes")
    weights = np.array([count**power for count in counts.values()])
    parts = apportion(total, (weights / weights.sum()).tolist())
    while (parts < 1).any():
        parts[parts.argmin()] += 1
        parts[parts.argmax()] -= 1
    return dict(zip(counts, parts.tolist(), strict=True))
