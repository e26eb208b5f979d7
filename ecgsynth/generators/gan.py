"""Conditional generative adversarial networks: network x prior x objective x conditioning x regulariser.

A published method is a preset of `Gan`: a name and the values it stands for.
"""

import math
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecgsynth.adversarial import AdversarialTrainer, Rules
from ecgsynth.beats import Beats
from ecgsynth.devices import CPU
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Arrays, Cells
from ecgsynth.generators.trained import TrainedGenerator, under
from ecgsynth.nets import NETWORKS, TAKES_DRAFTS
from ecgsynth.nets.conditioning import CONDITIONINGS
from ecgsynth.objectives import OBJECTIVES, REGULARISERS
from ecgsynth.priors import MixturePrior, NormalPrior, Prior
from ecgsynth.training import Recipe, Trainer
from ecgsynth.vectors import Shape, Vectors, to_vectors

PRIORS = ("normal", "mixture")
OPTIMIZERS = ("adam", "rmsprop")

_JUDGED = 1000  # beats at a time


@dataclass(kw_only=True, eq=False)
class Gan(TrainedGenerator):
    """A GAN on beats and their rhythm.

    Parameters
    ----------
    name : str
        Under which it stands in `GENERATORS`.
    network : str
        The pair of networks, of `ecgsynth.nets.NETWORKS`.
    prior : str
        ``"normal"``: the generator makes beats of noise alone; ``"mixture"``: it refines drafts drawn
        from a Gaussian mixture a label.
    conditioning : str
        How the players hear of the label, of `ecgsynth.nets.conditioning.CONDITIONINGS`.
    objective : str
        Of `ecgsynth.objectives.OBJECTIVES`.
    regulariser : str
        Of `ecgsynth.objectives.REGULARISERS`.
    penalty, penalty_every : float, int
        Weight of the gradient penalty, or bound of the clipped weights; and the steps from one penalty
        to the next.
    critic_steps : int
        Steps of the critic before each of the generator.
    unrolled : int
        Steps of Adam of the critic that the generator looks ahead, and learns through.
    pack : int
        Beats that the critic judges together.
    optimizer : str
        ``"adam"`` or ``"rmsprop"``.
    beta : float
        Adam's memory of past gradients.
    critic_pace : float
        Learning rate of the critic over that of the generator.
    classify_generated : bool
        Whether an auxiliary head learns from generated beats, too, or from real ones alone.
    steps : int
        Training steps: the budget that gives the same model again.
    minutes : float, optional
        Stop after so many minutes of training if `steps` are not done by then.
    batch : int
        Beats a step.
    rate : float
        Learning rate of the generator; falls in the second half of the budget.
    ema : float
        How much of the averaged generator stays each step.
    class_power : float
        Labels are drawn in proportion to their count to this power: 1 natural, 0 equal.
    latent : int
        Normal numbers a beat.
    width, critic_width : int
        Size of the generator and of the critic, 32 for that of the method.
    space : str
        ``"samples"``: beats as they are; ``"components"``: their principal components; ``"frequencies"``: their cosine
        frequencies.
    components, whitening : int, float
        Of principal components: see `ecgsynth.spaces.ComponentSpace`.
    validations : int
        How often in the whole training scores are taken, and weights kept: the last whose score is the
        best, but for what chance may do.
    seed : int
        Same beats, seed, steps and machine: same model.

    Notes
    -----
    Deviations that all methods share here, whatever their papers do: beats are made by an average of the
    generator over its steps; rare labels are drawn more often (`class_power`); the learning rate falls in
    the second half; Adam's second momentum is 0.99; weights begin as PyTorch has them; all take 128 beats a
    step, and all but ``conditioning="separate"`` are told the label, those too whose papers are of one class
    (`wgan`, `wgan-gp`, `pacgan`, `unrolled-gan`). "Told the label"
    means the label and its lead, of which ``conditioning="separate"`` has one generator each.

    With the mixture prior the label is in the draft, and the network that refines it should not be told
    (``conditioning="blind"``): one that is told soon signs the beats of each class with faint marks of its
    own, by which a classifier then knows generated beats, but no real ones (measured on validation beats
    of MIT-BIH: TSTR falls below that of the drafts).
    """

    name: str = "cgan"
    network: str = "mlp"
    prior: str = "normal"
    conditioning: str = "concat"
    objective: str = "log"
    regulariser: str = "none"
    penalty: float = 0.0
    penalty_every: int = 1
    critic_steps: int = 1
    unrolled: int = 0
    pack: int = 1
    optimizer: str = "adam"
    beta: float = 0.5
    critic_pace: float = 1.0
    classify_generated: bool = True
    steps: int = 10_000
    batch: int = 128
    rate: float = 5e-4
    ema: float = 0.998
    latent: int = 32
    width: int = 32
    critic_width: int = 32
    space: str = "samples"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._critic: nn.Module | None = None
        for value, known in (
            (self.network, NETWORKS),
            (self.prior, PRIORS),
            (self.conditioning, CONDITIONINGS),
            (self.objective, OBJECTIVES),
            (self.regulariser, REGULARISERS),
            (self.optimizer, OPTIMIZERS),
        ):
            if value not in known:
                raise EcgsynthError(f"unknown {value!r}; known: {', '.join(known)}")
        if min(self.penalty_every, self.critic_steps, self.pack) < 1 or self.batch % self.pack:
            raise EcgsynthError("penalty_every, critic_steps and pack must be positive, and batch a multiple of pack")
        if min(self.width, self.critic_width, self.latent) < 1:
            raise EcgsynthError("width, critic_width and latent must be positive")
        if self.network == "transformer" and (self.width % 2 or self.critic_width % 2):
            raise EcgsynthError("the width of a transformer is divided among its heads: give even ones")
        if not 0 <= self.penalty < math.inf or (self.regulariser != "none" and not self.penalty):
            raise EcgsynthError(f"penalty is a number from 0, and with regulariser {self.regulariser!r} above it")
        if self.unrolled and self.optimizer != "adam":
            raise EcgsynthError("the steps that are unrolled are those of Adam: use optimizer='adam'")
        if self.critic_pace <= 0 or not 0 <= self.beta < 1:
            raise EcgsynthError("critic_pace must be positive, and beta from 0 to below 1")
        if self.prior == "mixture" and self.network not in TAKES_DRAFTS:
            raise EcgsynthError(f"network {self.network!r} takes no drafts: use the normal prior, or one of {', '.join(TAKES_DRAFTS)}")
        if self.conditioning == "blind" and self.prior != "mixture":
            raise EcgsynthError("networks that are not told the label need drafts that are: use the mixture prior, or another conditioning")
        if self.prior == "mixture" and self.space == "frequencies":
            raise EcgsynthError("drafts are of beats whose mean is 0, as frequencies are not: use components, or the normal prior")
        if self.space != "samples" and self.network != "mlp":
            raise EcgsynthError(f"network {self.network!r} needs beats as they are; components and frequencies go with 'mlp'")

    @property
    def group(self) -> int:
        """Beats of a batch that come in a row from one cell: all where each cell has networks of its own, or those packed."""
        return self.batch if self.conditioning == "separate" else self.pack

    def _prepare(self, train: Beats, codes: Vectors, cells: Cells) -> Vectors:
        self._critic = None  # that of a training before
        self._prior: Prior = NormalPrior(self.latent)
        if self.prior == "mixture":
            self._prior = MixturePrior.fit(codes, cells, latent=self.latent, seed=self.seed)
        return codes

    def _trainer(self, codes: Tensor, cells: Tensor, recipe: Recipe) -> Trainer:
        make_critic = NETWORKS[self.network][1]
        critic = CONDITIONINGS[self.conditioning][1](
            lambda n_side: make_critic(self._shape(), n_side=n_side, pack=self.pack, width=self.critic_width), len(self.cells), self.pack
        )
        given = {field.name: getattr(self, field.name) for field in fields(Rules)}
        rules = Rules(**given | {"objective": OBJECTIVES[self.objective]})
        generator = self._new_network()
        return AdversarialTrainer(
            generator=generator,
            critic=critic,
            prior=self._prior,
            rules=rules,
            codes=codes,
            cells=cells,
            recipe=recipe,
            seed=self.seed,
            device=self._device,
        )

    def _finish(self, trainer: Trainer) -> None:
        if isinstance(trainer, AdversarialTrainer):  # the critic of a training with differential privacy is not kept
            self._critic = trainer.critic.to(CPU).eval()

    def judge(self, beats: Beats) -> NDArray[np.float32]:
        """Give the score of the critic for each beat, (N,): the higher, the more real it finds it.

        Scores of one label compare with each other alone. A critic that judges several beats together sees each as often.

        Raises
        ------
        EcgsynthError
            If the model was not trained by this object to its end, as no file holds its critic, or with differential privacy. Or
            if it has not learnt a label.
        """
        if self._critic is None:
            raise EcgsynthError(
                "there is no critic to ask: a GAN has one that has just been trained, without differential privacy; no model file holds it"
            )
        if strange := set(beats.counts(self.by)) - set(self.classes):
            raise EcgsynthError(f"{self.name} has not learnt {', '.join(sorted(strange))}: its critic has nothing to say of such beats")
        if beats.window != tuple(self.shape_[name] for name in ("n_leads", "n_samples", "fs", "r_sample")):
            raise EcgsynthError("these beats differ from those learnt from in leads, length, sampling rate or place of the R peak")
        cells = self._cells_of(beats)
        codes = self._space.encode(to_vectors(beats, self.layout.n_rhythm))
        scores = np.empty(len(beats), dtype=np.float32)
        with torch.no_grad():
            for cell in np.unique(cells):
                for own in np.array_split(np.flatnonzero(cells == cell), -(-(cells == cell).sum() // _JUDGED)):
                    seen = np.repeat(own, self.pack)
                    scores[own] = self._critic(torch.from_numpy(codes[seen]), torch.from_numpy(cells[seen])).scores.numpy()
        return scores

    def _new_network(self) -> nn.Module:
        make = partial(NETWORKS[self.network][0], self._shape(), drafts=self.prior == "mixture", width=self.width)
        return CONDITIONINGS[self.conditioning][0](make, self.latent, len(self.cells))

    def _shape(self) -> Shape:
        """Give the layout of the beats that the networks see."""
        return self.layout if self.space == "samples" else Shape(1, self._space.size - self.layout.n_rhythm, self.layout.n_rhythm)

    def _make(self, network: nn.Module, cells: Tensor, random: torch.Generator) -> Tensor:
        latent, draft = self._prior.draw(cells, random)
        beats: Tensor = network(latent, cells, draft)
        return beats

    def _arrays(self) -> Arrays:
        return super()._arrays() | {f"prior.{name}": value for name, value in self._prior.arrays().items()}

    def _restore(self, arrays: Arrays) -> None:
        self._prior = MixturePrior(self.latent, under("prior.", arrays)) if self.prior == "mixture" else NormalPrior(self.latent)
        super()._restore(arrays)
