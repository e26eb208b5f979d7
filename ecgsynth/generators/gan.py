"""Conditional generative adversarial networks: network x prior x objective x conditioning.

A published method is a preset of `Gan`: a name and the values it stands for.
"""

import json
from collections.abc import Generator as Steps
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgsynth.beats import Beats
from ecgsynth.classifier import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators.base import Arrays, Generator, TrainingStep, class_counts
from ecgsynth.metrics.utility import score_classes
from ecgsynth.nets import NETWORKS
from ecgsynth.nets.conditioning import ConditionalGenerator, ProjectionCritic
from ecgsynth.objectives import OBJECTIVES
from ecgsynth.priors import MixturePrior, NormalPrior, Prior
from ecgsynth.training import AdversarialTrainer, Recipe

_CHUNK = 512  # beats generated at a time: what the caches hold is fastest
_SCORED = 12_000  # beats on each side of a validation score
_SCORE_STEPS = 250  # training steps of its classifier


class Gan(Generator):
    """A class-conditional GAN on beats scaled to spread 1 at each sample.

    Parameters
    ----------
    name : str
        Under which it stands in `GENERATORS`.
    network : str
        ``"convolutional"`` or ``"recurrent"``: the pair of `ecgsynth.nets.NETWORKS`.
    prior : str
        ``"mixture"``: the network refines drafts drawn from a Gaussian mixture a class;
        ``"normal"``: it makes beats of noise alone.
    objective : str
        ``"relativistic"`` or ``"hinge"``, of `ecgsynth.objectives.OBJECTIVES`.
    steps : int
        Training steps: the budget that gives the same model again.
    minutes : float, optional
        Stop after so many minutes of training if `steps` are not done by then.
    batch : int
        Beats a step.
    rate : float
        Learning rate of both players; falls in the second half of the budget.
    penalty, penalty_every : float, int
        Weight of the zero-centred gradient penalty on real and generated beats, and the steps from
        one to the next.
    ema : float
        How much of the averaged generator stays each step.
    class_power : float
        Classes are drawn in proportion to their count to this power: 1 natural, 0 equal.
    latent, width : int
        Normal numbers a beat, channels of the finest resolution.
    embedding : int
        Numbers that stand for the class in the latent, with the normal prior.
    validations : int
        How often in the whole training a validation score is taken and the best weights are kept.
    seed : int
        Same beats, seed, steps and machine: same model.

    Notes
    -----
    Conditioning: the critic is a projection discriminator. With the normal prior the generator's latent
    is joined by an embedding of the class. With the mixture prior the class is in the draft, and the
    network that refines it is not told: one that is told soon signs the beats of each class with faint
    marks of its own, by which a classifier then knows generated beats, but no real ones (measured on
    validation beats of MIT-BIH: TSTR falls below that of the drafts).
    """

    def __init__(
        self,
        *,
        name: str = "gan",
        network: str = "convolutional",
        prior: str = "mixture",
        objective: str = "relativistic",
        steps: int = 3000,
        minutes: float | None = None,
        batch: int = 128,
        rate: float = 5e-4,
        penalty: float = 0.01,
        penalty_every: int = 4,
        ema: float = 0.998,
        class_power: float = 0.5,
        latent: int = 64,
        embedding: int = 32,
        width: int = 32,
        validations: int = 6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.prior = prior
        self.objective = objective
        self.steps = steps
        self.minutes = minutes
        self.batch = batch
        self.rate = rate
        self.penalty = penalty
        self.penalty_every = penalty_every
        self.ema = ema
        self.class_power = class_power
        self.latent = latent
        self.embedding = embedding
        self.width = width
        self.validations = validations
        self.seed = seed
        for value, known in ((network, NETWORKS), (objective, OBJECTIVES), (prior, ("mixture", "normal"))):
            if value not in known:
                raise EcgsynthError(f"unknown {value!r}; known: {', '.join(known)}")
        if steps < 1 or batch < 2 or penalty_every < 1 or validations < 1 or (minutes is not None and minutes <= 0):
            raise EcgsynthError("steps, minutes, batch, penalty_every and validations must be positive (batch at least 2)")

    def _fit_steps(self, train: Beats, validation: Beats | None, checkpoint: Path | None) -> Steps[TrainingStep, None, None]:
        self._scale = np.stack([train.signals.mean(axis=0), train.signals.std(axis=0) + 1e-3])
        signals = (train.signals - self._scale[0]) / self._scale[1]
        labels = np.array([self.classes.index(name) for name in train.classes.tolist()])
        self._prior: Prior = NormalPrior(self.latent)
        if self.prior == "mixture":
            self._prior = MixturePrior.fit(signals, labels, latent=self.latent, seed=self.seed)
        trainer = self._trainer(torch.from_numpy(signals), torch.from_numpy(labels))
        self._generator = trainer.average
        best, kept = -1.0, None
        if checkpoint is not None and checkpoint.is_file():
            extra = trainer.restore(checkpoint, self._identity())
            best, kept = extra["best"], extra["kept"]
            self.history_ = [TrainingStep(**step) for step in extra["history"]]
        due = self._next_due(trainer.share)
        try:
            for losses in trainer.train_steps():
                score, is_best = None, False
                if validation is not None and losses.share >= due:
                    due = self._next_due(losses.share)
                    score = self._validation_score(train, validation)
                    is_best = score > best
                    if is_best:
                        best, kept = score, {name: value.clone() for name, value in trainer.average.state_dict().items()}
                yield TrainingStep(**asdict(losses), validation_score=score, best=is_best)
                if checkpoint is not None and score is not None:
                    self._save_checkpoint(trainer, checkpoint, best, kept)
        except GeneratorExit:  # whoever iterates has stopped: the step before is whole, as it is not after any other error
            if checkpoint is not None:
                self._save_checkpoint(trainer, checkpoint, best, kept)
            raise
        finally:
            if kept is not None:
                trainer.average.load_state_dict(kept)

    def _trainer(self, signals: Tensor, labels: Tensor) -> AdversarialTrainer:
        recipe = Recipe(**{name: getattr(self, name) for name in Recipe.__dataclass_fields__})
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # of the CPU alone, which is what is forked
            critic_network = NETWORKS[self.network][1](signals.shape[1], width=self.width)
            generator = self._new_generator()
            critic = ProjectionCritic(critic_network, len(self.classes))
        return AdversarialTrainer(
            generator=generator,
            critic=critic,
            prior=self._prior,
            objective=OBJECTIVES[self.objective],
            signals=signals,
            labels=labels,
            recipe=recipe,
            seed=self.seed,
        )

    def _new_generator(self) -> ConditionalGenerator:
        drafts = self._prior.drafts
        embedding = 0 if drafts else self.embedding
        network = NETWORKS[self.network][0](self.shape_["n_samples"], self.latent + embedding, drafts=drafts, width=self.width)
        return ConditionalGenerator(network, len(self.classes), embedding)

    def _next_due(self, share: float) -> float:
        """Give the next share of the budget at which to validate."""
        return (int(share * self.validations + 1e-6) + 1) / self.validations - 1e-9

    def _validation_score(self, train: Beats, validation: Beats) -> float:
        """Macro-F1 on validation beats of a briefly trained classifier that has seen generated beats alone."""
        synthetic = self.sample(class_counts(train, total=_SCORED), seed=self.seed)
        classifier = BeatClassifier(steps=_SCORE_STEPS, batch=128, seed=0).fit(synthetic)
        chosen = np.random.default_rng(0).permutation(len(validation))[:_SCORED]
        real = validation.take(chosen[np.isin(validation.classes[chosen], self.classes)])
        return score_classes(annotated=real.classes, predicted=classifier.predict(real), classes=self.classes).macro_f1

    def _save_checkpoint(self, trainer: AdversarialTrainer, path: Path, best: float, kept: dict[str, Tensor] | None) -> None:
        extra = {"best": best, "kept": kept, "history": [asdict(step) for step in self.history_]}
        trainer.save(path, self._identity(), extra)

    def _identity(self) -> str:
        """Say what this training is, apart from its budget: a checkpoint of another one does not fit."""
        budget = ("steps", "minutes", "validations")
        settings = {name: value for name, value in self.params.items() if name not in budget}
        return json.dumps([self.name, settings, self.shape_["data_sha256"]], sort_keys=True)

    def _sample(self, aami_class: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        random = torch.Generator().manual_seed(int(rng.integers(2**63)))
        labels = torch.full((count,), self.classes.index(aami_class))
        with torch.no_grad():
            parts = [self._generator(*_joined(self._prior, part, random)) for part in labels.split(_CHUNK)]
        return np.asarray(torch.cat(parts).numpy() * self._scale[1] + self._scale[0], dtype=np.float32)

    def _arrays(self) -> Arrays:
        weights = {f"generator.{name}": value.numpy() for name, value in self._generator.state_dict().items()}
        prior = {f"prior.{name}": value for name, value in self._prior.arrays().items()}
        return {"scale": self._scale, **weights, **prior}

    def _restore(self, arrays: Arrays) -> None:
        def under(prefix: str) -> Arrays:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        self._scale = arrays["scale"]
        self._prior = MixturePrior(self.latent, under("prior.")) if self.prior == "mixture" else NormalPrior(self.latent)
        self._generator = self._new_generator().eval().requires_grad_(False)
        self._generator.load_state_dict({name: torch.from_numpy(array) for name, array in under("generator.").items()})


def _joined(prior: Prior, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
    latent, draft = prior.draw(labels, random)
    return latent, labels, draft
