from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import AAMI_CLASSES, aami_classes
from ecgsynth.records import Record, read_record, write_record
from ecgsynth.simulate import simulate_beats, simulate_records

FS = 360.0
R = 108


@pytest.fixture(scope="module")
def records():
    return list(simulate_records())


@pytest.fixture(scope="module")
def beats(records):
    return extract_beats(records, source="simulated")


@pytest.fixture(scope="module")
def singles():
    return {name: simulate_beats(name, 300, rng=np.random.default_rng(5))[0] for name in AAMI_CLASSES}


def half_width(signals):
    """Seconds around the R peak where the signal is above half of it."""
    above = signals / signals[:, R : R + 1] > 0.5
    after = np.argmin(above[:, R:], axis=1)
    before = np.argmin(above[:, R::-1], axis=1)
    return (before + after - 1) / FS


def test_same_seed_same_records_other_seed_other_records():
    one, again, other = (list(simulate_records(n_patients=2, minutes=0.5, seed=seed)) for seed in (4, 4, 5))
    for first, second, third in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(first.signals, second.signals)
        np.testing.assert_array_equal(first.samples, second.samples)
        np.testing.assert_array_equal(first.symbols, second.symbols)
        assert (first.age, first.sex) == (second.age, second.sex)
        assert not np.array_equal(first.signals, third.signals)


def test_patients_do_not_depend_on_how_many_there_are(records):
    np.testing.assert_array_equal(next(simulate_records(n_patients=4)).signals, records[0].signals)


