from collections import Counter

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.records import Record

MITDB_COUNTS = {"N": 75_052, "L": 8_075, "R": 7_259, "V": 7_130, "/": 7_028, "A": 2_546, "f": 982, "F": 803}
MITDB_COUNTS |= {"j": 229, "a": 150, "E": 106, "J": 83, "Q": 33, "e": 16, "S": 2}


def make_record(signal, samples, *, fs=360.0, name="r", symbols=None):
    symbols = np.array(symbols if symbols is not None else ["N"] * len(samples))
    return Record(name, np.asarray(signal, dtype=np.float32)[:, None], ("II",), fs, symbols, np.asarray(samples, dtype=np.int64))


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def left_out(beats):
    return {(symbol, reason): count for _, symbol, reason, count in beats.info["left_out"]}


def test_without_filter_a_beat_is_the_window_around_its_annotation():
    signal = noise(2000)
    beats = extract_beats([make_record(signal, [500, 1200])], band=None)
    assert beats.signals.shape == (2, 256)
    assert beats.r_sample == 108
    assert np.array_equal(beats.signals[1], signal[1200 - 108 : 1200 + 148].astype(np.float32))


def test_the_filter_is_that_of_scipy_run_both_ways():
    signal = noise(4000)
    beats = extract_beats([make_record(signal, [2000])])
    sections = butter(4, (0.5, 40), "bandpass", fs=360, output="sos")
    expected = sosfiltfilt(sections, signal.astype(np.float32))[2000 - 108 : 2000 + 148]
    np.testing.assert_allclose(beats.signals[0], expected, atol=1e-5)


def test_the_filter_passes_10_hz_in_phase_and_stops_drift_and_mains():
    t = np.arange(20_000) / 360
    for frequency, kept in ((10, True), (0.05, False), (60, False)):
        signal = np.sin(2 * np.pi * frequency * t)
        window = extract_beats([make_record(signal, [10_000])]).signals[0]
        original = signal[10_000 - 108 : 10_000 + 148]
        assert np.allclose(window, original, atol=0.02) if kept else np.abs(window).max() < 0.12


def test_every_annotation_is_kept_or_left_out_with_its_reason():
    signal = noise(6000)
    signal[1990:2010] = np.nan
    signal[3000:3600] = 0.7
    samples = [50, 800, 2000, 3300, 5000, 5990]
    beats = extract_beats([make_record(signal, samples, symbols=list("NNVAFN"))], band=None)
    assert beats.samples.tolist() == [800, 5000]
    assert left_out(beats) == {("N", "edge"): 2, ("V", "non-finite"): 1, ("A", "flat"): 1}


def test_missing_samples_do_not_spread_through_the_filter():
    signal = noise(8000)
    signal[4000] = np.nan
    beats = extract_beats([make_record(signal, [1000, 4000, 7000])])
    assert beats.samples.tolist() == [1000, 7000]
    assert np.isfinite(beats.signals).all()


def test_rr_is_in_seconds_to_the_neighbours_that_are_there():
    beats = extract_beats([make_record(noise(4000), [50, 500, 860, 1580])], band=None)
    np.testing.assert_allclose(beats.rr_before, [1.25, 1.0, 2.0])  # the first beat, at the edge, is a neighbour still
    np.testing.assert_allclose(beats.rr_after, [1.0, 2.0, np.nan])
    np.testing.assert_allclose(beats.rr_mean, [4.25 / 3] * 3)


def test_the_running_mean_is_of_the_intervals_around(monkeypatch):
    monkeypatch.setattr("ecgsynth.cutting.RR_AROUND", 30)
    rng = np.random.default_rng(0)
    samples = np.cumsum(rng.integers(200, 500, 200)) + 200
    samples[150:] += 360 * 60  # a gap counts as three seconds
    beats = extract_beats([make_record(noise(samples[-1] + 300), samples)], band=None)
    seconds = np.minimum(np.diff(samples) / 360, 3)
    for place in (0, 1, 30, 120, 149, 150, 199):
        around = seconds[max(0, place - 30) : place + 30]
        assert beats.rr_mean[place] == pytest.approx(around.mean(), rel=1e-6)
    alone = extract_beats([make_record(noise(2000), [1000])], band=None)
    assert np.isnan(alone.rr_mean).all()


@pytest.mark.parametrize("fs", [128.0, 250.0, 500.0, 1000.0])
def test_another_sampling_rate_gives_the_same_beat(fs):
    def wave(rate):
        t = np.arange(round(20 * rate)) / rate
        return np.exp(-(((t - 10.0) / 0.03) ** 2)) - 0.3 * np.exp(-(((t - 10.3) / 0.06) ** 2))

    expected = extract_beats([make_record(wave(360), [3600])], band=None)
    found = extract_beats([make_record(wave(fs), [round(10 * fs)], fs=fs)], band=None)
    assert found.fs == 360
    assert found.samples.tolist() == [round(10 * fs)]
    np.testing.assert_allclose(found.signals, expected.signals, atol=0.02)


def test_windows_are_given_in_seconds():
    beats = extract_beats([make_record(noise(4000), [2000])], before=0.25, after=0.45, band=None)
    assert beats.n_samples == 252
    assert beats.r_sample == 90


def test_records_are_pulled_one_at_a_time_and_stay_in_order():
    held = []

    def source():
        for number in range(20):
            held.append(number)
            yield make_record(noise(2000, number), [1000], name=f"r{number:02}")

    beats = extract_beats(source(), workers=3)
    assert beats.records.tolist() == [f"r{n:02}" for n in range(20)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"before": -1}, "window"),
        ({"before": 0, "after": 0}, "window"),
        ({"band": (40, 0.5)}, "band"),
        ({"band": (1, 200)}, "band"),
        ({"lead": "V1"}, "no lead V1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(EcgsynthError, match=message):
        extract_beats([make_record(noise(2000), [1000])], **settings)


def test_no_beat_at_all_is_an_error():
    with pytest.raises(EcgsynthError, match="no beat could be cut"):
        extract_beats([make_record(noise(100), [50])])


def test_all_annotations_of_mitbih_are_accounted_for(mitdb_beats):
    kept = Counter(mitdb_beats.symbols.tolist())
    lost = Counter()
    for _, symbol, _, count in mitdb_beats.info["left_out"]:
        lost[symbol] += count
    assert {symbol: kept[symbol] + lost[symbol] for symbol in MITDB_COUNTS} == MITDB_COUNTS
    assert sum(MITDB_COUNTS.values()) == 109_494 == len(mitdb_beats) + sum(lost.values())
    assert sum(lost.values()) < 60  # only the ends of each record
    assert len(set(mitdb_beats.patients.tolist())) == 47
    assert Counter(mitdb_beats.leads.tolist()).keys() == {"MLII", "V5"}
    assert np.isfinite(mitdb_beats.signals).all()


def test_the_r_peak_of_most_normal_beats_of_mitbih_is_where_it_is_said_to_be(mitdb_beats):
    normal = mitdb_beats.signals[mitdb_beats.symbols == "N"]
    peak = np.abs(normal[:, 54:162]).argmax(axis=1) + 54
    assert np.mean(np.abs(peak - mitdb_beats.r_sample) <= 7) > 0.9  # 20 ms
