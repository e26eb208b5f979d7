from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import load_generator
from ecgsynth.records import Record
from ecgsynth.strips import arrange, draw, symbols_of


@pytest.fixture(scope="module")
def some(split) -> Beats:
    rng = np.random.default_rng(0)
    return split.train.take(np.sort(rng.permutation(len(split.train))[:300]))


def test_every_beat_has_one_place(some):
    order = arrange(some)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(some)))
    np.testing.assert_array_equal(arrange(some), order)


def test_neighbours_are_alike_and_ectopic_beats_stand_alone(some):
    placed = some.take(arrange(some))
    ectopic = np.isin(placed.classes, ["S", "V", "F"])
    assert not (ectopic[1:] & ectopic[:-1]).any()

    def unlike(beats: Beats) -> float:
        normal = beats.signals[beats.classes == "N"]
        return float(np.sqrt((np.diff(normal, axis=0) ** 2).mean(axis=1)).mean())

    shuffled = some.take(np.random.default_rng(1).permutation(len(some)))
    assert unlike(placed) < 0.5 * unlike(shuffled)


@pytest.mark.parametrize("classes", ["N", "V", "NV", "SVF"])
def test_any_mix_can_be_arranged(some, classes):
    part = some.take(np.isin(some.classes, list(classes)))
    for beats in (part, part.take(np.arange(1)), part.take(np.arange(3))):
        np.testing.assert_array_equal(np.sort(arrange(beats)), np.arange(len(beats)))


def test_r_peaks_are_annotated_and_beats_shown_as_they_are(some):
    placed = some.take(arrange(some))
    record = draw(placed, "strip")
    assert np.isfinite(record.signals).all()
    assert record.fs == some.fs
    np.testing.assert_array_equal(record.symbols, placed.symbols)
    around = np.arange(-28, 29)  # 80 ms to either side, where no neighbour reaches
    shown = record.signals[record.samples[:, None] + around, 0]
    near = (np.diff(record.samples, prepend=-1000) > 60) & (np.diff(record.samples, append=10**9) > 60)
    assert near.mean() > 0.95
    np.testing.assert_array_equal(shown[near], placed.signals[:, 108 + around][near])


def test_intervals_are_those_of_the_beats(some):
    placed = some.take(arrange(some))
    record = draw(placed, "strip")
    intervals = np.diff(record.samples) / record.fs
    ectopic = np.isin(placed.classes, ["S", "V", "F"])
    own_pause = ectopic[:-1] & ~ectopic[1:]
    wanted = np.where(own_pause, placed.rr_after[:-1], placed.rr_before[1:])
    known = np.isfinite(wanted)
    np.testing.assert_allclose(intervals[known], np.clip(wanted, 0.25, 3)[known], atol=0.5 / record.fs + 1e-6)
    assert own_pause.any()


def test_nothing_jumps(some):
    """The steps of the strip are no larger than those of the beats in it: there is no seam."""
    placed = some.take(arrange(some))
    record = draw(placed, "strip")
    largest = np.abs(np.diff(placed.signals, axis=1)).max()
    assert np.abs(np.diff(record.signals[:, 0])).max() < 1.2 * largest
    assert np.abs(record.signals[[0, -1]]).max() < 0.05


@pytest.mark.parametrize(("before", "after"), [(0, 0.4), (0.05, 0.4), (0.3, 0.05), (0.02, 0.02)])
def test_short_windows_make_a_strip_without_a_seam(records, before, after):
    beats = extract_beats(records, before=before, after=after, source="simulated")
    few = beats.take(np.arange(0, len(beats), 10))
    placed = few.take(arrange(few))
    record = draw(placed, "short")
    np.testing.assert_allclose(record.signals[record.samples, 0], placed.signals[:, placed.r_sample], atol=1e-6)
    largest = np.abs(np.diff(beats.signals, axis=1)).max()
    assert np.abs(np.diff(record.signals[:, 0])).max() < 1.2 * largest


def test_leads_without_names_are_numbered(some):
    both = replace(some, signals=np.stack([some.signals, some.signals], axis=1))
    for name, wanted in (("", ("ECG1", "ECG2")), ("V1+V1", ("ECG1", "ECG2")), ("V1+V2", ("V1", "V2"))):
        assert draw(replace(both, leads=np.full(len(some), name)), "both").leads == wanted
    assert draw(replace(some, leads=np.full(len(some), "")), "one").leads == ("ECG",)


