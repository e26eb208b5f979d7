import weakref
from collections import Counter

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgsynth.beats import FLAT_MV
from ecgsynth.cutting import Window, extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.records import Record

MITDB_COUNTS = {"N": 75_052, "L": 8_075, "R": 7_259, "V": 7_130, "/": 7_028, "A": 2_546, "f": 982, "F": 803}
MITDB_COUNTS |= {"j": 229, "a": 150, "E": 106, "J": 83, "Q": 33, "e": 16, "S": 2}


def make_record(signal, samples, *, fs=360.0, name="r", symbols=None):
    symbols = np.array(symbols if symbols is not None else ["N"] * len(samples))
    return Record(name, np.asarray(signal, dtype=np.float32)[:, None], ("II",), fs, symbols, np.asarray(samples, dtype=np.int64))


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def make_leads(signals, samples, *, leads=("II", "V1", "V5"), symbols=None, name="r"):
    """Make a record of several leads, of a person of whom all is known."""
    signals = np.stack(signals, axis=1).astype(np.float32)
    symbols = np.array(symbols if symbols is not None else ["N"] * len(samples))
    return Record(name, signals, leads[: signals.shape[1]], 360.0, symbols, np.array(samples), patient="p7", age=61.0, sex="F")


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


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_a_gap_is_bridged_by_a_straight_line_before_the_filter(missing):
    bridged = 5 + noise(4000)
    bridged[2000:2101] = np.linspace(bridged[2000], bridged[2100], 101)
    signal = bridged.copy()
    signal[2001:2100] = missing
    cut = [extract_beats([make_record(each, [1850, 2210])]).signals for each in (signal, bridged)]  # windows from just before and after it
    np.testing.assert_allclose(*cut, atol=1e-5)


@pytest.mark.parametrize("fs", [250.0, 360.0])
@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_a_record_of_nothing_but_missing_samples_has_no_beat(missing, fs):
    records = [make_record(np.full(2000, missing), [1000], fs=fs, name="lost"), make_record(noise(2000), [1000])]
    beats = extract_beats(records)
    assert beats.records.tolist() == ["r"]
    assert beats.info["left_out"] == [("lost", "N", "non-finite", 1)]


def test_a_short_record_is_filtered_with_what_padding_it_allows():
    signal = noise(20)
    beats = extract_beats([make_record(signal, [10])], before=4 / 360, after=4 / 360)
    sections = butter(4, (0.5, 40), "bandpass", fs=360, output="sos")
    expected = sosfiltfilt(sections, signal.astype(np.float32), padlen=19)  # one less than there are samples
    np.testing.assert_allclose(beats.signals[0], expected[6:14], atol=1e-5)


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


@pytest.mark.parametrize("fs", [180.0, 250.0, 500.0])
def test_a_straight_line_stays_one_from_the_first_sample_to_the_last(fs):
    line = np.linspace(-2, 3, round(20 * fs))
    starts, ends = round(108 / 360 * fs), round((20 - 148 / 360) * fs)  # the first beat and the last whose windows fit
    beats = extract_beats([make_record(line, [starts, ends], fs=fs)], band=None)
    slope = 5 / (len(line) - 1) * fs / 360
    expected = -2 + slope * np.stack([np.arange(256), np.arange(7200 - 256, 7200)])
    np.testing.assert_allclose(beats.signals, expected, atol=0.003)  # but for the ripple of resampling


def test_a_gap_stays_where_it_is_at_another_rate():
    signal = noise(1000)
    signal[500] = np.nan  # at twice the rate 999 to 1001, those that are nearest to it
    samples = [100, 425, 426, 554, 555, 900]  # windows are from 2 n - 108 to 2 n + 147
    beats = extract_beats([make_record(signal, samples, fs=180.0)], band=None)
    assert beats.samples.tolist() == [100, 425, 555, 900]
    assert left_out(beats) == {("N", "non-finite"): 2}


@pytest.mark.parametrize("value", [1.1e4, -1.1e4, 1e20, np.inf, -np.inf])
def test_a_value_that_no_ecg_reaches_is_a_gap(value):
    signal = noise(6000)
    signal[2000] = np.nan
    wanted = extract_beats([make_record(signal, [800, 2000, 5000])])
    signal[2000] = value
    found = extract_beats([make_record(signal, [800, 2000, 5000])])
    assert left_out(found) == {("N", "non-finite"): 1}
    np.testing.assert_array_equal(found.signals, wanted.signals)
    signal[2000] = 9e3
    assert left_out(extract_beats([make_record(signal, [800, 2000, 5000])])) == {}


def test_a_gap_at_the_end_is_one_at_another_rate():
    signal = noise(1000)
    signal[-1] = np.nan
    beats = extract_beats([make_record(signal, [800, 925, 926], fs=180.0)], band=None)  # the last two end with samples 1997 and 1999
    assert beats.samples.tolist() == [800, 925]
    assert left_out(beats) == {("N", "non-finite"): 1}


def test_windows_are_given_in_seconds():
    beats = extract_beats([make_record(noise(4000), [2000])], before=0.25, after=0.45, band=None)
    assert beats.n_samples == 252
    assert beats.r_sample == 90
    assert beats.info == {"before": 0.25, "after": 0.45, "band": None, "left_out": []}


def test_unless_told_otherwise_beats_are_real_and_say_how_they_were_cut():
    beats = extract_beats([make_record(noise(2000), [1000, 1990])])
    assert (beats.source, beats.is_synthetic, beats.fs) == ("real", False, 360.0)
    assert beats.info == {"before": 0.3, "after": 148 / 360, "band": (0.5, 40.0), "left_out": [("r", "N", "edge", 1)]}
    fast = extract_beats([make_record(noise(2000), [1000])], fs=250.0, source="simulated")
    assert (fast.source, fast.fs, fast.r_sample, fast.n_samples) == ("simulated", 250.0, 75, 178)