def test_global_generator_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    list(simulate_records(n_patients=1, minutes=0.5))
    simulate_beats("F", 3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_records_are_lazy_but_their_arguments_are_checked_at_once():
    assert next(simulate_records(n_patients=10**9, minutes=0.5)).name == "sim01"
    for wrong in ({"n_patients": 0}, {"minutes": 0.1}, {"minutes": float("nan")}, {"fs": 20}):
        with pytest.raises(EcgsynthError, match="at least 1 patient"):
            simulate_records(**wrong)


def test_record_fields(records):
    assert [record.name for record in records] == [f"sim{number:02d}" for number in range(1, 13)]
    for record in records:
        assert record.signals.dtype == np.float32
        assert record.signals.shape == (108_000, 1)
        assert record.leads == ("MLII",)
        assert np.isfinite(record.signals).all()
        assert np.abs(record.signals).max() < 4
        assert (np.diff(record.samples) > 0.25 * FS).all()
        assert np.diff(record.samples).max() < 2 * FS
        assert record.samples[0] >= 0
        assert 108_000 - 2 * FS < record.samples[-1] < 108_000
        assert 25 <= record.age < 90
        assert record.sex in ("F", "M")
    assert {record.sex for record in records} == {"F", "M"}


def test_classes_are_unbalanced_and_spread_over_patients(beats):
    counts = beats.counts()
    assert max(counts, key=counts.get) == "N"
    assert min(counts, key=counts.get) == "F"
    assert counts["F"] >= 60
    assert min(counts[name] for name in "NSVQ") >= 100
    assert all(len(set(beats.patients[beats.classes == name])) >= 3 for name in AAMI_CLASSES)
    assert {"N", "L", "R"} <= set(beats.symbols)


@pytest.mark.parametrize("n_patients", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", range(4))
def test_every_class_is_there_however_few_patients_or_short_the_record(n_patients, seed):
    with_class = [set(aami_classes(record.symbols)) for record in simulate_records(n_patients=n_patients, minutes=0.5, seed=seed)]
    assert set().union(*with_class) == set(AAMI_CLASSES)
    for name in "NSVF" + "Q" * (n_patients >= 9):
        assert sum(name in classes for classes in with_class) >= min(3, n_patients)


@pytest.mark.parametrize("fs", [128.0, 250.0, 360.0, 500.0])
def test_annotation_is_at_the_r_peak(fs):
    beats = extract_beats(simulate_records(minutes=1, fs=fs, seed=2), fs=fs, source="simulated")
    r, reach = beats.r_sample, round(0.06 * fs)
    for symbol, share in (("N", 1), ("R", 0.9), ("V", 0.9), ("/", 0.9)):
        around = np.abs(beats.signals[beats.symbols == symbol, r - reach : r + reach + 1])
        late = np.abs(np.argmax(around, axis=1) - reach) / fs
        assert (late <= 0.02).mean() >= share


def test_timing_of_each_class(beats, records):
    for record in records:
        own = beats.take(beats.records == record.name)
        usual = np.nanmedian(own.rr_before[own.classes == "N"])
        assert np.nanmax(own.rr_before[own.classes == "S"]) < 0.9 * usual
        assert np.nanmax(own.rr_before[own.classes == "V"]) < 0.9 * usual
        assert np.nanmin(own.rr_after[own.classes == "V"]) > 1.05 * usual
        assert np.nanmedian(own.rr_before[own.classes == "F"]) == pytest.approx(usual, rel=0.15)
        if (own.classes == "Q").any():
            assert np.nanstd(own.rr_before[own.classes == "Q"][1:]) < 0.004 < np.nanstd(own.rr_before[own.symbols == "N"])


def test_rr_of_normal_beats_breathes(records):
    rr = np.diff(records[0].samples)[10:200] / FS
    normal = (records[0].symbols[:-1] == "N") & (records[0].symbols[1:] == "N")
    rr = rr[normal[10:200]]
    assert 0.01 < rr.std() / rr.mean() < 0.08


def test_ventricular_and_paced_beats_are_wide_normal_ones_narrow(beats, singles):
    for signals in ({name: beats.signals[beats.classes == name] for name in "SVQ"} | {"N": beats.signals[beats.symbols == "N"]}, singles):
        width = {name: np.median(half_width(signals[name])) for name in "NSVQ"}
        assert width["V"] > 2 * width["N"]
        assert width["Q"] > 1.4 * width["N"]
        assert width["S"] < 1.2 * width["N"]
        assert np.median(np.ptp(signals["V"], axis=1)) > 1.3 * np.median(np.ptp(signals["N"], axis=1))


def test_bundle_branch_block_widens_the_qrs_complex(beats):
    assert np.median(half_width(beats.signals[beats.symbols == "L"])) > 2 * np.median(half_width(beats.signals[beats.symbols == "N"]))
    last_part = slice(R + 13, R + 26)  # 36 to 72 ms: the late S wave
    assert beats.signals[beats.symbols == "R", last_part].min(axis=1).max() < -0.2


def test_ventricular_t_is_discordant(singles):
    signals = singles["V"]
    t = signals[:, R + 70 : R + 110].mean(axis=1)
    assert (np.sign(t) == -np.sign(signals[:, R])).mean() > 0.95


def test_p_wave_is_there_in_normal_and_absent_in_ventricular_beats():
    quiet = {}
    for name in "NV":
        signals, rr_before, *_ = simulate_beats(name, 400, rng=np.random.default_rng(2))
        place = signals[rr_before > 0.6][:, R - 78 : R - 36]  # -217 to -100 ms
        ramp = np.linspace(0, 1, place.shape[1])
        quiet[name] = np.median(np.ptp(place - place[:, :1] * (1 - ramp) - place[:, -1:] * ramp, axis=1))
    assert quiet["N"] > 0.08
    assert quiet["V"] < 0.5 * quiet["N"]


def test_fusion_lies_between_the_patients_normal_and_ventricular_beats(beats, records):
    seen = 0
    for record in records:
        own = beats.take((beats.records == record.name) & np.isin(beats.classes, ["N", "V", "F"]))
        normal, ventricular = (own.signals[own.classes == name].mean(axis=0) for name in "NV")
        if ventricular[R] < 0:  # the two cancel, so the largest deflection moves and so does the window
            continue
        fusion = own.signals[own.classes == "F"]
        blend = np.stack([normal, ventricular], axis=1)
        weights, *_ = np.linalg.lstsq(blend, fusion.T, rcond=None)
        fit = [np.corrcoef(a, b)[0, 1] for a, b in zip(fusion, (blend @ weights).T, strict=True)]
        assert np.median(fit) > 0.95
        assert (np.abs(weights - 0.5) < 0.45).mean() > 0.9
        seen += 1
    assert seen >= 3


def test_paced_beats_have_a_spike_before_the_qrs_complex(records):
    for record in records:
        wave = record.signals[:, 0]
        jump = {}
        for symbol in ("/", "N"):
            peaks = record.samples[(record.symbols == symbol) & (record.samples > 100)]
            windows = wave[peaks[:, None] + np.arange(-46, -16)]  # -128 to -44 ms
            jump[symbol] = np.abs(np.diff(windows, 2, axis=1)).max(axis=1)  # a spike bends the signal as nothing else
        if len(jump["/"]):
            assert jump["/"].min() > 0.2 > jump["N"].max()


def test_every_annotation_is_kept_or_accounted_for(beats, records):
    lost = sum(count for *_, count in beats.info["left_out"])
    assert len(beats) + lost == sum(len(record.samples) for record in records)
    assert {reason for _, _, reason, _ in beats.info["left_out"]} <= {"edge"}
    assert beats.source == "simulated"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_written_record_reads_back(tmp_path, records, number):
    record = records[number]
    write_record(record, tmp_path / "new" / "folder")
    back = read_record(tmp_path / "new" / "folder" / record.name)
    np.testing.assert_allclose(back.signals, record.signals, atol=0.5 / 1000 + 1e-6)
    np.testing.assert_array_equal(back.symbols, record.symbols)
    np.testing.assert_array_equal(back.samples, record.samples)
    assert (back.name, back.leads, back.fs, back.age, back.sex) == (record.name, record.leads, record.fs, record.age, record.sex)


def test_write_record_clips_nothing_and_keeps_what_is_missing(tmp_path, records):
    signals = np.concatenate([records[0].signals[:3600] * 123.4, -records[0].signals[:3600]], axis=1)
    signals[100:200, 1] = np.nan
    few = records[0].samples < 3600
    record = Record("odd", signals, ("MLII", "V1"), FS, records[0].symbols[few], records[0].samples[few])
    write_record(record, tmp_path)
    back = read_record(tmp_path / "odd")
    step = np.nanmax(np.abs(signals)) / 32767
    np.testing.assert_allclose(back.signals, signals, atol=0.51 * step)
    assert np.isnan(back.age)
    assert back.sex == ""
    write_record(replace(record, name="half", sex="F"), tmp_path)
    assert read_record(tmp_path / "half").sex == "F"


@pytest.mark.parametrize("name", AAMI_CLASSES)
def test_single_beats(name):
    signals, rr_before, rr_after, rr_mean = simulate_beats(name, 50, rng=np.random.default_rng(1))
    assert signals.shape == (50, 256)
    assert {part.dtype for part in (signals, rr_before, rr_after, rr_mean)} == {np.dtype(np.float32)}
    assert rr_before.shape == rr_after.shape == rr_mean.shape == (50,)
    assert np.isfinite(signals).all()
    assert 0.25 < rr_before.min() < rr_before.max() < 1.3
    again, other = (simulate_beats(name, 50, rng=np.random.default_rng(seed))[0] for seed in (1, 2))
    np.testing.assert_array_equal(signals, again)
    assert not np.array_equal(signals, other)
    peak = np.argmax(np.abs(signals[:, R - 20 : R + 21]), axis=1) - 20
    assert (np.abs(peak) <= 7).mean() >= 0.8
    correlation = np.corrcoef(signals)
    assert correlation[np.triu_indices(50, 1)].max() < 0.9999  # no two alike


def test_single_beats_at_another_rate_and_length():
    signals, *_ = simulate_beats("N", 20, rng=np.random.default_rng(1), fs=250.0, n_before=50, n_after=100)
    assert signals.shape == (20, 150)
    assert (np.abs(np.argmax(signals, axis=1) - 50) <= 5).all()


def test_more_single_beats_than_are_drawn_at_a_time_and_none():
    assert simulate_beats("N", 2001, rng=np.random.default_rng(1))[0].shape == (2001, 256)
    assert simulate_beats("N", 0, rng=np.random.default_rng(1))[0].shape == (0, 256)


def test_unknown_class_is_refused_with_the_known_ones():
    with pytest.raises(EcgsynthError, match="unknown class 'X'; known: N, S, V, F, Q"):
        simulate_beats("X", 3, rng=np.random.default_rng(1))


def test_single_beats_look_like_those_cut_from_records(beats, singles):
    for name in AAMI_CLASSES:
        cut = np.ptp(beats.signals[beats.classes == name], axis=1)
        single = np.ptp(singles[name], axis=1)
        assert np.median(single) == pytest.approx(np.median(cut), rel=0.35)
