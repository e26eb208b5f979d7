"""Fidelity metrics: identity, symmetry, closed forms, an oracle, order in corruption, collapse."""

import numpy as np
import pytest

from ecgsynth.metrics import fidelity
from ecgsynth.metrics.fidelity import frechet_distance, median_distance, mmd, spectrum_distance, warped_distances


def cloud(n=1500, d=4, seed=0, shift=0.0, spread=1.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * spread + shift).astype(np.float32)


def tone(frequency, n=40, amplitude=1.0, length=256, fs=256.0):
    time = np.arange(length) / fs
    return amplitude * np.sin(2 * np.pi * frequency * time + np.linspace(0, 6, n)[:, None])


def test_the_median_distance_of_points_known():
    assert median_distance(np.array([[0.0], [1.0], [3.0]])) == 2


def test_equal_distributions_have_no_discrepancy():
    found = [mmd(real=cloud(400, seed=seed), synthetic=cloud(400, seed=seed + 100)) for seed in range(20)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20**0.5  # unbiased
    assert min(found) < 0 < max(found)


def test_the_discrepancy_of_two_normal_distributions_is_that_of_its_closed_form():
    width, shift, d = 1.5, 0.8, 2

    def kernel(variance, distance):  # mean of the kernel between two points whose difference has this variance
        total = width**2 + variance
        return (width**2 / total) ** (d / 2) * np.exp(-(distance**2) / (2 * total))

    spread = 0.5
    expected = kernel(2, 0) + kernel(2 * spread**2, 0) - 2 * kernel(1 + spread**2, shift)
    other = cloud(6000, d, seed=1, spread=spread) + np.array([shift, 0])
    assert mmd(real=cloud(6000, d), synthetic=other, bandwidth=width) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "metric", [lambda a, b: mmd(real=a, synthetic=b, bandwidth=1.0), lambda a, b: frechet_distance(real=a, synthetic=b)]
)
def test_distances_of_sets_are_symmetric_and_do_not_depend_on_order(metric):
    one, other = cloud(), cloud(1200, seed=1, shift=0.3)
    assert metric(one, other) == pytest.approx(metric(other, one), rel=1e-6)
    assert metric(one[::-1], other) == pytest.approx(metric(one, other), rel=1e-6)


@pytest.mark.parametrize("metric", [mmd, frechet_distance])
def test_distances_of_sets_grow_with_noise_and_catch_a_collapse(metric):
    real, other = cloud(), cloud(seed=1)
    noisy = [metric(real=real, synthetic=other + cloud(seed=2, spread=spread)) for spread in (0.0, 0.5, 1.0, 2.0)]
    assert noisy == sorted(noisy)
    assert metric(real=real, synthetic=cloud(seed=1, spread=0.05)) > 20 * max(noisy[0], 1e-4)
    with pytest.raises(ValueError, match="two beats"):
        metric(real=real[:1], synthetic=real)


def test_the_frechet_distance_is_that_of_its_closed_form_and_of_scipy():
    from scipy.linalg import sqrtm

    assert frechet_distance(real=cloud(), synthetic=cloud()) == pytest.approx(0, abs=1e-9)
    spreads, shift = np.array([1.0, 2.0, 0.5, 1.5]), np.array([1.0, 0, 0, 2.0])
    expected = shift @ shift + ((1 - spreads) ** 2).sum()
    apart = cloud(200_000, seed=1) * spreads + shift
    assert frechet_distance(real=cloud(200_000), synthetic=apart) == pytest.approx(expected, rel=0.01)
    mixed = cloud(seed=2) @ np.random.default_rng(0).normal(size=(4, 4))
    one, other = (np.cov(side, rowvar=False) for side in (cloud(), mixed))
    by_scipy = np.trace(one + other - 2 * sqrtm(one @ other).real) + ((cloud().mean(0) - mixed.mean(0)) ** 2).sum()
    assert frechet_distance(real=cloud(), synthetic=mixed) == pytest.approx(by_scipy, rel=1e-5)
    assert frechet_distance(real=cloud(d=1), synthetic=cloud(d=1, shift=3)) == pytest.approx(9, rel=1e-5)


def test_the_spectrum_tells_level_and_frequency():
    real = tone(10)
    assert spectrum_distance(real=real, synthetic=real, fs=256.0) == 0
    noise = np.random.default_rng(0).normal(size=(2, 4000, 256))
    assert spectrum_distance(real=noise[0], synthetic=2 * noise[1], fs=256.0) == pytest.approx(20 * np.log10(2), rel=0.02)
    assert spectrum_distance(real=real, synthetic=tone(20), fs=256.0) > 10
    assert spectrum_distance(real=noise[0], synthetic=noise[0] + tone(100, n=4000), fs=256.0) < 0.1  # beyond the band


def test_the_spectrum_tells_more_the_more_noise_there_is_and_does_not_mind_the_sides():
    real = tone(10, amplitude=np.linspace(0.5, 1.5, 40)[:, None])
    found = []
    for spread in (0.0, 0.2, 0.5, 1.0, 3.0):
        noisy = real + np.random.default_rng(0).normal(0, spread, real.shape)
        found.append(spectrum_distance(real=real, synthetic=noisy, fs=256.0))
        assert spectrum_distance(real=noisy, synthetic=real, fs=256.0) == pytest.approx(found[-1])
        assert spectrum_distance(real=real[::-1], synthetic=noisy, fs=256.0) == pytest.approx(found[-1])
    assert found == sorted(found)
    one = real[:1].repeat(40, axis=0)  # a generator that makes one beat alone
    assert spectrum_distance(real=real, synthetic=one, fs=256.0) > 20 * spectrum_distance(real=real[::2], synthetic=real[1::2], fs=256.0)


