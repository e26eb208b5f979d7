"""Trainings that go wrong: it is noticed, said, mended a few times, and nothing that is no number is ever saved."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from ecgsynth.adversarial import AdversarialTrainer
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, TrainingStep, fall_of, load_generator, without_rare
from ecgsynth.private import PrivateTrainer
from ecgsynth.training import LossTrainer

STEPS = 12
QUICK = {
    "cgan": {"width": 4, "critic_width": 4, "latent": 4},
    "flow": {"hidden": 16, "depth": 1, "sampling_steps": 2},
    "vae": {"width": 4, "latent": 4},
    "flow-gan": {"hidden": 16, "depth": 1, "sampling_steps": 2, "teaching": 0.4, "critic_width": 2},
}
KINDS = {"cgan": AdversarialTrainer, "flow": LossTrainer, "vae": LossTrainer, "flow-gan": AdversarialTrainer}
every_kind = pytest.mark.parametrize("name", QUICK)


def make(name, **changes):
    return GENERATORS[name](**({"steps": STEPS, "batch": 16, "validations": 3} | QUICK[name] | changes))


def weights_of(model):
    return np.concatenate([array.ravel() for name, array in model._arrays().items() if name.startswith("network.")]).astype(np.float64)


@pytest.fixture(autouse=True)
def brief_validation(monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._SCORE_STEPS", 3)
    monkeypatch.setattr("ecgsynth.generators.trained._SCORED", 600)


def spoil(monkeypatch, kind, at, what):
    """Let something happen once, after the update of a step: `what` is given the trainer and its losses, and gives losses."""
    original, done = kind._update, []

    def update(self, *batch):
        losses = original(self, *batch)
        if type(self) is not kind and not isinstance(self, kind):
            return losses
        if self.step + 1 == at and not done:
            done.append(self)
            return what(self, losses)
        return losses

    monkeypatch.setattr(kind, "_update", update)
    return done


def to_nan(trainer, losses):
    return replace(losses, generator_loss=math.nan)


def to_infinity(trainer, losses):
    return replace(losses, generator_loss=math.inf)


def weights_to_nan(trainer, losses):
    with torch.no_grad():
        for parameter in trainer.generator.parameters():
            parameter.view(-1)[0] = math.nan
    return losses


@every_kind
@pytest.mark.parametrize("what", [to_nan, to_infinity, weights_to_nan])
def test_a_training_that_goes_wrong_once_goes_back_and_on_at_a_lower_rate(name, what, split, monkeypatch):
    done = spoil(monkeypatch, KINDS[name], 11, what)
    model = make(name)
    steps = [step.step for step in model.fit_steps(split.train, split.val)]
    assert done
    assert len(model.notes_) == 1
    assert "back to step 8, and on at 0.25 of the rate" in model.notes_[0]
    assert steps[-1] == STEPS
    assert steps.count(9) == 2
    assert [step.step for step in model.history_] == sorted({step.step for step in model.history_})
    assert np.isfinite(weights_of(model)).all()
    assert done[0].slowed == 0.25
    rates = [group["lr"] for optimizer in done[0]._optimizers().values() for group in optimizer.param_groups]
    done[0].step, done[0].seconds = done[0].step - 1, 0.0  # the rate is that of the step before
    assert rates == [0.25 * done[0]._rate()] * len(rates)


@every_kind
def test_nothing_is_said_or_done_when_all_is_well(name, split):
    model = make(name).fit(split.train, split.val)
    assert not [text for text in model.notes_ if "back to step" in text]


@pytest.mark.parametrize(("name", "rate"), [("vae", 1e6), ("flow", 1e8)])
def test_a_rate_at_which_all_diverges_is_lowered_until_it_is_given_up(name, rate, split, tmp_path):
    model = make(name, rate=rate, steps=60)
    with pytest.raises(EcgsynthError, match=r"training diverged, as it did 4 times .* begin anew at a lower rate") as error:
        model.fit(split.train, split.val)
    assert "\n" not in str(error.value)
    if not np.isfinite(weights_of(model)).all():
        with pytest.raises(EcgsynthError, match="what was learnt is broken"):
            model.save(tmp_path / "m")
        assert not list(tmp_path.iterdir())
    assert not make(name, steps=60).fit(split.train, split.val).notes_


def test_a_training_that_went_wrong_and_is_stopped_goes_on_to_the_same_end(split, tmp_path, monkeypatch):
    fingerprints = []
    for stops in ([], [9], [3, 10, 13]):
        with monkeypatch.context() as patch:
            spoil(patch, AdversarialTrainer, 11, to_nan)
            taken = 0
            path = tmp_path / f"{stops}"
            for stop in (*stops, 10**9):
                model = make("cgan")
                steps = model.fit_steps(split.train, split.val, path)
                while taken < stop and next(steps, None) is not None:
                    taken += 1
                steps.close()
        assert len(model.notes_) == 1
        fingerprints.append(model.fingerprint())
    assert len(set(fingerprints)) == 1


def test_beats_that_no_ecg_reaches_send_a_training_back(split, monkeypatch):
    def enlarge(trainer, losses):
        for parameter in trainer.average.parameters():
            parameter.data.mul_(1e3)
        return losses

    done = spoil(monkeypatch, AdversarialTrainer, 8, enlarge)
    model = make("cgan")
    model.fit(split.train, split.val)
    assert done
    assert "new beats hold what is not a number, or no ECG reaches: back to step 4" in model.notes_[0]


def test_beats_that_become_all_alike_send_a_gan_back(split, monkeypatch):
    def collapse(trainer, losses):
        for network in (trainer.generator, trainer.average):
            for parameter in network.parameters():
                parameter.data.zero_()
        return losses

    lively = make("cgan", steps=120, rate=5e-3).fit(split.train, split.val)
    assert lively.notes_ == []  # a control: it is not alike by itself
    spoil(monkeypatch, AdversarialTrainer, 118, collapse)
    model = make("cgan", steps=120, rate=5e-3)
    model.fit(split.train, split.val)
    assert len(model.notes_) == 1
    assert "all alike after 120 steps: back to step 80" in model.notes_[0]
    assert model.sample({"N": 100}).signals.std(axis=0).mean() > 0.01


def test_beats_that_never_were_different_are_told_of(split, monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.trained._are_alike", lambda made, real, label, by: label == "N")
    model = make("cgan").fit(split.train, split.val)
    assert model.notes_ == ["new beats of N are all alike: train longer, at another rate, or another generator"]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(split, tmp_path, value):
    """A million is none in half precision."""
    model = make("vae").fit(split.train)
    model.save(tmp_path / "good")
    next(model._network.parameters()).data.view(-1)[3] = value
    with pytest.raises(EcgsynthError, match="what was learnt is broken"):
        model.save(tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    with safe_open(tmp_path / "good", framework="numpy") as good:
        save_file(model._arrays(), tmp_path / "bad", good.metadata())
    with pytest.raises(EcgsynthError, match="holds what is no number"):
        load_generator(tmp_path / "bad")


def test_with_differential_privacy_no_step_is_taken_again(split, monkeypatch, tmp_path):
    pytest.importorskip("opacus")
    spoil(monkeypatch, PrivateTrainer, 2, to_nan)
    model = GENERATORS["dp-flow"](steps=3, hidden=16, depth=1, batch=32, sampling_steps=2, delta=1e-4)
    with pytest.raises(EcgsynthError, match=r"training diverged: a loss is not a number after 2 steps\. Nothing is saved"):
        model.fit(split.train)


def of_few(beats, **counts):
    """Give 300 normal beats and so many of other classes."""
    return beats.take(np.concatenate([np.flatnonzero(beats.classes == name)[:count] for name, count in {"N": 300, **counts}.items()]))


def test_a_score_that_fell_and_a_class_of_few_beats_are_told_of(split):
    scored = [TrainingStep(step, step / 3, 1.0, validation_score=score, best=step < 3) for step, score in ((1, 0.5), (2, 0.8), (3, 0.2))]
    assert fall_of(scored[:2]) == []
    assert "fell from 0.800 to 0.200: the weights of step 2 are kept" in fall_of(scored)[0]
    kept, notes = without_rare(of_few(split.train, S=1, V=2), "class")
    assert kept.counts() == {"N": 300, "V": 2}
    assert notes == [
        "few training beats of class V (2): new ones will be much like them, or poor",
        "class S (1) left out: fewer than 2 training beats",
    ]


@every_kind
def test_a_class_of_two_beats_is_learnt(name, split):
    model = make(name).fit(of_few(split.train, V=2), split.val)
    assert np.isfinite(model.sample({"N": 5, "V": 600}).signals).all()
