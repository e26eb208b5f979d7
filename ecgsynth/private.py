"""Training with differential privacy: what any one beat, or patient, changes in the model is bounded and drowned in noise."""

import math
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from ecgsynth.errors import EcgsynthError
from ecgsynth.priors import Prior
from ecgsynth.training import Losses, Trainer

UNITS = ("beat", "patient")

_ACCOUNTANT = "prv"
_BEATS_OF_PATIENT = 64  # that a patient gives a step
_FOR_COUNTS = 0.02  # of epsilon
_MOST = 32.0  # epsilon beyond which its accountant would take all memory

# Shapes: B batch, P coordinates of a beat.


@dataclass(frozen=True)
class Guarantee:
    """What is promised: whether one unit was among the training beats or not changes any odds by no more than exp(epsilon).

    Parameters
    ----------
    epsilon, delta : float
        Of (epsilon, delta)-differential privacy for adding or removing one unit; an infinite epsilon promises nothing.
    unit : str
        ``"beat"`` or ``"patient"``.

    References
    ----------
    Dwork C, Roth A. Found Trends Theor Comput Sci 9(3-4):211-407 (2014), doi:10.1561/0400000042.
    """

    epsilon: float
    delta: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise EcgsynthError(f"unknown unit of privacy {self.unit!r}; known: {', '.join(UNITS)}")
        if not 0 < self.delta < 1 or not (0 < self.epsilon <= _MOST or math.isinf(self.epsilon)):
            raise EcgsynthError(
                f"epsilon must be positive, at most {_MOST:g} (more promises next to nothing) or inf, and delta between 0 and 1"
            )

    @property
    def for_counts(self) -> float:
        """The epsilon spent on the number of beats of each label, where they are counted at all."""
        return _FOR_COUNTS * self.epsilon if self.unit == "beat" else 0.0


def noisy_counts(counts: NDArray[np.int64], guarantee: Guarantee) -> NDArray[np.int64]:
    """Count with noise of the Laplace distribution, no less than 1; for patients nothing is counted, and all are alike.

    References
    ----------
    The Laplace mechanism: Dwork C et al. (2006), doi:10.1007/11681878_14. A beat more or less changes one count by 1.
    """
    if guarantee.unit == "patient":
        return np.ones_like(counts)
    if math.isinf(guarantee.epsilon):
        return counts
    noise = np.random.default_rng(secrets.randbits(128)).laplace(0, 1 / guarantee.for_counts, len(counts))
    return np.maximum(1, np.rint(counts + noise)).astype(np.int64)


