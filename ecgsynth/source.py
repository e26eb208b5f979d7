"""Where the beats of a dataset come from: a recipe, and the model, gate and evaluation that it names."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ecgsynth
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import sha256
from ecgsynth.findings import Evaluation
from ecgsynth.gate import Gate
from ecgsynth.generators import Generator, load_generator
from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.models import shipped, shipped_gates
from ecgsynth.places import place
from ecgsynth.recipe import Recipe

FORMAT = 1

_LICENCE = "CC-BY-4.0"  # of what the models that come with ecgsynth make; what others learnt from is not ours to give


@dataclass(frozen=True)
class Source:
    """Where beats come from.

    Parameters
    ----------
    recipe : Recipe
        What is asked for.
    model : Generator
        What makes it.
    gate : Gate, optional
        What lets it pass.
    evaluation : Evaluation, optional
        What was found of beats of the model.
    """

    recipe: Recipe
    model: Generator
    gate: Gate | None
    evaluation: Evaluation | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> "Source":
        """Load what a recipe names; one that names no licence has that of the models which come with ecgsynth, if its model is of them.

        Raises
        ------
        EcgsynthError
            If a file is missing or damaged, the model holds real beats or cannot make what is asked for, no gate is known for it
            or the gate is for other beats, or the evaluation is of another model.
        """
        model = load_generator(recipe.model)
        if model.holds_real_beats:
            raise EcgsynthError(f"{recipe.model} is a {model.name} that holds real beats: what it makes is not for release")
        for quota in recipe.quotas:
            model.wanted(quota.request(quota.count, seed=recipe.seed, first=0))
        gate = None if recipe.gate == "none" else _gate_for(model, recipe)
        if gate:
            _refuse_misfit(gate, model, recipe)
        evaluation = Evaluation.load(recipe.run) if recipe.run else None
        if evaluation and evaluation.synthetic.info.get("model_sha256") != model.fingerprint():
            raise EcgsynthError(f"the evaluation in {recipe.run} is of beats of another model than {recipe.model}")
        found = cls(recipe, model, gate, evaluation)
        return replace(found, recipe=replace(recipe, licence=_LICENCE)) if found.is_shipped and not recipe.licence else found

    @cached_property
    def model_sha256(self) -> str:
        """The model's fingerprint."""
        return self.model.fingerprint()

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that the dataset's bytes depend on."""
        return hashlib.sha256(json.dumps(self.head(), sort_keys=True).encode()).hexdigest()

    @property
    def promises(self) -> bool:
        """Whether the model was trained with differential privacy."""
        return "privacy" in self.model.shape_

    @property
    def tells_nothing(self) -> bool:
        """Whether the model keeps from telling of real beats, as it promises to or knows none, so that its dataset does too."""
        return self.promises or not self.model.learns

    @property
    def is_shipped(self) -> bool:
        """Whether the model is one that comes with ecgsynth."""
        return self.recipe.model in shipped() and not place(self.recipe.model).is_file()

    @property
    def of_mitdb(self) -> bool:
        """Whether the model learnt from the public records that those which come with ecgsynth learnt from."""
        return self.model.shape_.get("data_sha256") in {gate.data_sha256 for gate in map(Gate.load, shipped_gates())}

    @property
    def gate_knows_its_beats(self) -> bool:
        """Whether the limits of the gate are those of the beats that the model learnt from."""
        return bool(self.gate and self.gate.data_sha256 == self.model.shape_.get("data_sha256"))

    @property
    def notes(self) -> list[str]:
        """What must be known before the dataset is shared."""
        if not (self.tells_nothing or self.evaluation or self.of_mitdb):
            return ["nothing says what this model gives away of those it learnt from: `ecgsynth evaluate`, then run or --run"]
        if not self.tells_nothing:
            return []
        beyond = [name for name, there in (("the gate", self.gate), ("the evaluation on the card", self.evaluation)) if there]
        if not beyond:
            return []
        if not self.model.learns:
            return [f"{' and '.join(beyond)} saw real beats, of which the model knows none"]
        return [f"what the model promises does not cover {' and '.join(beyond)}, which saw real beats without noise"]

    def head(self) -> dict[str, Any]:
        """Give all that the dataset's bytes depend on, as plain JSON."""
        # What such a model does not tell of real beats, its dataset does not tell either.
        known = {} if self.tells_nothing or not self.gate else self.gate.summary()
        return {
            "format": FORMAT,
            "ecgsynth": ecgsynth.__version__,
            "recipe": self.recipe.to_dict(),
            "model_sha256": self.model_sha256,
            "gate": {**known, "sha256": self.gate.digest()} if self.gate else None,
            "run_sha256": sha256(place(self.recipe.run) / "evaluation.json") if self.recipe.run else None,
        }


def _gate_for(model: Generator, recipe: Recipe) -> Gate:
    if recipe.gate_file:
        return Gate.load(recipe.gate_file)
    of_same_beats = [gate for gate in map(Gate.load, shipped_gates()) if gate.data_sha256 == model.shape_.get("data_sha256")]
    if not of_same_beats:
        raise EcgsynthError(
            f"no gate comes with ecgsynth for the beats that {recipe.model} learnt: `ecgsynth gate SPLIT -o gate.safetensors` learns one "
            "(gate_file, or --gate), or build without (--no-gate)"
        )
    return next((gate for gate in of_same_beats if gate.by == model.by), of_same_beats[0])


def _refuse_misfit(gate: Gate, model: Generator, recipe: Recipe) -> None:
    """Raise if a gate cannot be asked about the beats of a model."""
    if any(model.shape_[name] != value for name, value in gate.classifier.shape_.items()):
        raise EcgsynthError(f"the gate is for beats of other leads, length, sampling rate or place of the R peak than {recipe.model} makes")
    if gate.by == "symbol" and model.by == "class":
        raise EcgsynthError(f"the gate tells beats apart by symbol, and {recipe.model} knows only their class")
    labels = {SYMBOL_TO_CLASS[quota.label] if gate.by != model.by else quota.label for quota in recipe.quotas}
    if strange := sorted(labels - set(gate.limits)):
        raise EcgsynthError(f"the gate knows no beats of {gate.by} {', '.join(strange)}; it knows {', '.join(gate.limits)}")
