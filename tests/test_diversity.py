"""Diversity metrics: identity, symmetry, collapse, and a value worked out by hand."""

import numpy as np
import pytest

from ecgsynth.metrics.diversity import Manifold, manifold, nearest_distances


def cloud(n=600, d=5, seed=0, shift=0.0, spread=1.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * spread + shift).astype(np.float32)


def test_the_same_points_cover_each_other():
    same = manifold(real=cloud(), synthetic=cloud())
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_other_points_of_the_same_cloud_score_high_and_far_ones_nothing():
    like = manifold(real=cloud(), synthetic=cloud(seed=1))
    assert min(like) > 0.85
    assert like.density == pytest.approx(1, abs=0.1)
    assert manifold(real=cloud(), synthetic=cloud(seed=1, shift=100)) == Manifold(0, 0, 0, 0)


def test_precision_and_recall_change_places_with_the_sets():
    one, other = cloud(), cloud(seed=1, spread=0.5)
    there, back = manifold(real=one, synthetic=other), manifold(real=other, synthetic=one)
    assert there.precision == back.recall
    assert there.recall == back.precision


def test_a_collapsed_generator_is_precise_but_misses_most():
    collapsed = manifold(real=cloud(), synthetic=cloud(seed=1, spread=0.05))
    assert collapsed.precision > 0.99
    assert collapsed.recall < 0.1
    assert collapsed.coverage < 0.1
    spreads = [manifold(real=cloud(), synthetic=cloud(seed=1, spread=spread)).coverage for spread in (0.1, 0.4, 1.0)]
    assert spreads == sorted(spreads)


def test_by_hand():
    real = np.array([[0.0], [1.0], [3.0]])  # reach 1, 1, 2
    synthetic = np.array([[0.5], [6.0], [6.5]])  # reach 5.5, 0.5, 0.5
    found = manifold(real=real, synthetic=synthetic, neighbors=1)
    assert found == Manifold(precision=1 / 3, recall=1, density=2 / 3, coverage=2 / 3)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="more than 5"):
        manifold(real=cloud(5), synthetic=cloud())


def test_nearest_distances():
    found = nearest_distances(beats=np.array([[0.0, 0.0], [3.0, 0.0]]), among=np.array([[0.0, 1.0], [3.0, 4.0]]))
    np.testing.assert_allclose(found, [1, 10**0.5])
