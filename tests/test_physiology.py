"""Waves measured where their size is known, and distances against closed forms."""

import warnings

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
    assert usual["upright P"] == 1
    assert usual["upright T"] == 1
    assert usual["RR before not normal"] == 0
    assert shares(measure_waves(beats_of(p=0.0)))["upright P"] == 0
    assert shares(measure_waves(beats_of(p=-0.2)))["upright P"] < 0.2
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


def test_distances_grow_with_noise_and_catch_beats_that_are_all_alike():
    rng = np.random.default_rng(0)
    real, other = ({name: rng.normal(0, 1, 2000) for name in MEASURES} for _ in range(2))

    def apart(values):
        return wave_distances(real=real, synthetic=dict.fromkeys(MEASURES, values))["qrs"]

    noisy = [apart(other["qrs"] + spread * rng.normal(0, 1, 2000)) for spread in (0, 0.5, 1, 2)]
    assert noisy == sorted(noisy)
    assert apart(np.zeros(2000)) == pytest.approx((2 / np.pi) ** 0.5, rel=0.05)  # the mean absolute value of a normal one


def test_beats_of_another_class_are_further_than_others_of_the_same():
    normal, again, ventricular = (measure_waves(simulated(name, seed)) for name, seed in (("N", 0), ("N", 1), ("V", 2)))
    same, other = (wave_distances(real=normal, synthetic=side) for side in (again, ventricular))
    assert same["qrs"] < other["qrs"]
    assert same["rr"] < other["rr"]
    assert same["r"] < other["r"]