def test_warped_distances_grow_with_noise_are_symmetric_and_shrink_where_all_beats_are_one():
    rng = np.random.default_rng(0)
    mean = np.exp(-(((np.arange(128) - 54) / 6) ** 2))
    medians = [np.median(warped_distances(beats=mean + rng.normal(0, s, (20, 128)), to=mean, fs=360.0)) for s in (0, 0.05, 0.1, 0.3, 1)]
    assert medians == sorted(medians)
    assert medians[0] == 0
    one, other = rng.normal(size=(2, 128))
    there, back = warped_distances(beats=one[None], to=other, fs=360.0), warped_distances(beats=other[None], to=one, fs=360.0)
    assert there == pytest.approx(back)


def test_warping_forgives_a_shift_but_no_other_height():
    time = np.arange(256)
    mean = np.exp(-(((time - 108) / 6) ** 2))
    shifted, higher = np.exp(-(((time - 120) / 6) ** 2)), 1.5 * mean
    far = np.exp(-(((time - 200) / 6) ** 2))
    found = warped_distances(beats=np.stack([mean, shifted, higher, far]), to=mean, fs=360.0)
    straight = np.linalg.norm(np.stack([mean, shifted, higher, far]) - mean, axis=1)
    assert found[0] == 0
    assert found[1] < 0.05 * straight[1]
    assert found[2] > 0.5 * straight[2]
    assert found[3] > 0.5 * straight[3]  # further than waves are matched
    assert (found <= straight + 1e-9).all()


@pytest.mark.parametrize(("fs", "reach"), [(20.0, 2), (10.0, 1), (5.0, 1)])  # samples: 100 ms, but at least one
def test_warping_is_that_of_the_recursion_of_its_paper(fs, reach):
    rng = np.random.default_rng(0)
    mean, beat = rng.normal(size=(2, 20))
    cost = np.full((21, 21), np.inf)
    cost[0, 0] = 0
    for i in range(20):
        for j in range(max(0, i - reach), min(20, i + reach + 1)):
            cost[i + 1, j + 1] = (mean[i] - beat[j]) ** 2 + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    assert warped_distances(beats=beat[None], to=mean, fs=fs)[0] == pytest.approx(cost[-1, -1] ** 0.5)


@pytest.mark.parametrize(("values", "wanted"), [([0, 90, 80, 1, 70, 60, 3], 2), ([0, 90, 1, 80, 3, 70], 2), ([0, 1, 3], 2)])
def test_the_median_distance_is_that_of_points_at_even_steps_where_there_are_too_many(values, wanted, monkeypatch):
    """Of seven every third, of six every second: 0, 1 and 3."""
    monkeypatch.setattr(fidelity, "_MEDIAN_OF", 3)
    assert median_distance(np.array(values, dtype=np.float32)[:, None]) == wanted


@pytest.mark.parametrize("chunk", [1000, 1])
def test_two_beats_on_each_side_are_enough_for_a_discrepancy_worked_out_by_hand(chunk, monkeypatch):
    monkeypatch.setattr(fidelity, "_CHUNK", chunk)
    near, far = np.exp(-0.5), np.exp(-2)  # the kernel of points 1 and 2 apart
    sides = {"real": np.array([[0.0], [1.0]]), "synthetic": np.array([[0.0], [2.0]])}
    wanted = near + far - 2 * (1 + far + near + near) / 4
    assert mmd(**sides, bandwidth=1.0) == pytest.approx(wanted)
    assert mmd(**sides) == pytest.approx(wanted)  # the median distance of the real ones is 1
    wider = {name: 2 * side for name, side in sides.items()}
    assert mmd(**wider) == pytest.approx(wanted)
    assert mmd(**wider, bandwidth=2.0) == pytest.approx(wanted)


@pytest.mark.parametrize("metric", [mmd, frechet_distance])
def test_one_beat_is_too_few_on_either_side(metric):
    for sides in ((1, 2), (2, 1)):
        with pytest.raises(ValueError, match=r"^at least two beats are needed on each side$"):
            metric(real=cloud(sides[0]), synthetic=cloud(sides[1]))


def test_two_beats_on_each_side_have_a_frechet_distance():
    """Variances of 2 and 8 about 1 and 2."""
    found = frechet_distance(real=np.array([[0.0], [2.0]]), synthetic=np.array([[0.0], [4.0]]))
    assert found == pytest.approx(1 + (8**0.5 - 2**0.5) ** 2)


@pytest.mark.parametrize(("given", "bins"), [({}, 40), ({"band": (9.0, 11.0)}, 3), ({"band": (10.0, 10.0)}, 1)])
def test_the_spectrum_of_a_tone_is_that_of_its_hann_window(given, bins):
    """Against nothing, whose level is the floor of -60 dB: half the squared amplitude at 10 Hz, a quarter of that a hertz beside it."""
    peak, side = (10 * np.log10(power + 1e-6) + 60 for power in (0.5, 0.125))
    wanted = np.sqrt((peak**2 + (2 * side**2 if bins > 1 else 0)) / bins)
    assert spectrum_distance(real=tone(10), synthetic=np.zeros((3, 256)), fs=256.0, **given) == pytest.approx(wanted, rel=1e-4)
