"""A conditional variational autoencoder."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecgsynth.distributed import own_of
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.trained import TrainedGenerator
from ecgsynth.nets.conditioning import ToldGenerator
from ecgsynth.nets.mlp import MlpCritic, MlpGenerator
from ecgsynth.training import LossTrainer, Recipe
from ecgsynth.vectors import Shape

# Shapes: B batch, P coordinates of a beat, Z latent, K cells.


class Decoder(nn.Module):
    """A latent and a cell, to the mean of a beat; and how far beats lie from it, in each coordinate."""

    def __init__(self, size: int, latent: int, n_cells: int, width: int) -> None:
        super().__init__()
        self.mean = ToldGenerator(partial(MlpGenerator, Shape(1, size, 0), width=width), latent, n_cells)
        self.log_spread = nn.Parameter(torch.zeros(size))

    def forward(self, latent: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and spread of beats: (B, Z), (B,) -> (B, P), (P,)."""
        return self.mean(latent, cells, None), self.log_spread.clamp(-6, 2).exp()


class Autoencoder(nn.Module):
    """The decoder, and an encoder that guesses the latent of a beat."""

    def __init__(self, size: int, latent: int, n_cells: int, width: int) -> None:
        super().__init__()
        self.n_cells = n_cells
        self.body = MlpCritic(Shape(1, size, 0), n_side=n_cells, width=width)
        self.moments = nn.Linear(self.body.n_features, 2 * latent)
        self.decoder = Decoder(size, latent, n_cells, width)

    def encode(self, beats: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the spread of the latent: (B, P), (B,) -> (B, Z) twice."""
        features = self.body(beats[:, None], functional.one_hot(cells, self.n_cells).float())
        mean, log_spread = self.moments(features).chunk(2, dim=1)
        return mean, log_spread.clamp(-6, 2)


def divergence(mean: Tensor, log_spread: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a Gaussian from the standard normal one, summed over Z: (B, Z) twice -> (B,)."""
    return 0.5 * (mean.square() + (2 * log_spread).exp() - 1 - 2 * log_spread).sum(dim=1)


@dataclass(kw_only=True, eq=False)
class Vae(TrainedGenerator):
    """A VAE that is told the label on both sides.

    Parameters
    ----------
    name : str
        Under which it stands in `GENERATORS`.
    latent, width : int
        Normal numbers a beat; size of the networks: 32 for hidden layers of 128, 256 and 512.
    weight : float
        Of the divergence: less than 1 makes sharper beats.
    steps, minutes, batch, rate, ema, class_power, space, components, whitening, validations, seed
        As for `ecgsynth.generators.flow.Flow`.

    Notes
    -----
    Deviations: each coordinate has a spread of its own, where Rybkin et al. learn one for all; weights are averaged over steps,
    and rare labels drawn more often.

    References
    ----------
    Kingma DP, Welling M. Auto-encoding variational Bayes (2014), doi:10.48550/arXiv.1312.6114; Sohn K, Lee
    H, Yan X. Learning structured output representation using deep conditional generative models (2015).
    The spread of beats around their mean is learnt, and drawn in sampling: Rybkin O et al. Sigma-VAE (2021),
    doi:10.48550/arXiv.2006.13202.
    """

    name: str = "vae"
    latent: int = 32
    width: int = 32
    weight: float = 1.0
    steps: int = 20_000
    batch: int = 256
    rate: float = 1e-3
    ema: float = 0.999
    whitening: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.latent, self.width) < 1 or self.weight < 0:
            raise EcgsynthError("latent and width must be positive, weight not negative")

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> LossTrainer:
        device = self._device
        model = Autoencoder(self._space.size, self.latent, len(self.cells), self.width)

        def loss(whole: nn.Module, real: Tensor, told: Tensor, random: torch.Generator) -> Tensor:
            noise, own = torch.randn(len(real), self.latent, generator=random), own_of(len(real))
            real, told, noise = (part[own].to(device) for part in (real, told, noise))
            mean, log_spread = model.encode(real, told)
            latent = mean + log_spread.exp() * noise
            guess, spread = model.decoder(latent, told)
            surprise = (0.5 * ((real - guess) / spread).square() + spread.log()).sum(dim=1)
            bound: Tensor = (surprise + self.weight * divergence(mean, log_spread)).mean() / real.shape[1]
            return bound

        return LossTrainer(
            loss=loss, model=model, generator=model.decoder, codes=codes, cells=cells, recipe=recipe, seed=self.seed, device=device
        )

    def _new_network(self) -> Decoder:
        return Decoder(self._space.size, self.latent, len(self.cells), self.width)

    def _make(self, network: nn.Module, cells: Tensor, random: torch.Generator) -> Tensor:
        mean, spread = network(torch.randn(len(cells), self.latent, generator=random), cells)
        beats: Tensor = mean + spread * torch.randn(mean.shape, generator=random)
        return beats