def test_beats_that_are_too_near_still_make_a_strip(some):
    placed = some.take(np.arange(40))
    quick = replace(placed, rr_before=np.full(40, 0.01), rr_after=np.full(40, 0.01))
    record = draw(quick, "quick")
    np.testing.assert_array_equal(np.diff(record.samples), round(0.25 * 360))
    slow = replace(placed, rr_before=np.full(40, 60.0), rr_after=np.full(40, 60.0))
    np.testing.assert_array_equal(np.diff(draw(slow, "slow").samples), 3 * 360)


def test_beats_without_rhythm_and_of_several_leads(some):
    unknown = np.full(len(some), np.nan)
    both = replace(some, signals=np.stack([some.signals, -some.signals], axis=1), leads=np.full(len(some), "MLII+V1"))
    both = replace(both, rr_before=unknown, rr_after=unknown, rr_mean=unknown)
    record = draw(both.take(arrange(both)), "both")
    assert record.leads == ("MLII", "V1")
    np.testing.assert_array_equal(np.diff(record.samples), round(0.8 * 360))
    np.testing.assert_allclose(record.signals[180:-180, 0], -record.signals[180:-180, 1], atol=0.1)  # but for the noise between beats


def test_a_seed_makes_the_same_strip(some):
    long = replace(some, rr_before=np.full(len(some), 1.5))
    one, two, other = (draw(long, "strip", seed=seed).signals for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0


def test_what_cannot_be_drawn_is_refused(some):
    with pytest.raises(EcgsynthError, match="at least one beat"):
        draw(some.take(np.arange(0)), "none")
    with pytest.raises(EcgsynthError, match="of the same leads"):
        draw(replace(some, leads=np.where(np.arange(len(some)) % 2, "MLII", "V5")), "mixed")


def test_symbols_of_beats_that_know_only_their_class(some):
    unnamed = replace(some, symbols=np.full(len(some), ""))
    np.testing.assert_array_equal(symbols_of(unnamed), some.classes)
    np.testing.assert_array_equal(symbols_of(some), some.symbols)


def found_by(detector: str, record: Record) -> tuple[float, float]:
    """Sensitivity and positive predictivity of a detector of others, to 150 ms as ANSI/AAMI EC57 has it."""
    import neurokit2
    from wfdb.processing import compare_annotations, xqrs_detect

    signal = record.signals[:, 0].astype(float)
    if detector == "xqrs":
        found = xqrs_detect(signal, record.fs, verbose=False)
    else:
        found = neurokit2.ecg_peaks(neurokit2.ecg_clean(signal, record.fs), record.fs)[1]["ECG_R_Peaks"]
    compared = compare_annotations(record.samples, np.asarray(found), round(0.15 * record.fs))
    return compared.sensitivity, compared.positive_predictivity


@pytest.mark.parametrize("detector", ["xqrs", "neurokit2"])
def test_detectors_of_others_find_the_annotated_peaks(split, detector):
    normal = split.train.take(split.train.symbols == "N")
    record = draw(normal.take(arrange(normal)), "normal")
    assert min(found_by(detector, record)) >= 0.99
    shifted = replace(record, samples=record.samples + 90)  # a control that must fail
    assert max(found_by(detector, shifted)) < 0.5


def test_a_detector_finds_the_peaks_of_beats_learnt_from_mitdb():
    made = load_generator("mitdb").sample({"N": 4000}, lead="MLII", seed=0)
    assert min(found_by("xqrs", draw(made.take(arrange(made)), "normal"))) >= 0.99


def test_the_next_beat_of_a_window_is_left_out_where_another_follows():
    """A beat whose window shows an early next beat leads, in the strip, to one that comes late."""
    time = (np.arange(256) - 108) / 360
    beat, early = (np.exp(-((time - at) ** 2) / (2 * 0.01**2)) for at in (0, 0.3))
    beats = Beats(
        signals=np.stack([beat + early, beat]), classes=np.array(["N", "N"]), rr_before=np.full(2, 1.0), rr_after=np.array([0.3, 1.0])
    )
    record = draw(beats, "late")
    middle = record.signals[record.samples[0] + 40 : record.samples[1] - 40, 0]
    assert np.abs(middle).max() < 0.05
    assert np.abs(draw(replace(beats, rr_after=np.full(2, 1.0)), "shown").signals[record.samples[0] + 108]) > 0.9
