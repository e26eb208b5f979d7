"""Flow matching with differential privacy."""

from collections.abc import Generator as Steps
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Cells
from ecgsynth.generators.flow import PATHS, Flow
from ecgsynth.generators.history import TrainingStep
from ecgsynth.private import Guarantee, PrivateTrainer, noisy_counts
from ecgsynth.training import Recipe, Trainer
from ecgsynth.vectors import RHYTHM, Vectors

_USUAL_RR = 0.8  # s


@dataclass(kw_only=True, eq=False)
class PrivateFlow(Flow):
    """Flow matching whose model tells next to nothing of any one beat, or of any one patient.

    Parameters
    ----------
    epsilon, delta : float
        Of (epsilon, delta)-differential privacy.
    unit : str
        What one more or one less of is hidden: a ``"beat"``, or all beats of a ``"patient"``.
    clip : float
        The length to which gradients are clipped.
    hidden, depth, steps, minutes, batch, rate, ema, class_power, sampling_steps, seed
        As for `ecgsynth.generators.flow.Flow`.

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

    name: str = "dp-flow"
    epsilon: float = 8.0
    delta: float = 1e-5
    unit: str = "beat"
    clip: float = 1.0
    hidden: int = 256
    depth: int = 3
    steps: int = 1500
    batch: int = 2048
    ema: float = 0.998
    sampling_steps: int = 16
    mode_size: int = 0
    guidance: float = 1.0
    precision: str = "float32"
    space: str = "frequencies"

    def __post_init__(self) -> None:
        super().__post_init__()
        Guarantee(self.epsilon, self.delta, self.unit)
        fixed = {"mode_size": 0, "guidance": 1.0, "style": 0, "precision": "float32", "space": "frequencies"}
        changed = [name for name, value in fixed.items() if getattr(self, name) != value]
        if changed or self.clip <= 0:
            raise EcgsynthError(f"{', '.join(changed) or 'clip'} of dp-flow cannot be so: its privacy would not hold")

    def _describe(self, train: Beats, by: str) -> dict[str, Any]:
        if self.unit == "patient" and not train.patients.all():
            raise EcgsynthError("these beats do not say whose they are: privacy of patients needs that")
        if self.unit == "beat" and self.delta >= 1 / len(train):
            raise EcgsynthError(f"delta must be less than one over the number of beats, {1 / len(train):.1g}")
        told = super()._describe(train, by)
        counts = train.counts(by)
        noisy = noisy_counts(np.array(list(counts.values())), Guarantee(self.epsilon, self.delta, self.unit))
        leads, times = np.unique(train.leads, return_counts=True)
        cells = [[label, str(leads[times.argmax()]), int(count)] for label, count in zip(counts, noisy, strict=True)]
        return told | {"cells": cells, "data_sha256": ""}

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

    def _prepare(self, train: Beats, codes: Vectors, cells: Cells) -> Vectors:
        self._modes = np.eye(len(self.cells), dtype=np.float32)  # each label is a mode of its own
        return codes

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        path = PATHS[self.path]

        def losses(network: nn.Module, beats: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
            time = path.times(len(beats), random)
            mixed, target = path.target(beats, torch.randn(beats.shape, generator=random), time)
            return torch.as_tensor((network(mixed, time, labels) - target).square().mean(dim=1))

        return PrivateTrainer(
            losses=losses,
            owners=self._owners,
            counts=np.array([cell.n_beats for cell in self.cells]),
            guarantee=Guarantee(self.epsilon, self.delta, self.unit),
            clip=self.clip,
            generator=self._new_flow(),
            codes=codes,
            cells=cells,
            recipe=recipe,
            seed=self.seed,
        )
