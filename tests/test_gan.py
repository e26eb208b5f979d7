"""The parts of the GAN family, each against what is known of it."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.generators.gan import Gan
from ecgsynth.nets import NETWORKS
from ecgsynth.nets.conditioning import ProjectionCritic
from ecgsynth.objectives import OBJECTIVES, zero_centred_penalty
from ecgsynth.priors import MixturePrior, NormalPrior

QUICK = {"steps": 6, "width": 4, "latent": 4, "batch": 16, "validations": 2}


@pytest.fixture(autouse=True)
def brief_validation(monkeypatch):
    monkeypatch.setattr("ecgsynth.generators.gan._SCORE_STEPS", 3)


def test_the_penalty_of_a_linear_critic_is_the_square_of_its_weights():
    weights = torch.tensor([1.0, -2.0, 3.0])
    beats = torch.randn(5, 3, requires_grad=True)
    assert zero_centred_penalty(beats @ weights, beats).item() == pytest.approx(14.0)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_each_player_gains_by_what_it_should(objective):
    low, high = torch.zeros(4), torch.full((4,), 0.5)
    assert objective.critic(high, low) < objective.critic(low, high)
    assert objective.generator(low, high) < objective.generator(high, low)


def test_the_relativistic_losses_at_equal_scores_are_log_2():
    scores = torch.randn(7)
    loss = OBJECTIVES["relativistic"]
    assert loss.critic(scores, scores).item() == pytest.approx(np.log(2), abs=1e-6)
    assert loss.generator(scores, scores + 100).item() == pytest.approx(0, abs=1e-6)


def test_the_hinge_critic_loses_nothing_beyond_its_margin():
    assert OBJECTIVES["hinge"].critic(torch.full((3,), 1.5), torch.full((3,), -1.5)).item() == 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n_samples", [256, 252, 100])
@pytest.mark.parametrize("drafts", [True, False])
def test_networks_keep_the_length_of_the_beat(network, n_samples, drafts):
    make_generator, make_critic = NETWORKS[network]
    draft = torch.randn(3, n_samples) if drafts else None
    beats = make_generator(n_samples, 5, drafts=drafts, width=4)(torch.randn(3, 5), draft)
    assert beats.shape == (3, n_samples)
    critic = make_critic(n_samples, width=4)
    assert critic(beats).shape == (3, critic.n_features)
    if drafts:
        assert torch.equal(beats, draft)  # before training nothing is added


@pytest.mark.parametrize("network", NETWORKS)
def test_the_critic_hears_of_the_class_by_projection(network):
    critic = ProjectionCritic(NETWORKS[network][1](64, width=4), 3)
    beats = torch.randn(2, 64)
    one, two = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert torch.equal(critic(beats, one), critic(beats, two))  # before training classes are alike
    nn.init.normal_(critic.embedding.weight)
    assert not torch.equal(critic(beats, one), critic(beats, two))


def test_the_mixture_prior_has_the_moments_of_each_class():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    labels = np.repeat([0, 1], 3000)
    signals = (rng.normal(size=(6000, 6)) @ mixing + np.where(labels[:, None] == 0, -2, 2)).astype(np.float32)
    signals -= signals.mean(axis=0)
    prior = MixturePrior.fit(signals, labels, latent=2, clusters=4)
    for label in (0, 1):
        _, drafts = prior.draw(torch.full((20_000,), label), torch.Generator().manual_seed(0))
        own = signals[labels == label]
        np.testing.assert_allclose(drafts.numpy().mean(axis=0), own.mean(axis=0), atol=0.15)
        np.testing.assert_allclose(np.cov(drafts.numpy().T), np.cov(own.T), atol=0.08 * np.trace(np.cov(own.T)) / 6 + 0.1)


def test_no_mixture_component_stands_for_a_few_beats():
    signals = np.random.default_rng(0).normal(size=(130, 8)).astype(np.float32)
    labels = np.repeat([0, 1], [100, 30])
    prior = MixturePrior.fit(signals, labels, latent=2, beats_per_cluster=40)
    assert (prior.arrays()["weights"] > 0).sum(axis=1).tolist() == [2, 1]


def test_the_normal_prior_gives_no_draft():
    latent, draft = NormalPrior(3).draw(torch.zeros(1000, dtype=torch.long), torch.Generator().manual_seed(0))
    assert draft is None
    assert latent.shape == (1000, 3)
    assert latent.std().item() == pytest.approx(1, abs=0.05)


def test_same_seed_same_model_and_another_seed_another(split):
    prints = [Gan(**QUICK, seed=seed).fit(split.train).fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_a_resumed_training_equals_one_that_was_not_stopped(split, tmp_path):
    whole = Gan(**QUICK).fit(split.train, split.val)
    stopped = Gan(**QUICK).fit_steps(split.train, split.val, tmp_path / "checkpoint")
    for _ in range(4):
        next(stopped)
    stopped.close()
    resumed = Gan(**QUICK)
    steps = [step.step for step in resumed.fit_steps(split.train, split.val, tmp_path / "checkpoint")]
    assert steps == [5, 6]
    assert resumed.fingerprint() == whole.fingerprint()
    assert [step.step for step in resumed.history_] == [1, 2, 3, 4, 5, 6]
    assert [step.step for step in resumed.history_ if step.validation_score is not None] == [3, 6]


def test_a_checkpoint_of_something_else_is_refused(split, tmp_path):
    (tmp_path / "c").write_bytes(b"nonsense")
    with pytest.raises(EcgsynthError, match="delete it to begin anew"):
        list(Gan(**QUICK).fit_steps(split.train, checkpoint=tmp_path / "c"))
    stopped = Gan(**QUICK).fit_steps(split.train, checkpoint=tmp_path / "d")
    next(stopped)
    stopped.close()
    with pytest.raises(EcgsynthError, match="other beats or settings"):
        list(Gan(**QUICK).fit_steps(split.val, checkpoint=tmp_path / "d"))
    with pytest.raises(EcgsynthError, match="other beats or settings"):
        list(Gan(**QUICK, seed=1).fit_steps(split.train, checkpoint=tmp_path / "d"))


def test_validation_chooses_the_weights_kept(split, monkeypatch):
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(Gan, "_validation_score", lambda *_: next(scores))
    generator = Gan(**(QUICK | {"validations": 3}))
    weights = {}
    for step in generator.fit_steps(split.train, split.val):
        weights[step.step] = generator._arrays()["generator.network.out.weight"].copy()
    assert [step.best for step in generator.history_ if step.validation_score is not None] == [True, True, False]
    assert np.array_equal(generator._arrays()["generator.network.out.weight"], weights[4])
    assert not np.array_equal(weights[4], weights[6])


def test_every_step_says_how_it_goes(split):
    steps = list(Gan(**QUICK).fit_steps(split.train))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].share == 1
    assert all(np.isfinite([s.critic_loss, s.generator_loss, s.score_gap]).all() for s in steps)


def test_minutes_end_a_training(split):
    generator = Gan(**(QUICK | {"steps": 10**9, "minutes": 0.02}))
    last = list(generator.fit_steps(split.train))[-1]
    assert last.share == 1
    assert last.step < 10**9


def test_a_loss_that_is_not_a_number_is_one_clear_error(split, monkeypatch):
    broken = OBJECTIVES["hinge"]._replace(critic=lambda real, generated: (real - generated).mean() * np.nan)
    monkeypatch.setitem(OBJECTIVES, "hinge", broken)
    with pytest.raises(EcgsynthError, match="training diverged"):
        Gan(**QUICK, objective="hinge").fit(split.train)


@pytest.mark.parametrize("bad", [{"network": "x"}, {"objective": "x"}, {"prior": "x"}, {"steps": 0}, {"batch": 1}, {"minutes": -1}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(EcgsynthError):
        Gan(**bad)


def test_a_short_training_learns_the_classes(split):
    """Means of generated classes are nearest to the real mean of their own class."""
    generator = GENERATORS["cnn-gan"](steps=100, width=8, latent=8, batch=64).fit(split.train)
    made = generator.sample(dict.fromkeys("NVQ", 200))
    means = {name: split.train.signals[split.train.classes == name].mean(axis=0) for name in "NVQ"}
    for name in "NVQ":
        mean = made.signals[made.classes == name].mean(axis=0)
        assert min(means, key=lambda other: np.linalg.norm(mean - means[other])) == name


@pytest.mark.parametrize("settings", [{"prior": "normal"}, {"objective": "hinge"}, {"penalty": 0.0}], ids=str)
def test_other_presets_train_too(split, settings):
    made = Gan(**QUICK, **settings).fit(split.train).sample({"N": 3, "F": 2})
    assert np.isfinite(made.signals).all()