class PrivateTrainer(Trainer):
    """Training that brings a loss down by gradients that are clipped for each unit, summed, and blurred by noise.

    Each step every unit takes part by chance. What is drawn at random is drawn anew in each training, whatever its seed:
    noise that can be computed again protects nobody.

    Parameters
    ----------
    losses : callable
        (network, beats, cells, random) -> the loss of each beat: (B,).
    owners : array of int, shape (n,)
        The patient of each training beat.
    counts : array of int, shape (n_cells,)
        About how many beats each cell has, of which the chance of its beats is computed.
    guarantee : Guarantee
        What is promised.
    clip : float
        The length to which gradients are clipped.
    model : nn.Module, optional
        What learns from the beats, where it is not the generator.
    rest
        As for `Trainer`.

    References
    ----------
    Abadi M et al. Deep learning with differential privacy (2016), doi:10.1145/2976749.2978318; clipping without a gradient
    a beat: Li X et al. (2022), doi:10.48550/arXiv.2110.05679, and the accountant: Gopi S et al. (2021),
    doi:10.48550/arXiv.2106.02848, both as implemented in opacus (Yousefpour A et al. (2021), doi:10.48550/arXiv.2109.12298).
    """

    may_go_back: ClassVar[bool] = False

    def __init__(
        self,
        *,
        losses: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor],
        owners: NDArray[np.int64],
        counts: NDArray[np.int64],
        guarantee: Guarantee,
        clip: float,
        model: nn.Module | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        opacus = _opacus()
        self._model = model if model is not None else self.generator
        self._losses, self.guarantee, self._clip = losses, guarantee, clip
        self._adam = torch.optim.Adam(self._model.parameters(), self.recipe.rate, betas=(0.9, 0.99))
        self._cells = torch.empty(len(self._codes), dtype=torch.long)
        for cell, members in enumerate(self._members):
            self._cells[members] = cell
        self._owned = [torch.from_numpy(np.flatnonzero(owners == owner)) for owner in np.unique(owners)]
        if guarantee.unit == "beat":
            drawn = counts.astype(np.float64) ** self.recipe.class_power
            each = np.minimum(1.0, self.recipe.batch * drawn / drawn.sum() / counts)
            self._chances = torch.from_numpy(each)[self._cells]
            self.sampling_rate = float(each.max())
        else:
            self.sampling_rate = min(1.0, self.recipe.batch / _BEATS_OF_PATIENT / len(self._owned))
        self.noise = _noise(guarantee, self.sampling_rate, self.recipe.steps)
        if guarantee.unit == "beat":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._watched = opacus.GradSampleModuleFastGradientClipping(
                    self._model, max_grad_norm=clip, use_ghost_clipping=True, loss_reduction="mean"
                )
            self._private = opacus.DPOptimizerFastGradientClipping(
                self._adam,
                noise_multiplier=self.noise,
                max_grad_norm=clip,
                expected_batch_size=self.recipe.batch,
                loss_reduction="mean",
                generator=self._random,
            )

    @property
    def spent(self) -> dict[str, Any]:
        """What was promised and what it was done with, for the model's card; epsilon is that of the steps taken."""
        used = _epsilon(self.noise, self.sampling_rate, self.step, self.guarantee.delta) + self.guarantee.for_counts
        return {
            "epsilon": None if math.isinf(used) else math.ceil(used * 1e4) / 1e4,
            "delta": self.guarantee.delta,
            "unit": self.guarantee.unit,
            "sampling_rate": self.sampling_rate,
            "noise": self.noise,
            "clip": self._clip,
            "steps": self.step,
            "accountant": f"opacus {_ACCOUNTANT}",
            "beforehand": "cosine frequencies and their scales are fixed without the beats; labels, leads and the layout are public"
            + ("; counts of labels have noise of their own" if self.guarantee.unit == "beat" else "; labels are not counted"),
        }

    def _draw_batch(self) -> tuple[Tensor, Tensor]:
        self._random.manual_seed(secrets.randbits(63))  # of which torch takes 32 bits: one seed for all steps could be guessed
        if self.guarantee.unit == "beat":
            index = torch.nonzero(torch.rand(len(self._codes), generator=self._random, dtype=torch.float64) < self._chances)[:, 0]
        else:
            index = torch.nonzero(torch.rand(len(self._owned), generator=self._random, dtype=torch.float64) < self.sampling_rate)[:, 0]
        return index, index

    def _update(self, index: Tensor, _: Tensor) -> Losses:
        return Losses(self._beats_step(index) if self.guarantee.unit == "beat" else self._patients_step(index))

    def _beats_step(self, index: Tensor) -> float:
        if not len(index):
            self._descend([torch.zeros_like(weight) for weight in self._model.parameters()], self.recipe.batch)
            return 0.0
        opacus = _opacus()
        losses = self._losses(self._watched, self._codes[index], self._cells[index], self._random)
        loss = opacus.DPTensorFastGradientClipping(self._watched, self._private, losses, "mean")
        self._private.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hooks that see no gradient of their input
            loss.backward()
        self._private.step()
        return float(losses.detach().mean())

    def _patients_step(self, drawn: Tensor) -> float:
        weights = list(self._model.parameters())
        total, seen = [torch.zeros_like(weight) for weight in weights], 0.0
        for patient in drawn.tolist():
            own = self._owned[patient]
            own = own[torch.randperm(len(own), generator=self._random)[:_BEATS_OF_PATIENT]]
            loss = self._losses(self._model, self._codes[own], self._cells[own], self._random).mean()
            slopes = torch.autograd.grad(loss, weights)
            length = torch.stack([slope.norm() for slope in slopes]).norm()
            share = min(1.0, self._clip / (float(length) + 1e-12))
            total = [whole + share * slope for whole, slope in zip(total, slopes, strict=True)]
            seen += float(loss.detach()) / max(1, len(drawn))
        self._descend(total, self.sampling_rate * len(self._owned))
        return seen

    def _descend(self, total: list[Tensor], expected: float) -> None:
        """Take one step down a sum of clipped gradients, blurred by noise, over the expected number of those that take part."""
        for weight, whole in zip(self._model.parameters(), total, strict=True):
            weight.grad = (whole + self.noise * self._clip * torch.randn(whole.shape, generator=self._random)) / expected
        self._adam.step()

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self._adam}

    def _rate(self) -> float:
        """Rise over the first 50 steps, then fall along a half cosine."""
        return self.recipe.rate * min(1.0, (self.step + 1) / 50) * max(0.05, 0.5 * (1 + math.cos(math.pi * self.share)))