def test_beats_say_whose_they_are_and_of_which_leads():
    signals = [noise(3000), noise(3000, 1), noise(3000, 2)]
    record = make_leads(signals, [500, 1200, 2990], symbols=list("aVN"))
    beats = extract_beats([record], lead="all", band=None)
    assert beats.signals.shape == (2, 3, 256)
    for number, lead in enumerate(signals):
        assert np.array_equal(beats.signals[1, number], lead[1200 - 108 : 1200 + 148].astype(np.float32))
    assert (beats.symbols.tolist(), beats.classes.tolist()) == (["a", "V"], ["S", "V"])
    told = {"records": "r", "patients": "p7", "leads": "II+V1+V5", "sexes": "F", "ages": 61.0}
    for name, value in told.items():
        assert getattr(beats, name).tolist() == [value] * 2
    two = extract_beats([make_leads(signals[:2], [500])], lead="all", band=None)
    assert (two.signals.shape, two.leads.tolist()) == ((1, 2, 256), ["II+V1"])
    one = extract_beats([record], lead=("aVR", "V1"), band=None)
    assert (one.signals.shape, one.leads.tolist()) == ((2, 256), ["V1"] * 2)
    assert np.array_equal(one.signals, beats.signals[:, 1])


def test_a_beat_is_kept_if_it_is_whole_in_every_lead_and_the_first_says_why_not():
    signals = [noise(8000, number) for number in range(3)]
    signals[0][990:1010] = np.nan
    signals[1][1990:2010] = np.nan
    signals[1][2700:3300] = 0.7
    signals[2][3990:4010] = np.inf
    signals[0][4700:5300] = 0.7
    signals[1][5000] = np.nan  # where the first is flat, and the second not whole
    record = make_leads(signals, [1000, 2000, 3000, 4000, 5000, 6000, 7000, 7990], symbols=list("NVAFLRNN"))
    beats = extract_beats([record], lead="all")
    assert beats.samples.tolist() == [6000, 7000]
    lost = {("N", "non-finite"): 1, ("V", "non-finite"): 1, ("A", "flat"): 1, ("F", "non-finite"): 1, ("L", "flat"): 1, ("N", "edge"): 1}
    assert left_out(beats) == lost
    assert np.isfinite(beats.signals).all()


def test_the_first_and_the_last_window_that_fit_are_kept():
    signal = noise(1000)
    beats = extract_beats([make_record(signal, [107, 108, 1000 - 148, 1000 - 147])], band=None)
    assert beats.samples.tolist() == [108, 852]
    assert np.array_equal(beats.signals, np.stack([signal[:256], signal[-256:]]).astype(np.float32))
    assert left_out(beats) == {("N", "edge"): 2}
    alone = extract_beats([make_record(signal[:256], [108])], band=None)
    assert np.array_equal(alone.signals[0], signal[:256].astype(np.float32))


@pytest.mark.parametrize(("peak", "kept"), [(FLAT_MV, True), (FLAT_MV * 0.999, False)])
def test_what_moves_by_the_least_that_a_beat_moves_is_one(peak, kept):
    signal = np.zeros(3000)
    signal[[1000, 2000]] = peak, 1
    beats = extract_beats([make_record(signal, [1000, 2000])], band=None)
    assert beats.samples.tolist() == ([1000, 2000] if kept else [2000])
    assert left_out(beats) == ({} if kept else {("N", "flat"): 1})


def test_records_are_pulled_one_at_a_time_and_stay_in_order():
    made, held = [], []

    def make(number):
        record = make_record(noise(2000, number), [1000], name=f"r{number:02}")
        made.append(weakref.ref(record))
        held.append(sum(one() is not None for one in made))
        return record

    beats = extract_beats((make(number) for number in range(20)), workers=3)
    assert beats.records.tolist() == [f"r{n:02}" for n in range(20)]
    assert max(held) <= 4  # one a thread, and the one that is made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"before": -1}, "the window of -1 s before and 0.411111"),
        ({"before": -0.1, "after": 0.5}, "window"),
        ({"after": 0}, "0 s after the R peak is empty"),
        ({"before": 0, "after": 0}, "window"),
        ({"before": 0, "after": 1 / 360}, "window"),  # of one sample
        ({"band": (40, 0.5)}, "the band 40 to 0.5 Hz must lie between 0 and half of 360 Hz, low before high"),
        ({"band": (10, 10)}, "band"),
        ({"band": (0, 40)}, "band"),
        ({"band": (1, 180)}, "band"),
        ({"band": (1, 200)}, "band"),
        ({"lead": "V1"}, "no lead V1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(EcgsynthError, match=message):
        extract_beats([make_record(noise(2000), [1000])], **settings)


def test_the_narrowest_window_and_the_widest_band_are_taken():
    assert Window(before=1 / 360, after=1 / 360).n_samples == 2
    assert Window(before=0, band=(1e-3, 179.9)).n_before == 0


@pytest.mark.parametrize("n", [0, 1, 20, 100, 255])
def test_no_beat_at_all_is_an_error(n):
    with pytest.raises(EcgsynthError, match=r"^no beat could be cut: the records hold no beat annotation, or none fits its window$"):
        extract_beats([make_record(noise(n), [n // 2])])


def test_records_of_unlike_leads_are_not_cut_together():
    one, two = make_record(noise(900), [500]), make_leads([noise(900), noise(900, 1)], [500])
    with pytest.raises(EcgsynthError, match=r"^the records differ in their number of leads: choose one lead instead of all$"):
        extract_beats([one, two], lead="all")
    assert len(extract_beats([one, two])) == 2


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