def delineated(beats: Beats) -> dict[str, np.ndarray]:
    """Build the strip beat by beat, repeated until there are ten, ask the delineator, and give its marks within each beat's window."""
    import neurokit2 as nk

    first = beats.signals if beats.signals.ndim == 2 else beats.signals[:, 0]
    signals = [first[number % len(first)].astype(float) for number in range(len(first) * int(np.ceil(10 / len(first))))]
    gap = max(2, round(beats.fs) - beats.n_samples)
    strip, peaks = [], []
    for number, signal in enumerate(signals):
        following = signals[(number + 1) % len(signals)][0]
        peaks.append(sum(map(len, strip)) + beats.r_sample)
        strip += [signal, signal[-1] + (following - signal[-1]) * np.arange(1, gap + 1) / (gap + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = nk.ecg_delineate(np.concatenate(strip), {"ECG_R_Peaks": np.array(peaks)}, sampling_rate=beats.fs, method="dwt")[1]
    marks = {}
    for name in ("P_Onsets", "R_Onsets", "R_Offsets", "T_Offsets"):
        places = np.array(found[f"ECG_{name}"], dtype=float)[: len(beats)] - np.array(peaks)[: len(beats)] + beats.r_sample
        marks[name] = np.where((places < 0) | (places >= beats.n_samples), np.nan, places)
    return marks


def various(count, *, fs=FS, length=256, r_sample=R, n_leads=1):
    """Beats each of which has other waves and begins and ends at another height, so that none can be taken for its neighbour."""
    time = (np.arange(length) - r_sample) / fs
    rng = np.random.default_rng(count)
    tall, late, drift = rng.uniform(0.8, 1.4, count), rng.uniform(0.13, 0.19, count), rng.normal(0, 0.1, count)
    p, t = np.where(np.arange(count) % 3 == 2, 0.0, 0.15), np.where(np.arange(count) % 4 == 3, -0.3, 0.3)
    parts = zip(tall, late, drift, p, t, strict=True)
    signals = np.stack(
        [a * wave(time, 1, 0, 0.012) + wave(time, b, -pr, 0.02) + wave(time, c, 0.26, 0.04) + slope * time for a, pr, slope, b, c in parts]
    )
    signals = signals if n_leads == 1 else np.stack([signals, *[signals[::-1] * 2] * (n_leads - 1)], axis=1)
    return Beats(signals=signals, classes=np.full(count, "N"), rr_before=rng.uniform(0.6, 1, count), fs=fs, r_sample=r_sample)


CUTS = [
    various(12),
    various(10),
    various(3),  # too few by themselves
    various(1),
    various(11, n_leads=2),
    various(12, fs=250.0, length=178, r_sample=75),
    various(12, length=400),  # longer than a second
    various(12, length=200, r_sample=90),  # which ends within T, and begins within P
]


@pytest.mark.parametrize("beats", CUTS, ids=["twelve", "ten", "three", "one", "two leads", "250 Hz", "long", "short"])
def test_durations_and_levels_are_those_of_the_marks_of_each_beat(beats):
    found, marks = measure_waves(beats), delineated(beats)
    first = np.asarray(beats.signals if beats.n_leads == 1 else beats.signals[:, 0], dtype=float)
    level = first - np.median(first, axis=1, keepdims=True)
    ms = 1000 / beats.fs
    start, end = beats.r_sample + np.rint(np.array([0.12, 0.4]) * beats.fs).astype(int)
    for number in range(len(beats)):
        own = {name: places[number] for name, places in marks.items()}
        wanted = {"rr": 1000 * beats.rr_before[number], "r": level[number, beats.r_sample]}
        wanted["t"] = max(level[number, start : end + 1], key=abs)
        wanted["qrs"] = ms * (own["R_Offsets"] - own["R_Onsets"])
        wanted["qt"] = ms * (own["T_Offsets"] - own["R_Onsets"])
        wanted["pr"] = ms * (own["R_Onsets"] - own["P_Onsets"]) if found["p"][number] >= 0.05 else np.nan
        later = own["R_Offsets"] + 0.06 * beats.fs
        known = later < beats.n_samples and own["R_Onsets"] >= 0
        wanted["st"] = level[number, int(later)] - level[number, int(own["R_Onsets"])] if known else np.nan
        assert {name: values[number] for name, values in found.items() if name != "p"} == pytest.approx(wanted, nan_ok=True), number
    assert np.isfinite(found["qrs"]).any() or len(beats) == 1  # as the first of a strip is not delineated


def test_t_is_looked_for_from_one_time_to_another_inclusive():
    """A spike of 2 mV, up or down, a sample inside and outside of each end: 120 and 400 ms after R."""
    places = [R + 42, R + 43, R + 144, R + 145]
    for height in (2, -2):
        beats = beats_of(count=4, r=1.0)
        beats.signals[np.arange(4), places] += height
        assert (np.abs(measure_waves(beats)["t"] - height) < 0.5).tolist() == [False, True, True, False]


def hump(height, spread_s, center_s=-0.16, slope=0.0, qrs_s=0.01):
    """One beat without noise: a hump before R on a line that rises by `slope` mV a second."""
    time = (np.arange(256) - R) / FS
    signal = wave(time, height, center_s, spread_s) + slope * time + wave(time, 1, 0, qrs_s)
    return measure_waves(Beats(signals=signal[None], classes=np.array(["V"])))["p"][0]


def test_a_p_wave_is_a_hump_that_stands_out_by_itself():
    assert hump(0.15, 0.02) == pytest.approx(0.15 * 0.02 / (0.02**2 + 0.01**2) ** 0.5, rel=0.05)  # as smoothing by 10 ms leaves it
    assert hump(0.15, 0.02, slope=0.3) == pytest.approx(hump(0.15, 0.02), abs=0.04)
    for none in ({"height": 0.0, "spread_s": 1.0}, {"height": 0.0, "spread_s": 1.0, "slope": 3.0}, {"height": -0.15, "spread_s": 0.02}):
        assert hump(**none) < 0.01
    assert hump(0.0, 1.0, qrs_s=0.08) < 0.01  # the beginning of a wide QRS
    assert hump(0.15, 0.003) == 0  # a spike
    assert hump(0.15, 0.1) < 0.05  # a slow swell, most of which lies beyond
    times = [center for center in np.arange(-0.29, -0.03, 0.005) if hump(0.15, 0.015, center_s=center) >= 0.05]
    assert (min(times), max(times)) == pytest.approx((-0.235, -0.095), abs=0.011)


def test_p_waves_are_found_where_cardiologists_say_that_the_rhythm_has_them(mitdb_beats, mitdb):
    """Sinus beats against atrial fibrillation, which has none, and against paced beats."""
    rng = np.random.default_rng(0)
    lead, symbols = mitdb_beats.leads == "MLII", mitdb_beats.symbols

    def share(records, symbol):
        own = np.flatnonzero(lead & (symbols == symbol) & np.isin(mitdb_beats.records, records))
        return shares(measure_waves(mitdb_beats.take(rng.permutation(own)[:300])))["upright P"]

    assert share(["100", "101", "103", "112", "115", "122"], "N") > 0.9
    assert share(["221", "219"], "N") < 0.4  # mostly in fibrillation
    assert share(["107", "217"], "/") < 0.3


def test_what_lies_outside_of_the_window_is_looked_for_at_its_ends():
    """Of windows that begin 50 ms before R and end 100 ms after it, no P can be seen, and T is the last sample."""
    beats = beats_of(count=10)
    short = Beats(signals=beats.signals[:, R - 18 : R + 37], classes=beats.classes, r_sample=18, rr_before=beats.rr_before)
    found, level = measure_waves(short), short.signals - np.median(short.signals.astype(float), axis=1, keepdims=True)
    assert (found["p"] == 0).all()
    np.testing.assert_allclose(found["t"], level[:, -1], atol=1e-6)
    assert np.isnan(found["qt"]).all()


def test_shares_count_what_lies_at_a_limit_as_normal_and_as_a_p_wave():
    nan = np.nan
    measured = {
        "p": np.array([0.05, -0.05, 0.0499, -0.0499, nan]),
        "t": np.array([0.1, 0.0, -0.1, 0.01, nan]),
        "qrs": np.array([0, 110, 110.5, -1, 50]),
        "pr": np.array([120, 200, 119, 201, 202]),
        "rr": np.array([600, 1000, 599, nan, nan]),
    }
    assert shares(measured) == pytest.approx(
        {"upright P": 0.25, "upright T": 0.5, "QRS duration not normal": 0.4, "PR interval not normal": 0.6, "RR before not normal": 1 / 3}
    )
    nothing = shares({name: np.full(2, nan) for name in measured})
    assert len(nothing) == 5
    assert all(np.isnan(share) for share in nothing.values())


@pytest.mark.parametrize(("real", "synthetic", "wanted"), [(20, 20, 2), (19, 20, np.nan), (20, 19, np.nan)])
def test_a_distance_is_taken_of_twenty_values_or_more(real, synthetic, wanted):
    def values(shift, count):
        return dict.fromkeys(MEASURES, np.concatenate([np.full(count, shift), np.full(5, np.nan)]))

    found = wave_distances(real=values(1.0, real), synthetic=values(3.0, synthetic))
    assert found == pytest.approx(dict.fromkeys(MEASURES, wanted), nan_ok=True)
