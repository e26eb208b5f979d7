"""A GAN with a flow for its teacher: the flow's beats in one step, at the speed of a GAN."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from ecgsynth.adversarial import Rules
from ecgsynth.devices import CPU
from ecgsynth.distillation import FLOW_STEPS, DistillingTrainer
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.flow import PATHS, Flow
from ecgsynth.nets.conditioning import ProjectionCritic
from ecgsynth.nets.denoiser import GuidedDenoiser, OneStep
from ecgsynth.nets.mlp import MlpCritic
from ecgsynth.objectives import OBJECTIVES
from ecgsynth.priors import NormalPrior
from ecgsynth.training import Recipe, Trainer
from ecgsynth.vectors import Shape

_MODE_POWER = 0.5  # modes are drawn in proportion to their count to this power


@dataclass(kw_only=True, eq=False)
class FlowGan(Flow):
    """A generator that learns from a flow, and against a critic, to make beats in one step.

    Parameters
    ----------
    teaching : float
        Share of the budget in which the flow learns; the rest is for the generator.
    likeness : float
        Weight of the squared distance between the generator's beats and those the flow makes of the same
        noise, beside the adversarial loss.
    penalty, penalty_every : float, int
        Weight of R1 and R2, and the steps from one to the next.
    own_rate : float
        Learning rate of generator and critic.
    critic_width : int
        Size of the critic: 32 for layers of 512, 256 and 128.
    steps : int
        Of the budget. In its first part each step is four of the flow, which takes about as long as one
        of the generator and its critic.
    sampling_steps, guidance, rate, class_power
        Of the flow alone: the generator takes one step, and has its guidance learnt.
    hidden, depth, mode_size, blend, precision, minutes, batch, ema, space, components, whitening, validations, seed
        As for `ecgsynth.generators.flow.Flow`.

    Notes
    -----
    The generator begins as the flow is, and never sees a real beat: only the critic and the flow do, and those blended.

    References
    ----------
    See `ecgsynth.distillation.DistillingTrainer`, and for the objective `ecgsynth.objectives.OBJECTIVES`.
    """

    name: str = "flow-gan"
    steps: int = 5_000
    teaching: float = 0.6
    likeness: float = 5.0
    penalty: float = 0.05
    penalty_every: int = 4
    own_rate: float = 4e-4
    critic_width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path != "straight" or self.style:
            raise EcgsynthError("the teacher must be a flow on the straight path without styles: its beats follow from the noise alone")
        if not 0 < self.teaching < 1:
            raise EcgsynthError("teaching must lie between 0 and 1")
        if min(self.penalty_every, self.critic_width) < 1 or min(self.likeness, self.penalty) < 0 or self.own_rate <= 0:
            raise EcgsynthError("penalty_every, critic_width and own_rate must be positive, likeness and penalty not negative")

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        steps, minutes = max(1, round(self.teaching * recipe.steps)), recipe.minutes and self.teaching * recipe.minutes
        teacher = super()._trainer(codes, cells, replace(recipe, steps=FLOW_STEPS * steps, minutes=minutes))

        def begin(generator: OneStep) -> None:
            flow = teacher.average
            strong = flow.strong if isinstance(flow, GuidedDenoiser) else flow
            generator.denoiser.load_state_dict(strong.state_dict())

        def answer(noise: Tensor, modes: Tensor) -> Tensor:
            style = noise.new_zeros(len(noise), 0)
            velocity = lambda x, time: self._answer(teacher.average, x, time, modes, style)  # noqa: E731
            return PATHS[self.path].follow(velocity, noise, self.sampling_steps, torch.Generator())

        blend = self._blend(codes)

        def seen(columns: Tensor) -> tuple[Tensor, Tensor]:
            modes = columns[:, -1].long()
            return blend(columns[:, : self._space.size], modes, torch.Generator().manual_seed(self.seed)), modes

        real, modes = seen(codes)
        shape = Shape(1, self._space.size, 0)
        critic = ProjectionCritic(lambda n_side: MlpCritic(shape, n_side=n_side, width=self.critic_width), self._modes.shape[1])
        rules = Rules(OBJECTIVES["relativistic"], "zero-centred", self.penalty, self.penalty_every, beta=0.0)
        return DistillingTrainer(
            teacher=teacher,
            begin=begin,
            answer=answer,
            seen=seen,
            teaching=self.teaching,
            likeness=self.likeness,
            precision=partial(self._in_precision, self._device),
            generator=self._new_network(),
            critic=critic,
            prior=NormalPrior(self._space.size),
            rules=rules,
            codes=real,
            cells=modes,
            recipe=replace(recipe, rate=self.own_rate, class_power=_MODE_POWER),
            seed=self.seed,
            device=self._device,
        )

    def _new_network(self) -> OneStep:
        return OneStep(self._new_denoiser(self.hidden))

    def _make(self, network: nn.Module, cells: Tensor, random: torch.Generator) -> Tensor:
        modes = self._draw_modes(cells, random)
        with self._in_precision(CPU):
            beats: Tensor = network(torch.randn(len(cells), self._space.size, generator=random), modes)
        return beats.float()
