"""Adversarial training: a generator and a critic learning against each other, by the rules of each published method."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ecgsynth.nets.conditioning import Critic, Verdict
from ecgsynth.objectives import Objective, clip_weights, gradient_penalty, zero_centred_penalty
from ecgsynth.priors import Prior
from ecgsynth.training import Losses, Trainer, descend

# Shapes: B batch, D coordinates of a beat.

_BETA2 = 0.99  # Adam's memory of squared gradients
_EPSILON = 1e-8


@dataclass(frozen=True)
class Rules:
    """The rules of the game; see `ecgsynth.generators.gan.Gan` for what each does."""

    objective: Objective
    regulariser: str
    penalty: float
    penalty_every: int
    beta: float
    critic_steps: int = 1
    unrolled: int = 0
    optimizer: str = "adam"
    critic_pace: float = 1.0
    classify_generated: bool = True


class AdversarialTrainer(Trainer):
    """A generator and a critic learning against each other.

    Parameters
    ----------
    critic : Critic
        (beats, cells) -> `Verdict`.
    prior : Prior
        Draws latents and drafts; the generator makes beats of (latent, cells, draft).
    rules : Rules
        The rules of the game.
    rest
        As for `Trainer`.

    References
    ----------
    Metz L et al. Unrolled generative adversarial networks (2017), doi:10.48550/arXiv.1611.02163: `unrolled`.
    """

    def __init__(self, *, critic: Critic, prior: Prior, rules: Rules, **rest: Any) -> None:
        super().__init__(**rest)
        self.critic, self.prior, self.rules = critic.to(self.device), prior, rules
        self._critic_optimizer = self._optimizer(critic, rules.critic_pace)
        self._generator_optimizer = self._optimizer(self.generator)

    @property
    def drawn(self) -> int:
        """How many real beats were learnt from, each as often as it was."""
        return super().drawn * self.rules.critic_steps

    def _optimizer(self, network: nn.Module, pace: float = 1.0) -> torch.optim.Optimizer:
        """Make an optimizer whose rate is `pace` times that of the recipe."""
        weights = [{"params": list(network.parameters()), "pace": pace}]
        if self.rules.optimizer == "rmsprop":
            return torch.optim.RMSprop(weights, self.recipe.rate)
        return torch.optim.Adam(weights, self.recipe.rate, betas=(self.rules.beta, _BETA2), fused=True)

    def _update(self, real: Tensor, cells: Tensor) -> Losses:
        for turn in range(self.rules.critic_steps):
            if turn:
                real, cells = self._draw_batch()
            real, cells = real.to(self.device), cells.to(self.device)
            critic_loss, gap = self._critic_step(real, cells)
        return Losses(self._generator_step(real, cells), critic_loss, gap)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator_optimizer": self._generator_optimizer, "critic_optimizer": self._critic_optimizer}

    def _parts(self) -> dict[str, Any]:
        return super()._parts() | {"critic": self.critic}

    def _rate(self) -> float:
        """Hold the learning rate for half of the budget, then bring it down to a hundredth."""
        return self.recipe.rate * max(0.01, min(1.0, 2 * (1 - self.share)))

    def _generate(self, cells: Tensor) -> Tensor:
        latent, draft = self.prior.draw(cells.cpu(), self._random)
        beats: Tensor = self.generator(latent.to(self.device), cells, None if draft is None else draft.to(self.device))
        return beats

    def _critic_step(self, real: Tensor, cells: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            generated = self._generate(cells)
        penalised = self.rules.penalty > 0 and self.step % self.rules.penalty_every == 0
        centred = penalised and self.rules.regulariser == "zero-centred"
        real, generated = real.clone().requires_grad_(centred), generated.requires_grad_(centred)
        on_real, on_generated = self.critic(real, cells), self.critic(generated, cells)
        loss = total = self._critic_loss(on_real, on_generated)
        if centred:
            # Half the sum of R1 and R2, that is their mean; scaled up as it comes only now and then.
            both = zero_centred_penalty(on_real.scores, real) + zero_centred_penalty(on_generated.scores, generated)
            total = loss + self.rules.penalty_every * self.rules.penalty * both / 2
        elif penalised and self.rules.regulariser == "gradient":
            bent = gradient_penalty(lambda beats: self.critic(beats, cells).scores, real, generated, self._random, pack=self.critic.pack)
            total = loss + self.rules.penalty_every * self.rules.penalty * bent
        descend(self._critic_optimizer, total)
        if self.rules.regulariser == "clip":
            clip_weights(self.critic, self.rules.penalty)
        return loss.item(), (on_real.scores.mean() - on_generated.scores.mean()).item()

    def _critic_loss(self, on_real: Verdict, on_generated: Verdict) -> Tensor:
        loss: Tensor = self.rules.objective.critic(on_real.scores, on_generated.scores)
        for verdict in (on_real, on_generated) if self.rules.classify_generated else (on_real,):
            if verdict.label_loss is not None:
                loss = loss + verdict.label_loss
        return loss

    def _generator_step(self, real: Tensor, cells: Tensor) -> float:
        loss = self._generator_loss(real, cells)
        descend(self._generator_optimizer, loss)
        self.critic.requires_grad_(True)
        return loss.item()

    def _generator_loss(self, real: Tensor, cells: Tensor) -> Tensor:
        generated = self._generate(cells)
        state: dict[str, Tensor] = {}
        if self.rules.unrolled:
            state = self._look_ahead(real, generated, cells)
        else:
            self.critic.requires_grad_(False)
        judged = (real, generated) if self.rules.objective.relative else (generated,)
        verdicts = [functional_call(self.critic, state, (beats, cells)) for beats in judged]
        loss: Tensor = self.rules.objective.generator(verdicts[0].scores, verdicts[-1].scores)
        return loss if verdicts[-1].label_loss is None else loss + verdicts[-1].label_loss

    def _look_ahead(self, real: Tensor, generated: Tensor, cells: Tensor) -> dict[str, Tensor]:
        """Give the state that the critic would have after some steps of Adam on this batch, as a function of the generator's."""
        weights: dict[str, Tensor] = dict(self.critic.named_parameters())
        known = self._critic_optimizer.state
        at = {name: known.get(weight, {}) for name, weight in weights.items()}
        means = {name: at[name].get("exp_avg", torch.zeros_like(weight)) for name, weight in weights.items()}
        squares = {name: at[name].get("exp_avg_sq", torch.zeros_like(weight)) for name, weight in weights.items()}
        done = {name: int(state.get("step", 0)) for name, state in at.items()}  # those of other labels may have stood still
        buffers = {name: buffer.clone() for name, buffer in self.critic.named_buffers()}  # batch normalisation writes to them
        rate, beta = self._rate() * self.slowed * self.rules.critic_pace, self.rules.beta
        for ahead in range(1, 1 + self.rules.unrolled):
            state = weights | buffers
            on_real, on_generated = (functional_call(self.critic, state, (beats, cells)) for beats in (real, generated))
            loss = self._critic_loss(on_real, on_generated)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, materialize_grads=True)
            for name, slope in zip(weights, slopes, strict=True):
                step = done[name] + ahead
                means[name] = beta * means[name] + (1 - beta) * slope
                squares[name] = _BETA2 * squares[name] + (1 - _BETA2) * slope.square()
                spread = (squares[name] / (1 - _BETA2**step)).clamp_min(_EPSILON**2).sqrt()  # a root has no slope at 0
                weights[name] = weights[name] - rate * means[name] / (1 - beta**step) / (spread + _EPSILON)
        return weights | buffers
