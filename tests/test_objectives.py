"""Objectives and regularisers against closed forms and torch."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgsynth.objectives import OBJECTIVES, clip_weights, gradient_penalty, zero_centred_penalty


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_each_player_gains_by_what_it_should(objective):
    low, high = torch.zeros(4), torch.full((4,), 0.5)
    assert objective.critic(high, low) < objective.critic(low, high)
    assert objective.generator(low, high) < objective.generator(high, low)


def cross_entropy(scores, truth):
    """Of a logistic verdict, as the textbook has it: the natural logarithm of the share given to the truth."""
    share = 1 / (1 + np.exp(-scores))
    return -np.mean(np.log(share if truth else 1 - share))


FORMULAS = {  # of the critic and of the generator, from the papers
    "log": (lambda r, g: cross_entropy(r, True) + cross_entropy(g, False), lambda r, g: cross_entropy(g, True)),
    "wasserstein": (lambda r, g: np.mean(g) - np.mean(r), lambda r, g: -np.mean(g)),
    "relativistic": (lambda r, g: cross_entropy(r - g, True), lambda r, g: cross_entropy(g - r, True)),
    "hinge": (lambda r, g: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + g)), lambda r, g: -np.mean(g)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_formulas_of_the_papers(name):
    rng = np.random.default_rng(0)
    real, generated = (rng.normal(0, 1.5, 60) for _ in range(2))
    scores = [torch.from_numpy(side) for side in (real, generated)]
    critic, generator = FORMULAS[name]
    assert OBJECTIVES[name].critic(*scores).item() == pytest.approx(critic(real, generated))
    assert OBJECTIVES[name].generator(*scores).item() == pytest.approx(generator(real, generated))


def test_losses_at_known_scores():
    equal = torch.zeros(7)
    assert OBJECTIVES["log"].critic(equal, equal).item() == pytest.approx(2 * np.log(2))
    assert OBJECTIVES["relativistic"].critic(equal, equal).item() == pytest.approx(np.log(2))
    assert OBJECTIVES["relativistic"].generator(equal, equal + 100).item() == pytest.approx(0, abs=1e-6)
    assert OBJECTIVES["wasserstein"].critic(equal + 3, equal + 1).item() == -2
    assert OBJECTIVES["hinge"].critic(torch.full((3,), 1.5), torch.full((3,), -1.5)).item() == 0


def test_the_log_loss_is_binary_cross_entropy():
    real, generated = torch.randn(50), torch.randn(50)
    oracle = nn.BCEWithLogitsLoss()
    expected = oracle(real, torch.ones(50)) + oracle(generated, torch.zeros(50))
    torch.testing.assert_close(OBJECTIVES["log"].critic(real, generated), expected)


def test_both_penalties_of_a_linear_critic_have_a_closed_form():
    weights = torch.tensor([1.0, -2.0, 3.0])
    beats = torch.randn(5, 3, requires_grad=True)
    assert zero_centred_penalty(beats @ weights, beats).item() == pytest.approx(14.0)
    random = torch.Generator().manual_seed(0)
    bent = gradient_penalty(lambda beats: beats @ weights, torch.randn(5, 3), torch.randn(5, 3), random)
    assert bent.item() == pytest.approx((14**0.5 - 1) ** 2, rel=1e-5)


def test_beats_that_are_scored_together_are_one_point_to_a_penalty():
    weights = torch.tensor([0.6, 0.8])  # of the first and of the second beat of a pack

    def score(beats):
        return (beats.unflatten(0, (-1, 2))[..., 0] * weights).sum(dim=1)

    beats = torch.randn(8, 3, requires_grad=True)
    assert zero_centred_penalty(score(beats), beats).item() == pytest.approx(1)
    seen = []
    real, generated, random = torch.zeros(8, 3), torch.ones(8, 3), torch.Generator().manual_seed(0)
    bent = gradient_penalty(lambda beats: seen.append(beats.detach()) or score(beats), real, generated, random, pack=2)
    assert bent.item() == pytest.approx(0, abs=1e-12)
    assert torch.equal(seen[0][::2], seen[0][1::2])  # both as far on their lines
    assert len(seen[0].unique()) == 4


def test_the_gradient_penalty_looks_between_real_and_generated():
    seen = []

    def score(beats):
        seen.append(beats.detach())
        return beats.sum(dim=1)

    gradient_penalty(score, torch.zeros(1000, 2), torch.ones(1000, 2), torch.Generator().manual_seed(0))
    assert torch.equal(seen[0][:, 0], seen[0][:, 1])  # on the line
    assert 0 <= seen[0].min() < 0.05 < 0.95 < seen[0].max() <= 1


def test_clipping_bounds_every_weight_and_leaves_small_ones():
    critic = nn.Linear(2, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[5.0, 0.001]]))
    clip_weights(critic, 0.01)
    torch.testing.assert_close(critic.weight, torch.tensor([[0.01, 0.001]]))
