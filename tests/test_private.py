"""Differential privacy: what one unit changes is bounded, the noise fits the promise, and nothing else tells of the beats."""

import copy
import math
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.generators.private_gan import PrivateCritic
from ecgsynth.nets.conditioning import ToldGenerator
from ecgsynth.nets.denoiser import Denoiser
from ecgsynth.nets.mlp import MlpGenerator
from ecgsynth.priors import NormalPrior
from ecgsynth.private import Guarantee, PrivateGanTrainer, PrivateTrainer, _epsilon, _noise, noisy_counts
from ecgsynth.spaces import FrequencySpace
from ecgsynth.training import Recipe
from ecgsynth.vectors import Shape, shape_of, to_vectors

QUICK = {"steps": 3, "hidden": 16, "depth": 1, "batch": 32, "sampling_steps": 2, "delta": 1e-4}
N, P = 40, 6
CODES = torch.randn(N, P, generator=torch.Generator().manual_seed(0))
CELLS = torch.arange(N) % 2
OWNERS = np.arange(N) // 8  # five patients


def trainer(unit="beat", clip=0.05, batch=N, epsilon=math.inf, counts=(N // 2, N // 2), cells=CELLS, class_power=1.0):
    torch.manual_seed(1)
    return PrivateTrainer(
        losses=lambda network, beats, cells, random: (network(beats, beats[:, 0].abs(), cells) - 1).square().mean(dim=1),
        owners=OWNERS,
        counts=np.array(counts),
        guarantee=Guarantee(epsilon, 1e-3, unit),
        clip=clip,
        generator=Denoiser(P, 2, hidden=8, depth=2, embedding=8),
        codes=CODES,
        cells=cells,
        recipe=Recipe(steps=4, minutes=None, batch=batch, rate=1e-3, ema=0.9, class_power=class_power),
        seed=0,
    )


class NoLatents(NormalPrior):
    def draw(self, cells, generator):
        return torch.zeros(len(cells), self.latent), None


def gan_trainer(unit="beat", clip=0.05, batch=N, epsilon=math.inf, codes=CODES):
    torch.manual_seed(1)
    return PrivateGanTrainer(
        critic=PrivateCritic(P, 2, 8),
        prior=NoLatents(3),
        critic_steps=2,
        owners=OWNERS,
        counts=np.array([N // 2, N // 2]),
        guarantee=Guarantee(epsilon, 1e-3, unit),
        clip=clip,
        generator=ToldGenerator(partial(MlpGenerator, Shape(1, P, 0), width=4), 3, 2),
        codes=codes,
        cells=CELLS,
        recipe=Recipe(steps=4, minutes=None, batch=batch, rate=1e-3, ema=0.9, class_power=1.0),
        seed=0,
    )


both = pytest.mark.parametrize("trainer", [trainer, gan_trainer])


def gradient(made, index):
    made._update(torch.as_tensor(index), None)
    return torch.cat([weight.grad.flatten() for weight in made._model.parameters()])


@both
def test_gradients_of_beats_are_clipped_as_one_by_one(trainer):
    """The oracle: a gradient of each beat by itself, clipped, summed, over the expected number of beats."""
    oracle, clip, lengths = trainer(), 0.05, []
    network = copy.deepcopy(oracle._model).requires_grad_(True)  # the same weights
    for part in network.modules():  # which nobody watches
        part._forward_hooks.clear()
        part._backward_hooks.clear()
    weights = list(network.parameters())
    total = torch.zeros(sum(weight.numel() for weight in weights))
    for place in range(N):
        loss = oracle._losses(network, CODES[[place]], CELLS[[place]], oracle._random).sum()
        own = torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, weights)])
        lengths.append(float(own.norm()))
        total += own * min(1.0, clip / (lengths[-1] + 1e-6))
    assert min(lengths) > clip  # or nothing is clipped here
    torch.testing.assert_close(gradient(trainer(), range(N)), total / N, rtol=1e-3, atol=1e-6)


@both
@pytest.mark.parametrize("unit", ["beat", "patient"])
def test_one_unit_more_changes_the_gradient_by_no_more_than_the_clipped_length(unit, trainer):
    clip, expected = 0.05, N if unit == "beat" else trainer("patient").sampling_rate * 5
    everyone = range(N) if unit == "beat" else range(5)
    whole = gradient(trainer(unit), everyone)
    for left_out in list(everyone)[:5]:
        other = gradient(trainer(unit), [place for place in everyone if place != left_out])
        assert 0 < float((whole - other).norm()) <= clip / expected * 1.001


@both
@pytest.mark.parametrize("unit", ["beat", "patient"])
def test_noise_has_the_promised_size_on_every_weight(unit, trainer):
    """With a loss that asks for nothing, what is left of the gradient is noise alone."""
    made = trainer(unit, epsilon=1.0)
    losses = made._losses
    made._losses = lambda *given: 0 * losses(*given)
    everyone, expected = (range(N), N) if unit == "beat" else (range(5), made.sampling_rate * 5)
    noise = gradient(made, everyone) * expected / made._clip
    assert float(noise.std()) == pytest.approx(made.noise, rel=0.15)
    assert (noise != 0).all()
    assert made.noise > 0.5


def test_a_generator_learns_from_its_critic_alone_once_in_so_many_steps(monkeypatch):
    monkeypatch.setattr(PrivateGanTrainer, "_beats_step", lambda self, index: 0.0)  # the critic stays as it is
    monkeypatch.setattr("ecgsynth.private.secrets.randbits", lambda bits: 7)
    one, other = gan_trainer(), gan_trainer(codes=CODES + 5)
    before = [weight.clone() for weight in one.generator.parameters()]
    changed = []
    for _ in range(4):
        one.advance()
        other.advance()
        now = list(one.generator.parameters())
        changed.append(any(not torch.equal(a, b) for a, b in zip(before, now, strict=True)))
        before = [weight.clone() for weight in now]
        assert all(torch.equal(a, b) for a, b in zip(now, other.generator.parameters(), strict=True))
    assert changed == [False, True, False, True]


def test_units_take_part_by_chance_and_as_often_as_is_accounted_for():
    made = trainer(batch=8)
    drawn = [set(made._draw_batch()[0].tolist()) for _ in range(400)]
    assert made.sampling_rate == pytest.approx(8 / N)
    assert np.mean([len(batch) for batch in drawn]) == pytest.approx(8, rel=0.1)
    assert np.std([len(batch) for batch in drawn]) == pytest.approx(math.sqrt(N * 0.2 * 0.8), rel=0.2)
    assert all(0.1 < np.mean([place in batch for batch in drawn]) < 0.3 for place in range(N))


def test_rare_beats_take_part_more_often_and_the_largest_chance_is_accounted_for():
    """30 beats of one cell and 10 of another, drawn by the square root of their counts."""
    counts, cells = np.array([30, 10]), torch.from_numpy(np.repeat([0, 1], [30, 10])[np.random.default_rng(0).permutation(N)])
    made = trainer(batch=8, counts=counts, cells=cells, class_power=0.5)
    chances = 8 * np.sqrt(counts) / np.sqrt(counts).sum() / counts
    assert made.sampling_rate == pytest.approx(chances[1])
    drawn = np.zeros(N)
    for _ in range(2000):
        drawn[made._draw_batch()[0].numpy()] += 1
    for cell in (0, 1):
        own = drawn[cells.numpy() == cell] / 2000
        assert own.mean() == pytest.approx(chances[cell], rel=0.05)
        assert own.max() < 1.3 * chances[cell]


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_epsilon_of_one_step_of_all_is_that_of_the_gaussian_mechanism(noise):
    """Balle and Wang 2018, doi:10.48550/arXiv.1805.06530: delta as a function of epsilon in closed form."""
    epsilon = _epsilon(noise, 1.0, 1, 1e-3)
    delta = norm.cdf(1 / (2 * noise) - epsilon * noise) - math.exp(epsilon) * norm.cdf(-1 / (2 * noise) - epsilon * noise)
    assert 0.8e-3 < delta <= 1e-3  # the accountant errs to the safe side


def test_noise_keeps_the_promise_and_more_steps_need_more_of_it():
    promise = Guarantee(4.0, 1e-3, "patient")
    few, many = (_noise(promise, 0.1, steps) for steps in (10, 100))
    assert many > few
    assert _epsilon(many, 0.1, 100, 1e-3) <= 4.0
    assert _epsilon(many, 0.1, 100, 1e-3) > 3.5
    assert _epsilon(many, 0.1, 50, 1e-3) < _epsilon(many, 0.1, 100, 1e-3)
    assert _epsilon(many, 0.1, 0, 1e-3) == 0


def test_counts_have_noise_of_laplace_and_those_of_patients_are_not_told():
    counts = np.full(4000, 1000)
    noisy = noisy_counts(counts, Guarantee(5.0, 1e-3, "beat"))
    assert np.abs(noisy - counts).mean() == pytest.approx(1 / (0.02 * 5.0), rel=0.1)  # the mean of |Laplace| is its scale
    assert noisy_counts(counts, Guarantee(5.0, 1e-3, "patient")).tolist() == [1] * 4000
    assert noisy_counts(np.array([1, 1]), Guarantee(0.01, 1e-3, "beat")).min() >= 1


def test_frequencies_hold_a_beat_and_learn_nothing(split):
    vectors = to_vectors(split.train)
    space = FrequencySpace.of(*shape_of(split.train), fs=split.train.fs)
    back = space.decode(space.encode(vectors))
    assert np.sqrt(np.mean((back - vectors) ** 2)) < 0.02  # mV; what is above 40 Hz
    assert np.allclose(space.decode(space.encode(back)), back, atol=1e-4)
    assert sum(array.size for array in space.arrays().values()) == 4  # its shape alone


QUICK_GAN = {"steps": 6, "critic_steps": 2, "width": 4, "batch": 32, "delta": 1e-4}


@pytest.mark.parametrize("unit", ["beat", "patient"])
@pytest.mark.parametrize(("name", "quick", "taken"), [("dp-flow", QUICK, 3), ("dp-gan", QUICK_GAN, 6)])
def test_a_private_model_tells_what_it_promises_and_nothing_of_its_beats(name, quick, taken, unit, split, tmp_path):
    quick = quick | {"unit": unit}
    model = GENERATORS[name](**quick).fit(split.train, split.val)
    promise = model.shape_["privacy"]
    assert {key: promise[key] for key in ("delta", "unit", "steps")} == {"delta": 1e-4, "unit": unit, "steps": taken}
    assert 0 < promise["sampling_rate"] <= 1
    spent = _epsilon(promise["noise"], promise["sampling_rate"], promise["steps"], promise["delta"])
    for_counts = 0.02 * 8 if unit == "beat" else 0  # of which nothing is told where patients are the unit
    assert promise["epsilon"] == pytest.approx(spent + for_counts, abs=0.02)
    assert 7 < promise["epsilon"] <= 8
    assert "opacus" in promise["accountant"]
    assert ("counts" in promise["beforehand"]) == (unit == "beat")
    assert model.history_ == []
    assert model.shape_["data_sha256"] == ""
    model.save(tmp_path / "m.safetensors")
    loaded = load_generator(tmp_path / "m.safetensors")
    made = loaded.sample({"N": 3, "F": 2})
    assert made.info["privacy"] == promise
    other = GENERATORS[name](**quick).fit(split.train)
    assert not np.array_equal(other.sample({"N": 3}).signals, model.sample({"N": 3}).signals)  # its noise is its own


def test_fewer_steps_spend_less(split):
    model = GENERATORS["dp-flow"](**QUICK | {"steps": 40})
    steps = model.fit_steps(split.train)
    next(steps)
    steps.close()
    assert model.shape_["privacy"]["steps"] == 1
    assert model.shape_["privacy"]["epsilon"] < 8.0


def test_what_would_break_the_promise_is_refused(split, monkeypatch):
    for wrong in ({"mode_size": 300}, {"guidance": 1.3}, {"space": "components"}, {"clip": 0.0}, {"clip": math.nan}):
        with pytest.raises(EcgsynthError, match="its privacy would not hold"):
            GENERATORS["dp-flow"](**wrong)
    for nothing in ({"critic_pace": 3.0}, {"classify_generated": False}, {"whitening": 0.5}):
        with pytest.raises(EcgsynthError, match="or it would change nothing"):
            GENERATORS["dp-gan"](**nothing)
    with pytest.raises(EcgsynthError, match="unknown unit of privacy"):
        GENERATORS["dp-flow"](unit="hospital")
    for wrong in (0, 33, math.nan):
        with pytest.raises(EcgsynthError, match="epsilon must be positive, at most 32"):
            GENERATORS["dp-flow"](epsilon=wrong)
    with pytest.raises(EcgsynthError, match=r"no noise keeps epsilon 0\.0001 over 3 steps"):
        GENERATORS["dp-gan"](steps=3, critic_steps=1, batch=32, delta=1e-4, epsilon=1e-4).fit(split.train)
    with pytest.raises(EcgsynthError, match="the generator would learn nothing"):
        GENERATORS["dp-gan"](steps=3, critic_steps=4)
    with pytest.raises(EcgsynthError, match="delta must be less than one over the number of patients"):
        GENERATORS["dp-flow"](**QUICK | {"unit": "patient", "delta": 0.3}).fit(split.train)
    with pytest.raises(EcgsynthError, match="delta must be less than one over"):
        GENERATORS["dp-flow"](**QUICK | {"delta": 0.5}).fit(split.train)
    with pytest.raises(EcgsynthError, match="do not say whose they are"):
        GENERATORS["dp-flow"](**QUICK | {"unit": "patient"}).fit(replace(split.train, patients=None))
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(EcgsynthError, match=r"pip install 'ecgsynth\[dp\]'"):
        GENERATORS["dp-flow"](**QUICK).fit(split.train)


def test_training_does_not_go_on_where_it_stopped_and_its_losses_are_not_written(split, tmp_path):
    model = GENERATORS["dp-flow"](**QUICK)
    (tmp_path / "checkpoint").write_text("of another training")
    with pytest.raises(EcgsynthError, match="cannot go on where it stopped"):
        list(model.fit_steps(split.train, checkpoint=tmp_path / "checkpoint"))
    (tmp_path / "checkpoint").unlink()
    steps = model.fit_steps(split.train, checkpoint=tmp_path / "checkpoint")
    next(steps)
    steps.close()
    assert not (tmp_path / "checkpoint").exists()


def test_noise_is_seeded_anew_each_step_and_falls_on_empty_batches(split):
    made = trainer(epsilon=1.0)
    states = []
    for _ in range(3):
        made._draw_batch()
        states.append(made._random.initial_seed())
    assert len(set(states)) == 3
    empty = gradient(made, np.array([], dtype=np.int64))
    assert float((empty * N / made._clip).std()) == pytest.approx(made.noise, rel=0.15)


def test_unknown_intervals_are_filled_without_the_beats(split, monkeypatch):
    seen = []
    monkeypatch.setattr("ecgsynth.generators.trained.to_vectors", lambda beats, n_rhythm: seen.append(beats) or to_vectors(beats, n_rhythm))
    gap = replace(split.train, rr_before=np.where(np.arange(len(split.train)) == 5, np.nan, split.train.rr_before))
    GENERATORS["dp-flow"](**QUICK | {"epsilon": math.inf}).fit(gap)
    assert seen[0].rr_before[5] == pytest.approx(0.8)
