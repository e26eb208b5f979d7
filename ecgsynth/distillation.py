"""Distillation: a network learns to do in one step what a flow does in many, while a critic holds its beats against real ones."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ecgsynth.adversarial import AdversarialTrainer
from ecgsynth.training import Losses, Trainer

# Shapes: B batch, P coordinates of a beat.

FLOW_STEPS = 4  # of the teacher, in one of this training: they take about as long as one of the pupil
_LESSON = 64  # beats that the teacher makes for each step of the pupil
_LESSONS = 8  # of which a batch of the pupil is made
_MOST_LESSONS = 4000  # kept in memory: each takes some 30 kB


class DistillingTrainer(AdversarialTrainer):
    """First a flow learns from real beats, then the generator from the flow and from a critic.

    Parameters
    ----------
    teacher : Trainer
        Of the flow; its budget is a part of that of this training.
    begin : callable
        Sets up a generator by what the teacher has learnt so far; done after each of the teacher's steps, so
        that a training stopped early leaves something to sample from.
    answer : callable
        (noise, cells) -> the beats that the flow makes of this noise.
    seen : callable
        Coordinates that the teacher takes -> those that the critic sees, and their cells.
    teaching : float
        Share of the budget after which the generator's own training begins.
    likeness : float
        Weight of the squared distance to the flow's beats, beside the adversarial loss.
    precision : callable
        Gives the context in which the players compute.
    rest
        As for `AdversarialTrainer`; its prior draws the noise.

    References
    ----------
    Sauer A et al. Adversarial diffusion distillation (2023), doi:10.48550/arXiv.2311.17042. Deviations: the
    pupil is held to whole runs of the teacher from noise to beat, as in Liu X, Gong C, Liu Q. Flow straight
    and fast (2022), doi:10.48550/arXiv.2209.03003, and takes one step; the critic is not told features of
    another network.
    """

    def __init__(
        self,
        *,
        teacher: Trainer,
        begin: Callable[[Any], None],
        answer: Callable[[Tensor, Tensor], Tensor],
        seen: Callable[[Tensor], tuple[Tensor, Tensor]],
        teaching: float,
        likeness: float,
        precision: Callable[[], AbstractContextManager[Any]],
        seed: int,
        **rest: Any,
    ) -> None:
        super().__init__(seed=seed, **rest)
        self._teacher, self._begin, self._answer = teacher, begin, answer
        self._seen = seen
        self._teaching, self._likeness = teaching, likeness
        self._precision = precision
        self._lessons: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._lesson_seed = seed

    @property
    def ready(self) -> bool:
        """Whether the generator has begun to learn, so that its beats may be judged."""
        return self._given > 0

    @property
    def drawn(self) -> int:
        """How many real beats teacher and critic learnt from, each as often as it was."""
        return self._teacher.drawn + self._given * self.recipe.batch

    def _update(self, real: Tensor, cells: Tensor) -> Losses:
        if not self._taught:
            for _ in range(FLOW_STEPS):
                losses = self._teacher.advance()
            self._begin(self.generator)
            self._begin(self.average)
            return losses
        with self._precision():
            return super()._update(real, cells)

    @property
    def _given(self) -> int:
        """How many steps of its own the generator has done."""
        return self.step - self._teacher.step // FLOW_STEPS

    @property
    def _taught(self) -> bool:
        """Whether the teacher is done; it stays so if a training goes on with a larger budget."""
        return self._given > 0 or self._teacher.share >= 1

    def _generator_loss(self, real: Tensor, cells: Tensor) -> Tensor:
        known = min(self._given + 1, _MOST_LESSONS)  # one more each step
        heard = torch.randint(known, (_LESSONS,), generator=self._random).tolist()
        for number in set(heard) - self._lessons.keys():
            self._lessons[number] = self._lesson(number)
        noise, told, beats = (torch.cat(parts) for parts in zip(*(self._lessons[number] for number in heard), strict=True))
        return super()._generator_loss(real, cells) + self._likeness * mse_loss(self.generator(noise, told, None), beats)

    @torch.no_grad()
    def _lesson(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give noise, cells and what the flow makes of them: same number, same lesson."""
        random = torch.Generator().manual_seed(self._lesson_seed * 1_000_003 + number)
        cells = torch.multinomial(self._cell_weights, _LESSON, replacement=True, generator=random)
        noise, _ = self.prior.draw(cells, random)
        noise, cells = noise.to(self.device), cells.to(self.device)
        return noise, cells, self._answer(noise, cells)

    def take(self, codes: Tensor, cells: Tensor) -> None:
        """Learn from these beats from now on, and so does the teacher."""
        self._teacher.take(codes, cells)
        super().take(*self._seen(codes))

    def _parts(self) -> dict[str, Any]:
        return super()._parts() | {"teacher": self._teacher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        super().load_state_dict(state)
        if self._given < 0:
            raise ValueError("its teacher is ahead of it")

    def check_weights(self) -> None:
        """Make sure that all weights are numbers, the teacher's, too."""
        super().check_weights()
        self._teacher.check_weights()

    def go_back(self, state: dict[str, Any], *, slowed: float, turn: int) -> None:
        """Go back to an earlier state, together with the teacher."""
        seconds = self._teacher.seconds
        super().go_back(state, slowed=slowed, turn=turn)
        self._teacher.seconds = seconds
        self._teacher.go_back(state["teacher"], slowed=slowed, turn=turn)
        self._lessons.clear()  # which may be of what the teacher has forgotten

    def _rate(self) -> float:
        """Hold the learning rate for half of the generator's own training, then bring it down to a hundredth."""
        return self.recipe.rate * max(0.01, min(1.0, 2 * (1 - self.share) / (1 - self._teaching)))
