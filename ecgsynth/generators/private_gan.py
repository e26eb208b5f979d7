"""A GAN with differential privacy."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.gan import Gan
from ecgsynth.generators.private import PrivateGenerator
from ecgsynth.private import PrivateGanTrainer
from ecgsynth.training import Recipe, Trainer


class PrivateCritic(nn.Module):
    """Scores beats by themselves, each beside one column a cell."""

    def __init__(self, size: int, n_cells: int, width: int) -> None:
        super().__init__()
        self.n_cells = n_cells
        layers: list[nn.Module] = []
        for inputs in (size + n_cells, width):
            layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, beats: Tensor, cells: Tensor) -> Tensor:
        """Give scores: (..., P), (...,) -> (...,)."""
        scores: Tensor = self.layers(torch.cat([beats, one_hot(cells, self.n_cells).to(beats)], dim=-1))
        return scores.squeeze(-1)


@dataclass(kw_only=True, eq=False)
class PrivateGan(Gan, PrivateGenerator):
    """A conditional GAN whose critic learns with differential privacy, and its generator from that critic alone.

    Parameters
    ----------
    epsilon, delta, unit, clip
        As for `ecgsynth.generators.private.PrivateGenerator`.
    critic_hidden : int
        Width of the critic's two layers.
    critic_steps : int
        Steps of the critic for each of the generator.
    steps : int
        Of the critic, which are what privacy is spent on.
    batch, rate, ema, class_power, latent, width, minutes, seed
        As for `ecgsynth.generators.gan.Gan`.

    Notes
    -----
    The objective is the logarithmic one, without a penalty of gradients: what one beat changes in such a penalty could not be
    bounded by itself.
    """

    fixed: ClassVar[dict[str, Any]] = {
        "network": "mlp",
        "prior": "normal",
        "conditioning": "concat",
        "objective": "log",
        "regulariser": "none",
        "unrolled": 0,
        "pack": 1,
        "penalty": 0.0,
        "penalty_every": 1,
        "optimizer": "adam",
        "critic_pace": 1.0,
        "classify_generated": True,
        "beta": 0.5,
        "critic_width": 32,
        "space": "frequencies",
        "components": Gan.components,
        "whitening": Gan.whitening,
    }

    name: str = "dp-gan"
    critic_hidden: int = 256
    critic_steps: int = 10
    steps: int = 6000
    batch: int = 1024
    rate: float = 5e-4
    space: str = "frequencies"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_hidden < 1 or self.steps < self.critic_steps:
            raise EcgsynthError("critic_hidden must be positive, and steps at least critic_steps: the generator would learn nothing")

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        return PrivateGanTrainer(
            **self._promise(),
            critic=PrivateCritic(codes.shape[1], len(self.cells), self.critic_hidden),
            prior=self._prior,
            critic_steps=self.critic_steps,
            generator=self._new_network(),
            codes=codes,
            cells=cells,
            recipe=recipe,
            seed=self.seed,
        )
