import copy

import numpy as np
import pytest
import torch

from ecgsynth.nets import NETWORKS, TAKES_DRAFTS
from ecgsynth.nets.convolutional import to_channels
from ecgsynth.nets.denoiser import Denoiser, GuidedDenoiser, OneStep, tabled
from ecgsynth.priors import MixturePrior, NormalPrior
from ecgsynth.vectors import Shape


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [Shape(1, 256), Shape(2, 252), Shape(1, 100)], ids=str)
def test_networks_keep_the_layout_of_the_beat(network, shape):
    make_generator, make_critic = NETWORKS[network]
    beats = make_generator(shape, 5, width=8)(torch.randn(6, 5), None)
    assert beats.shape == (6, shape.size)
    critic = make_critic(shape, n_side=3, pack=2, width=8)
    assert critic(beats.unflatten(0, (3, 2)), torch.randn(3, 3)).shape == (3, critic.n_features)


@pytest.mark.parametrize("network", TAKES_DRAFTS)
def test_before_training_nothing_is_added_to_a_draft(network):
    shape = Shape(2, 100)
    draft = torch.randn(3, shape.size)
    assert torch.equal(NETWORKS[network][0](shape, 5, drafts=True, width=8)(torch.randn(3, 5), draft), draft)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_critic_sees_waveform_rhythm_and_side_columns(network):
    shape = Shape(1, 64)
    critic = NETWORKS[network][1](shape, n_side=2, width=8).eval()
    beats, side = torch.randn(3, 1, shape.size), torch.randn(3, 2)
    usual = critic(beats, side)
    for column in (10, shape.waveform, shape.waveform + 1):
        other = beats.clone()
        other[..., column] += 1
        assert not torch.allclose(critic(other, side), usual)
    assert not torch.allclose(critic(beats, side + 1), usual)


def test_channels_hold_each_lead_and_the_rhythm():
    shape = Shape(2, 3)
    beats = torch.arange(8.0)[None, None]  # lead one 0 1 2, lead two 3 4 5, rhythm 6 7
    channels = to_channels(beats, torch.tensor([[9.0]]), shape)
    assert channels[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 6, 6], [7, 7, 7], [9, 9, 9]]


def test_the_denoiser_is_told_time_and_cell():
    torch.manual_seed(0)
    network = Denoiser(6, 2, hidden=16, depth=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, time, cells = torch.randn(4, 6), torch.full((4,), 0.3), torch.zeros(4, dtype=torch.long)
    usual = network(x, time, cells)
    assert usual.shape == (4, 6)
    assert not torch.allclose(usual, network(x, time + 0.01, cells))
    assert not torch.allclose(usual, network(x, time, cells + 1))


def test_the_mixture_prior_has_the_moments_of_each_cell():
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


def test_mixture_components_are_drawn_as_often_as_they_weigh():
    corners = 100 * np.eye(4, dtype=np.float32)
    weights = np.array([[3, 0, 1, 0], [0, 5, 0, 5]], dtype=np.float32)
    prior = MixturePrior(2, {"means": corners, "factors": np.zeros((4, 4, 4)), "basis": np.eye(4), "weights": weights})
    for cell, shares in enumerate([[0.75, 0, 0.25, 0], [0, 0.5, 0, 0.5]]):
        _, drafts = prior.draw(torch.full((40_000,), cell), torch.Generator().manual_seed(0))
        np.testing.assert_allclose((drafts > 50).float().mean(dim=0), shares, atol=0.01)


@pytest.mark.parametrize("form", ["plain", "guided", "one step"])
def test_a_table_of_what_is_told_of_each_time_and_cell_changes_no_beat(form):
    torch.manual_seed(0)
    strong, weak = Denoiser(6, 5, hidden=16, depth=3), Denoiser(6, 5, hidden=8, depth=3)
    network = {"plain": strong, "guided": GuidedDenoiser(strong, weak, 1.5), "one step": OneStep(strong)}[form]
    for weights in network.parameters():  # some begin as zeros, and would hide what is told
        torch.nn.init.normal_(weights, std=0.3)
    noise, cells, times = torch.randn(40, 6), torch.arange(40) % 5, [()] if form == "one step" else [(0.2,), (0.7,), (0.2,)]

    def answers(network, cells):
        return [network(noise, *(torch.full((40,), now) for now in time), cells) for time in times]

    plain, fast = answers(network, cells), tabled(copy.deepcopy(network))
    for ours, other, theirs in zip(answers(fast, cells), answers(fast, cells.flip(0)), plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert not torch.allclose(other, theirs, atol=1e-2)
