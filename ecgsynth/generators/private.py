"""What all generators share that learn with differential privacy."""

from collections.abc import Generator as Steps
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.history import TrainingStep
from ecgsynth.generators.trained import TrainedGenerator
from ecgsynth.private import Guarantee, PrivateTrainer, noisy_counts
from ecgsynth.stored import MOST
from ecgsynth.training import Trainer
from ecgsynth.vectors import RHYTHM

_USUAL_RR = 0.8  # s


@dataclass(kw_only=True, eq=False)
class PrivateGenerator(TrainedGenerator):
    """A generator whose model tells next to nothing of any one beat, or of any one patient.

    A subclass has it as its last base, sets `fixed`, and writes `_trainer` with a `PrivateTrainer`.

    Parameters
    ----------
    epsilon, delta : float
        Of (epsilon, delta)-differential privacy.
    unit : str
        What one more or one less of is hidden: a ``"beat"``, or all beats of a ``"patient"``.
    clip : float
        The length to which gradients are clipped.
    rest
        As for `TrainedGenerator`.

    Notes
    -----
    Nothing else learns from the beats: they are seen as cosine frequencies with fixed scales, not as principal components;
    there are no modes, no styles, no guidance, no weights chosen on the val side; leads are not told apart. The number of
    beats of each label is counted with noise, 2 % of epsilon; an unknown RR interval counts as 0.8 s. The model has neither
    the course of its training nor the hash of its data. That labels are there at all, the most usual lead, the number of
    beats and of patients, and the layout of beats are taken as public.

    Training cannot go on where it was stopped, as the noise of both parts would have to be accounted for together.

    A seed does not give the same model again, as its noise must not be known.
    """

    tells_of_training: ClassVar[bool] = False
    takes_cards: ClassVar[bool] = False  # how noise is drawn there has not been looked at
    fixed: ClassVar[dict[str, Any]]
    """Settings that cannot be others: something would be learnt from the beats without noise, or they would change nothing."""

    epsilon: float = 8.0
    delta: float = 1e-5
    unit: str = "beat"
    clip: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Guarantee(self.epsilon, self.delta, self.unit)
        changed = [name for name, value in self.fixed.items() if getattr(self, name) != value]
        if changed or not 0 < self.clip < np.inf:
            why = "its privacy would not hold, or it would change nothing"
            raise EcgsynthError(f"{', '.join(changed) or 'clip'} of {self.name} cannot be so: {why}")

    def _describe(self, train: Beats, by: str) -> dict[str, Any]:
        if self.unit == "patient" and not train.patients.all():
            raise EcgsynthError("these beats do not say whose they are: privacy of patients needs that")
        units = len(train) if self.unit == "beat" else len(np.unique(train.patients))
        if self.delta >= 1 / units:
            raise EcgsynthError(f"delta must be less than one over the number of {self.unit}s, {1 / units:.1g}")
        told = super()._describe(train, by)
        counts = train.counts(by)
        noisy = noisy_counts(np.array(list(counts.values())), Guarantee(self.epsilon, self.delta, self.unit))
        leads, times = np.unique(train.leads, return_counts=True)
        cells = [[label, str(leads[times.argmax()]), int(count)] for label, count in zip(counts, noisy, strict=True)]
        return told | {"cells": cells, "data_sha256": ""}

    def _describe_whole(self, *whole: Any) -> dict[str, Any]:
        raise EcgsynthError(f"what {self.name} promises is counted on all beats, which must be no more than {MOST:,}: take fewer patients")

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        if checkpoint is not None and checkpoint.is_file():
            raise EcgsynthError(f"a training with differential privacy cannot go on where it stopped: delete {checkpoint}, and begin anew")
        self._owners = np.unique(train.patients, return_inverse=True)[1]
        if self.shape_["rhythm"]:  # what is filled in elsewhere would be learnt from all beats
            names = RHYTHM[: self.layout.n_rhythm]
            filled: dict[str, Any] = {name: np.nan_to_num(getattr(train, name), nan=_USUAL_RR) for name in names}
            train = replace(train, **filled)
        yield from super()._fit_steps(train, None, None)

    def _train(self, trainer: Trainer, *rest: Any) -> Steps[TrainingStep, None, None]:
        assert isinstance(trainer, PrivateTrainer)
        try:
            yield from super()._train(trainer, *rest)
        finally:
            self.shape_["privacy"] = trainer.spent

    def _promise(self) -> dict[str, Any]:
        """Give what a `PrivateTrainer` is to keep."""
        return {
            "owners": self._owners,
            "counts": np.array([cell.n_beats for cell in self.cells]),
            "guarantee": Guarantee(self.epsilon, self.delta, self.unit),
            "clip": self.clip,
        }
