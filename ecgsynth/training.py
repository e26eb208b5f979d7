"""Adversarial training, one step at a time: networks, objective, prior and data come from outside."""

import copy
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.objectives import Objective, zero_centred_penalty
from ecgsynth.priors import Prior

# Shapes: B batch, L samples, K classes.


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training; see `ecgsynth.generators.gan.Gan` for what each does."""

    steps: int
    minutes: float | None
    batch: int
    rate: float
    penalty: float
    penalty_every: int
    ema: float
    class_power: float


@dataclass(frozen=True)
class Losses:
    """What one step gave."""

    step: int
    share: float
    critic_loss: float
    generator_loss: float
    score_gap: float


class AdversarialTrainer:
    """A generator and a critic learning against each other.

    Parameters
    ----------
    generator : nn.Module
        (latent, labels, draft) -> beats.
    critic : nn.Module
        (beats, labels) -> scores.
    prior : Prior
        Draws latents and drafts.
    objective : Objective
        Both losses.
    signals : Tensor, shape (n, L)
        Training beats, scaled.
    labels : Tensor, shape (n,)
        Their classes.
    recipe : Recipe
        The numbers.
    seed : int
        Of batches and latents; the global random state is not touched.

    Attributes
    ----------
    average : nn.Module
        The generator with its weights averaged over recent steps: the one to sample from.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        critic: nn.Module,
        prior: Prior,
        objective: Objective,
        signals: Tensor,
        labels: Tensor,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.generator, self.critic, self.prior, self.objective = generator, critic, prior, objective
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.recipe = recipe
        self.step = 0
        self.seconds = 0.0
        self._signals = signals
        self._members = [torch.nonzero(labels == label).squeeze(1) for label in range(int(labels.max()) + 1)]
        self._class_weights = torch.tensor([float(len(members)) for members in self._members]) ** recipe.class_power
        self._random = torch.Generator().manual_seed(seed)
        # No momentum: the other player has moved by the next step. Betas of R3GAN and StyleGAN2.
        self._critic_optimizer = torch.optim.Adam(critic.parameters(), recipe.rate, betas=(0.0, 0.99))
        self._generator_optimizer = torch.optim.Adam(generator.parameters(), recipe.rate, betas=(0.0, 0.99))

    def train_steps(self) -> Iterator[Losses]:
        """Train until the budget is used; yields after each step."""
        while self.share < 1:
            begun = time.monotonic()
            self._set_rate()
            real, labels = self._draw_batch()
            critic_loss, gap = self._critic_step(real, labels)
            generator_loss = self._generator_step(real, labels)
            self._update_average()
            self.step += 1
            self.seconds += time.monotonic() - begun
            if not (critic_loss == critic_loss and generator_loss == generator_loss):
                raise EcgsynthError(f"training diverged: a loss is not a number after {self.step} steps; try a lower rate")
            yield Losses(self.step, self.share, critic_loss, generator_loss, gap)

    @property
    def share(self) -> float:
        """How much of the budget is used, in steps or in minutes, whichever is further."""
        by_time = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(self.step / self.recipe.steps, by_time))

    def save(self, path: Path, identity: str, extra: dict[str, Any]) -> None:
        """Write everything needed to go on as if never stopped, and of which training it is."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "seconds": self.seconds, "random": self._random.get_state(), "identity": identity, "extra": extra}
        buffer = io.BytesIO()  # on a full disk torch would raise an error that does not say so
        torch.save(state, buffer)
        with atomic_path(path, force=True) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def restore(self, path: Path, identity: str) -> dict[str, Any]:
        """Go on from what `save` wrote; gives back its `extra`. Nothing in the file is executed."""
        try:
            state = torch.load(path, weights_only=True)
            if state["identity"] != identity:
                raise EcgsynthError(f"{path} is of a training with other beats or settings; use those, or delete it to begin anew")
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]
            self._random.set_state(state["random"])
            extra: dict[str, Any] = state["extra"]
        except EcgsynthError:
            raise
        except Exception as error:  # torch raises whatever the damage leads to
            raise EcgsynthError(f"{path} does not fit this training, or is damaged; delete it to begin anew") from error
        return extra

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "average": self.average,
            "generator_optimizer": self._generator_optimizer,
            "critic_optimizer": self._critic_optimizer,
        }

    def _set_rate(self) -> None:
        """Hold the learning rate for half of the budget, then bring it down to a hundredth."""
        rate = self.recipe.rate * max(0.01, min(1.0, 2 * (1 - self.share)))
        for optimizer in (self._critic_optimizer, self._generator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _draw_batch(self) -> tuple[Tensor, Tensor]:
        labels = torch.multinomial(self._class_weights, self.recipe.batch, replacement=True, generator=self._random)
        chance = torch.rand(self.recipe.batch, generator=self._random)
        index = torch.empty(self.recipe.batch, dtype=torch.long)
        for label, members in enumerate(self._members):
            own = labels == label
            index[own] = members[(chance[own] * len(members)).long().clamp_(max=len(members) - 1)]
        return self._signals[index], labels

    def _generate(self, labels: Tensor) -> Tensor:
        latent, draft = self.prior.draw(labels, self._random)
        beats: Tensor = self.generator(latent, labels, draft)
        return beats

    def _critic_step(self, real: Tensor, labels: Tensor) -> tuple[float, float]:
        penalised = self.recipe.penalty > 0 and self.step % self.recipe.penalty_every == 0
        with torch.no_grad():
            generated = self._generate(labels)
        beats = torch.cat([real, generated]).requires_grad_(penalised)
        scores = self.critic(beats, labels.repeat(2))
        real_scores, generated_scores = scores.chunk(2)
        loss: Tensor = self.objective.critic(real_scores, generated_scores)
        total = loss
        if penalised:
            # Half the sum of R1 and R2, that is their mean; scaled up as it comes only now and then.
            total = loss + self.recipe.penalty_every * self.recipe.penalty * zero_centred_penalty(scores, beats)
        _descend(self._critic_optimizer, total)
        return loss.item(), (real_scores - generated_scores).mean().item()

    def _generator_step(self, real: Tensor, labels: Tensor) -> float:
        with torch.no_grad():
            real_scores = self.critic(real, labels)
        self.critic.requires_grad_(False)
        loss = self.objective.generator(real_scores, self.critic(self._generate(labels), labels))
        _descend(self._generator_optimizer, loss)
        self.critic.requires_grad_(True)
        return loss.item()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, 1 - 1 / (1 + self.step / 10))  # a short memory while all is new
        for mean, parameter in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(parameter, 1 - decay)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
