import numpy as np

from ecgsynth.beats import Beats, concatenate
from ecgsynth.spaces import ComponentSpace, SampleSpace
from ecgsynth.vectors import RHYTHM, from_vectors, shape_of, to_vectors


def some(n=50, leads=1, seed=0, mean=False):
    rng = np.random.default_rng(seed)
    signals = rng.normal(size=(n, leads, 20)) if leads > 1 else rng.normal(size=(n, 20))
    rr = dict(zip(RHYTHM, rng.uniform(0.4, 1.2, (3 if mean else 2, n)), strict=False))
    return Beats(signals=signals, classes=np.full(n, "N"), **rr)


def test_beats_come_back_from_vectors():
    for leads, mean in ((1, False), (2, False), (1, True), (2, True)):
        beats = some(leads=leads, mean=mean)
        vectors = to_vectors(beats)
        assert vectors.shape == (50, shape_of(beats).size) == (50, leads * 20 + 2 + mean)
        signals, rhythm = from_vectors(vectors, shape_of(beats))
        assert np.array_equal(signals, beats.signals)
        assert tuple(rhythm) == RHYTHM[: 2 + mean]
        for name, values in rhythm.items():
            np.testing.assert_allclose(values, getattr(beats, name), rtol=1e-5)


def test_a_running_mean_that_some_beats_lack_is_not_part_of_the_vectors():
    both = concatenate([some(mean=True), some()])
    assert to_vectors(both).shape == (100, 22)


def test_unknown_intervals_are_filled_and_gaps_are_not_rhythm():
    nan = np.nan
    beats = Beats(signals=np.zeros((4, 5)), classes=np.full(4, "N"), rr_before=[nan, 1.0, 60.0, nan], rr_after=[0.5, 1.0, 1.0, nan])
    _, rhythm = from_vectors(to_vectors(beats), shape_of(beats))
    np.testing.assert_allclose(rhythm["rr_before"], [0.5, 1.0, 10.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(rhythm["rr_after"], [0.5, 1.0, 1.0, 1.0], rtol=1e-5)


def test_sample_space_brings_columns_to_spread_1_and_back():
    vectors = to_vectors(some(500)) * np.float32(3) + np.float32(2)
    space = SampleSpace.fit(vectors)
    codes = space.encode(vectors)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.01)
    np.testing.assert_allclose(space.decode(codes), vectors, atol=1e-4)


def test_component_space_keeps_what_its_components_hold_and_the_rhythm():
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 20))  # of rank 4
    beats = Beats(signals=waveform, classes=np.full(300, "N"), rr_before=rng.uniform(0.5, 1, 300), rr_after=rng.uniform(0.5, 1, 300))
    vectors = to_vectors(beats)
    space = ComponentSpace.fit(vectors, 4, whitening=0.5, n_rhythm=2)
    assert space.size == 6
    np.testing.assert_allclose(space.decode(space.encode(vectors)), vectors, atol=1e-4)
    lossy = ComponentSpace.fit(vectors, 2, whitening=0.5, n_rhythm=2)
    back = lossy.decode(lossy.encode(vectors))
    assert np.abs(back - vectors)[:, :20].max() > 0.1
    np.testing.assert_allclose(back[:, 20:], vectors[:, 20:], atol=1e-4)


def test_whitening_goes_from_the_spread_of_each_component_to_equal_spread():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(2000, 7)) * [8, 4, 2, 1, 1, 0.3, 0.3]).astype(np.float32)
    spreads = {power: ComponentSpace.fit(vectors, 5, power, n_rhythm=2).encode(vectors)[:, :5].std(axis=0) for power in (0.0, 0.5, 1.0)}
    np.testing.assert_allclose(spreads[1.0], 1, rtol=0.01)
    np.testing.assert_allclose(spreads[0.0] / spreads[0.0][0], [1, 0.5, 0.25, 0.125, 0.125], rtol=0.1)
    np.testing.assert_allclose((spreads[0.5] / spreads[0.5][0]) ** 2, [1, 0.5, 0.25, 0.125, 0.125], rtol=0.1)
    for spread in spreads.values():
        assert abs(np.mean(spread**2) - 1) < 0.01
