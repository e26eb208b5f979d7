"""Diversity metrics: identity, symmetry, collapse, and a value worked out by hand."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ecgsynth.metrics import diversity
from ecgsynth.metrics.diversity import Manifold, manifold, nearest_distances, nearest_places


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


def test_noise_leads_out_of_the_cloud_and_away_from_real_points():
    noisy = [manifold(real=cloud(), synthetic=cloud(seed=1) + cloud(seed=2, spread=spread)) for spread in (0.0, 0.5, 1.0, 2.0)]
    for name in ("precision", "density", "coverage"):
        found = [getattr(each, name) for each in noisy]
        assert found == sorted(found, reverse=True), name
        assert found[-1] < 0.5 * found[0], name


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


@pytest.mark.parametrize(("neighbors", "wanted"), [(3, (0.94, 49 / 60, 1.22, 47 / 60)), (5, (1.0, 53 / 60, 1.296, 51 / 60))])
def test_values_are_those_of_prdc_0_2(neighbors, wanted):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(60, 4)), 0.8 * rng.normal(size=(50, 4)) + 0.3
    assert manifold(real=real, synthetic=synthetic, neighbors=neighbors) == pytest.approx(wanted)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="more than 5"):
        manifold(real=cloud(5), synthetic=cloud())


def test_nearest_distances():
    found = nearest_distances(beats=np.array([[0.0, 0.0], [3.0, 0.0]]), among=np.array([[0.0, 1.0], [3.0, 4.0]]))
    np.testing.assert_allclose(found, [1, 10**0.5])


def test_the_nearest_is_that_of_a_tree():
    beats, among = cloud(30), cloud(40, seed=1)
    tree = cKDTree(among).query(beats)
    np.testing.assert_allclose(nearest_distances(beats=beats, among=among), tree[0], rtol=1e-5)
    found = nearest_places(beats=beats, among=among)
    np.testing.assert_array_equal(found, tree[1])
    assert found.dtype == np.int64


def test_who_lies_exactly_at_a_reach_is_within_it():
    real, synthetic = np.array([[0.0], [1.0], [3.0]]), np.array([[4.0], [5.0], [9.0]])  # reaches 1, 1, 2 and 1, 1, 4
    found = manifold(real=real, synthetic=synthetic, neighbors=1)
    assert found == Manifold(precision=2 / 3, recall=1 / 3, density=2 / 3, coverage=1 / 3)


def test_it_does_not_matter_how_many_points_are_compared_at_a_time(monkeypatch):
    sides = {"real": cloud(50), "synthetic": cloud(40, seed=1, spread=0.7)}
    whole = manifold(**sides)
    assert whole == manifold(**sides, neighbors=5)
    assert min(whole) > 0
    assert whole.coverage < 1
    monkeypatch.setattr(diversity, "_CHUNK", 7)
    assert manifold(**sides) == pytest.approx(whole)


def test_as_many_points_as_neighbours_are_too_few_on_either_side():
    for sides in ((5, 6), (6, 5)):
        with pytest.raises(ValueError, match=r"^more than 5 beats are needed on each side$"):
            manifold(real=cloud(sides[0]), synthetic=cloud(sides[1], seed=1))
    assert manifold(real=cloud(6), synthetic=cloud(6)).recall == 1


def test_distances_are_of_double_precision():
    assert nearest_distances(beats=cloud(3), among=cloud(4)).dtype == np.float64
