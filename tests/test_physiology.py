"""Waves measured where their size is known, and distances against closed forms."""

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.metrics.physiology import MEASURES, measure_waves, shares, wave_distances
from ecgsynth.simulate import simulate_beats

R, FS = 108, 360.0


def wave(time, height, center_s, width_s):
    return height * np.exp(-0.5 * ((time - center_s) / width_s) ** 2)


def beats_of(*, p=0.15, t=0.3, r=1.0, width=0.01, pr=0.16, count=30, rr=0.8):
    """Beats of Gaussian waves: P `pr` before R, T 0.26 s after it."""
    time = (np.arange(256) - R) / FS
    signal = wave(time, p, -pr, 0.02) + wave(time, -0.1 * r, -0.03, 0.008) + wave(time, r, 0, width) + wave(time, -0.15 * r, 0.03, 0.008)
    noise = np.random.default_rng(0).normal(0, 0.002, (count, 256))
    return Beats(signals=signal + wave(time, t, 0.26, 0.04) + noise, classes=np.full(count, "N"), rr_before=np.full(count, rr))


def median(name, beats):
    return np.nanmedian(measure_waves(beats)[name])


def test_everything_is_measured_of_every_beat():
    measured = measure_waves(beats_of())
    assert set(measured) == set(MEASURES)
    assert {values.shape for values in measured.values()} == {(30,)}
    assert all(np.isfinite(values).mean() > 0.8 for values in measured.values())


def test_amplitudes_are_those_of_the_waves():
    for name, heights in (("r", (0.7, 1.4)), ("p", (0.1, 0.25)), ("t", (0.2, 0.5))):
        for height in heights:
            assert median(name, beats_of(**{name: height})) == pytest.approx(height, abs=0.07)
    assert median("t", beats_of(t=-0.3)) == pytest.approx(-0.3, abs=0.07)
    assert median("rr", beats_of(rr=0.65)) == pytest.approx(650)
    assert abs(median("st", beats_of())) < 0.1


def test_a_later_p_wave_and_a_wider_qrs_are_measured():
    near, far = (median("pr", beats_of(pr=pr)) for pr in (0.14, 0.2))
    assert far - near == pytest.approx(60, abs=15)
    narrow, wide = (np.nanmedian(measure_waves(simulated(name))["qrs"]) for name in "NV")
    assert 60 < narrow < wide - 30


def simulated(name, seed=0):
    signals, rr_before, rr_after, _ = simulate_beats(name, 200, rng=np.random.default_rng(seed))
    return Beats(signals=signals, classes=np.full(200, name), rr_before=rr_before, rr_after=rr_after)


def test_shares_know_p_waves_polarity_and_limits():
    usual = shares(measure_waves(beats_of()))
    assert usual["P wave"] == 1
    assert usual["upright T"] == 1
    assert usual["RR before not normal"] == 0
    assert shares(measure_waves(beats_of(p=0.0)))["P wave"] < 0.2
    assert shares(measure_waves(beats_of(t=-0.3)))["upright T"] < 0.2
    assert shares(measure_waves(beats_of(rr=0.4)))["RR before not normal"] == 1


def test_what_cannot_be_measured_is_not_a_number():
    flat = Beats(signals=np.zeros((3, 256)), classes=np.full(3, "N"))
    measured = measure_waves(flat)
    assert np.isnan(measured["rr"]).all()
    assert np.isnan(shares(measured)["RR before not normal"])
    assert all(np.isnan(value) for value in wave_distances(real=measured, synthetic=measured).values())


def test_the_distance_of_two_normal_distributions_of_one_width_is_their_shift():
    rng = np.random.default_rng(0)
    real, other = ({name: rng.normal(shift, 1, 4000) for name in MEASURES} for shift in (0, 3))
    assert wave_distances(real=real, synthetic=real) == dict.fromkeys(MEASURES, 0)
    found, back = wave_distances(real=real, synthetic=other), wave_distances(real=other, synthetic=real)
    assert found == back
    assert all(value == pytest.approx(3, rel=0.05) for value in found.values())


def test_beats_of_another_class_are_further_than_others_of_the_same():
    normal, again, ventricular = (measure_waves(simulated(name, seed)) for name, seed in (("N", 0), ("N", 1), ("V", 2)))
    same, other = (wave_distances(real=normal, synthetic=side) for side in (again, ventricular))
    assert same["qrs"] < other["qrs"]
    assert same["rr"] < other["rr"]
    assert same["r"] < other["r"]