class PrivateGanTrainer(PrivateTrainer):
    """A critic that learns with differential privacy, and a generator that knows the beats by that critic alone.

    What a generator does with a private critic costs no privacy more. Each beat is judged beside a generated one of its label, so
    that what a beat changes is bounded whatever else is drawn; the generator learns once in several steps of the critic.

    Parameters
    ----------
    critic : nn.Module
        (beats of the form (..., P), cells (...,)) -> scores (...,).
    prior : Prior
        Draws the generator's latents.
    critic_steps : int
        Steps of the critic for each of the generator.
    counts, rest
        As for `PrivateTrainer`.

    References
    ----------
    Noise on the critic alone: Xie L et al. Differentially private generative adversarial network (2018),
    doi:10.48550/arXiv.1802.06739; many steps of it for each of the generator: Bie A, Kamath G, Zhang G. Private GANs, revisited
    (2023), doi:10.48550/arXiv.2302.02936.
    """

    def __init__(self, *, critic: nn.Module, prior: Prior, critic_steps: int, counts: NDArray[np.int64], **rest: Any) -> None:
        super().__init__(model=critic, losses=self._pairs, counts=counts, **rest)
        self._prior, self._critic_steps = prior, critic_steps
        self._shares = torch.from_numpy(counts.astype(np.float64) ** self.recipe.class_power)
        self._generator_optimizer = torch.optim.Adam(self.generator.parameters(), self.recipe.rate, betas=(0.5, 0.99))
        self._generator_loss = 0.0

    def _generate(self, cells: Tensor) -> Tensor:
        latent, draft = self._prior.draw(cells, self._random)
        beats: Tensor = self.generator(latent, cells, draft)
        return beats

    def _pairs(self, critic: nn.Module, beats: Tensor, cells: Tensor, random: torch.Generator) -> Tensor:
        with torch.no_grad():
            generated = self._generate(cells)
        on_real, on_generated = critic(torch.stack([beats, generated], dim=1), torch.stack([cells, cells], dim=1)).unbind(dim=1)
        return torch.as_tensor(softplus(-on_real) + softplus(on_generated))

    def _update(self, index: Tensor, _: Tensor) -> Losses:
        critic_loss = super()._update(index, _).generator_loss
        if (self.step + 1) % self._critic_steps == 0:
            cells = torch.multinomial(self._shares, self.recipe.batch, replacement=True, generator=self._random)
            loss = softplus(-self._model(self._generate(cells), cells)).mean()
            slopes = torch.autograd.grad(loss, list(self.generator.parameters()))
            for weight, slope in zip(self.generator.parameters(), slopes, strict=True):
                weight.grad = slope
            self._generator_optimizer.step()
            self._generator_loss = float(loss.detach())
        return Losses(self._generator_loss, critic_loss)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return super()._optimizers() | {"generator_optimizer": self._generator_optimizer}


def _noise(guarantee: Guarantee, sampling_rate: float, steps: int) -> float:
    """Give the noise, over the clipped length, by which so many steps keep the promise."""
    if math.isinf(guarantee.epsilon):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            noise: float = _opacus().get_noise_multiplier(
                target_epsilon=guarantee.epsilon - guarantee.for_counts,
                target_delta=guarantee.delta,
                sample_rate=sampling_rate,
                steps=steps,
                accountant=_ACCOUNTANT,
            )
        except (ValueError, MemoryError) as error:  # the accountant's tables grow with the steps
            raise EcgsynthError(
                f"no noise keeps epsilon {guarantee.epsilon:g} over {steps} steps: allow more, or take fewer steps"
            ) from error
    return noise


def _epsilon(noise: float, sampling_rate: float, steps: int, delta: float) -> float:
    if not noise:
        return math.inf
    if not steps:
        return 0.0
    accountant = _opacus().create_accountant(_ACCOUNTANT)
    accountant.history = [(noise, sampling_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def _opacus() -> SimpleNamespace:
    """Import what is needed of opacus, which is an extra."""
    try:
        from opacus import accountants, grad_sample, optimizers
        from opacus.accountants.utils import get_noise_multiplier
        from opacus.utils import fast_gradient_clipping_utils
    except ImportError as error:
        raise EcgsynthError("training with differential privacy needs opacus: pip install 'ecgsynth[dp]'") from error

    return SimpleNamespace(
        GradSampleModuleFastGradientClipping=grad_sample.GradSampleModuleFastGradientClipping,
        DPOptimizerFastGradientClipping=optimizers.DPOptimizerFastGradientClipping,
        DPTensorFastGradientClipping=fast_gradient_clipping_utils.DPTensorFastGradientClipping,
        create_accountant=accountants.create_accountant,
        get_noise_multiplier=get_noise_multiplier,
    )
