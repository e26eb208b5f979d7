"""Flow matching with differential privacy."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ecgsynth.beats import Beats
from ecgsynth.generators.base import Cells
from ecgsynth.generators.flow import PATHS, Flow
from ecgsynth.generators.private import PrivateGenerator
from ecgsynth.private import PrivateTrainer
from ecgsynth.training import Recipe, Trainer
from ecgsynth.vectors import Vectors


@dataclass(kw_only=True, eq=False)
class PrivateFlow(Flow, PrivateGenerator):
    """Flow matching whose model tells next to nothing of any one beat, or of any one patient.

    Parameters
    ----------
    epsilon, delta, unit, clip
        As for `ecgsynth.generators.private.PrivateGenerator`.
    hidden, depth, steps, minutes, batch, rate, ema, class_power, sampling_steps, seed
        As for `ecgsynth.generators.flow.Flow`.
    """

    fixed: ClassVar[dict[str, Any]] = {
        "mode_size": 0,
        "guidance": 1.0,
        "blend": 0.0,
        "style": 0,
        "precision": "float32",
        "space": "frequencies",
        "components": Flow.components,
        "whitening": Flow.whitening,
    }

    name: str = "dp-flow"
    hidden: int = 256
    depth: int = 3
    steps: int = 1500
    batch: int = 2048
    ema: float = 0.998
    sampling_steps: int = 16
    mode_size: int = 0
    guidance: float = 1.0
    blend: float = 0.0
    precision: str = "float32"
    space: str = "frequencies"

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
            **self._promise(),
            generator=self._new_flow(),
            codes=codes,
            cells=cells,
            recipe=recipe,
            seed=self.seed,
        )
