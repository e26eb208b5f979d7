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


def alike(beats: Beats, shape: np.ndarray, heights: np.ndarray) -> list[int]:
    """Chain beats that are multiples of one shape, by their distances worked out one by one: root mean square and 0.25 mV a factor of e."""
    points = np.column_stack([heights * np.sqrt((shape**2).mean()), 0.25 * np.log(beats.rr_before), 0.25 * np.log(beats.rr_after)])
    order = [int(np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin())]
    while left := [number for number in range(len(points)) if number not in order]:
        order.append(min(left, key=lambda number: np.linalg.norm(points[number] - points[order[-1]])))
    return order


@pytest.mark.parametrize("label", ["N", "V"])
@pytest.mark.parametrize(("count", "length"), [(40, 256), (8, 256), (7, 256), (1, 256), (12, 4)])
def test_the_next_beat_is_the_one_most_alike_in_waveform_and_rhythm(count, length, label):
    rng = np.random.default_rng(count)
    shape, heights = np.sin(np.arange(length)), rng.normal(0, 0.3, count)
    before, after = np.exp(rng.uniform(-1, 0.8, (2, count)))
    beats = Beats(signals=heights[:, None] * shape, classes=np.full(count, label), rr_before=before, rr_after=after)
    known = heights if count >= 8 else np.zeros(count)  # of fewer beats the rhythm alone counts
    assert arrange(beats).tolist() == alike(beats, shape, known)


def of_rhythm(classes: str, **rhythm: list[float]) -> Beats:
    return Beats(
        signals=np.zeros((len(classes), 256)), classes=np.array(list(classes)), **{name: np.array(rr) for name, rr in rhythm.items()}
    )


def test_rhythms_count_within_what_a_strip_can_show_and_unknown_ones_as_usual():
    """Of 0.8, 0.25 and 3 s the first is in the middle; 1 ms and 60 s are no further from it than those."""
    unknown, none = float("nan"), [0.8] * 5
    beats = of_rhythm("NNNNN", rr_before=[60, 0.001, unknown, 0.7, 3.0], rr_after=none)
    assert arrange(beats).tolist() == [2, 3, 1, 0, 4]  # 60 and 3 s are as near, of which the first is taken
    assert arrange(replace(beats, rr_before=np.array(none), rr_after=beats.rr_before)).tolist() == [2, 3, 1, 0, 4]


@pytest.mark.parametrize(
    ("rhythm", "wanted"),
    [
        ({"rr_mean": [0.95, 0.55], "rr_before": [0.4, 0.5], "rr_after": [0.9, 1.5]}, [4, 5]),
        ({"rr_mean": [0.55, 0.95], "rr_before": [0.4, 0.5], "rr_after": [0.9, 1.5]}, [5, 4]),
        ({"rr_mean": [np.nan, np.nan], "rr_before": [0.4, 0.5], "rr_after": [1.6, 0.9]}, [4, 5]),  # 0.8 and 0.67 s in the mean
        ({"rr_mean": [np.nan, np.nan], "rr_before": [0.4, 0.7], "rr_after": [1.0, 0.8]}, [5, 4]),  # 0.63 and 0.75 s
        ({"rr_mean": [0.65, np.nan], "rr_before": [0.4, 0.4], "rr_after": [2.0, 0.9]}, [4, 5]),  # 0.6 s
    ],
)
def test_ectopic_beats_stand_at_even_distances_where_the_rate_is_about_theirs(rhythm, wanted):
    """Of four normal beats in the order of their chain, they come before the second, which is slow, and the fourth."""
    normal = {"rr_before": [0.8, 0.84, 0.6, 0.5], "rr_after": [0.8, 0.8, 0.81, 0.8], "rr_mean": [0.8] * 4}
    beats = of_rhythm("NNNNVS", **{name: rr + rhythm[name] for name, rr in normal.items()})
    assert arrange(beats).tolist() == [0, wanted[0], 1, 2, wanted[1], 3]


def test_ectopic_beats_of_one_rate_keep_their_order():
    """Whatever a machine's sorting does with ties, a dataset has the same bytes."""
    beats = of_rhythm("N" * 40 + "V" * 60)
    order = arrange(replace(beats, signals=np.random.default_rng(0).normal(0, 0.1, (100, 256))))
    np.testing.assert_array_equal(order[order >= 40], np.arange(40, 100))
    assert np.diff(np.flatnonzero(order < 40)).max() <= 3  # one or two between two normal beats


def rising(share_of: int) -> np.ndarray:
    """Give half a cosine from 0 to 1, exclusive, in so many samples."""
    return (1 - np.cos(np.pi * np.arange(1, share_of + 1) / (share_of + 1))) / 2


FIRST, SECOND = (lambda length: 1 + np.arange(length) / 500), (lambda length: 3 - np.arange(length) / 300)


@pytest.mark.parametrize(
    ("interval", "after", "begin", "end", "shown"),
    [
        (1.5, np.nan, 256, 540, 256),  # the windows lie apart
        (0.5, 0.5, 180, 256, 256),  # they overlap
        (0.5, 0.5 - 0.5 / 360, 180, 256, 256),  # by a sample the interval may differ
        (0.5, 0.5 - 1.5 / 360, 180, 243, 243),  # the next beat came earlier, and is left out from 120 ms before it on
        (0.6, 0.3, 173, 216, 173),
        (256 / 360, 2.0, 247, 265, 256),  # they meet: 50 ms about that place
        (261 / 360, 2.0, 250, 268, 256),  # they nearly do
        (0.25, 0.25, 138, 169, 256),  # 80 ms after one R peak and before the other
    ],
)
def test_one_beat_passes_into_the_next_by_half_a_cosine(interval, after, begin, end, shown):
    one, two = FIRST(256), SECOND(256)
    beats = replace(of_rhythm("NN", rr_before=[0.8, interval], rr_after=[after, 2.0]), signals=np.stack([one, two]))
    record = draw(beats, "two")
    start = round(interval * 360)
    assert (record.name, record.fs, record.signals.dtype, record.signals.shape) == ("two", 360.0, np.float32, (180 + start + 256 + 180, 1))
    assert record.samples.tolist() == [288, 288 + start]
    at, share = np.arange(begin, end), rising(end - begin)
    passage = (1 - share) * one[np.minimum(at, shown - 1)] + share * two[np.maximum(at - start, 0)]
    edges = rising(180) * one[0], rising(180)[::-1] * two[-1]
    wanted = np.concatenate([edges[0], one[:begin], passage, two[end - start :], edges[1]])
    np.testing.assert_allclose(record.signals[:, 0], wanted, atol=2e-6)


@pytest.mark.parametrize(
    ("fs", "r_sample", "length", "interval", "begin", "end"),
    [
        (360.0, 10, 200, 0.5, 162, 180),  # there is little before the R peak: the last 50 ms before the window
        (360.0, 110, 120, 0.25, 120, 138),  # and here little after it: the first 50 ms behind it
        (20.0, 8, 20, 0.25, 11, 12),  # R peaks five samples apart, two of which each keeps to either side
    ],
)
def test_short_and_coarse_windows_pass_where_neither_r_peak_is(fs, r_sample, length, interval, begin, end):
    one, two = FIRST(length), SECOND(length)
    beats = replace(of_rhythm("NN", rr_before=[0.8, interval], rr_after=[3.0, 3.0]), signals=np.stack([one, two]), fs=fs, r_sample=r_sample)
    edge, start = round(fs / 2), round(interval * fs)
    found = draw(beats, "short").signals[edge : edge + start + length, 0]
    at, share = np.arange(begin, end), rising(end - begin)
    passage = (1 - share) * one[np.minimum(at, length - 1)] + share * two[np.maximum(at - start, 0)]
    np.testing.assert_allclose(found, np.concatenate([one[:begin], passage, two[end - start :]]), atol=2e-6)


def test_the_last_beat_ends_before_the_one_that_came_after_it():
    beats = replace(of_rhythm("N", rr_after=[0.3]), signals=FIRST(256)[None])
    wanted = np.concatenate([rising(180) * FIRST(1), FIRST(173), rising(263)[::-1] * FIRST(173)[-1]])
    np.testing.assert_allclose(draw(beats, "one").signals[:, 0], wanted, atol=2e-6)


def test_the_interval_after_an_ectopic_beat_is_its_pause_unless_another_follows():
    beats = of_rhythm("NVSN", rr_before=[0.81, 0.4, 0.5, 0.9], rr_after=[0.7, 0.6, 1.2, 1.0])
    assert np.diff(draw(beats, "pause").samples).tolist() == [144, 180, 432]


def test_r_peaks_are_at_least_a_sample_apart_at_any_rate():
    beats = replace(of_rhythm("NNN", rr_before=[0.3] * 3), signals=np.ones((3, 4)), fs=1.0, r_sample=1)
    assert draw(beats, "slow").samples.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [((2.0, 1.0), (1.0, 3.0)), ((1.0, 2.0), (1.0, 3.0)), ((0.0, 2.0), (2.0, 6.0)), ((2.0, 0.0), (2.0, 6.0)), ((0.0, 0.0), (0.0, 0.0))],
)
def test_the_baseline_is_as_rough_as_the_smoother_end_that_is_not_flat(ends, wanted):
    """Noise of known size at the ends of beats that lie far apart: its size, its shape and how its neighbours are alike, lead by lead."""
    count = 120
    signals = np.zeros((count, 2, 256))
    # Third differences of (0, 0, 0, 0, s) are 0 and s, and of white noise of 1 mV 20 mV^2 in the mean: s is sqrt(40) of a mV.
    signals[:, :, 0], signals[:, :, -1] = (end * 0.01 * 40**0.5 * np.array([1, 3]) for end in ends)
    beats = replace(of_rhythm("N" * count, rr_before=[3.0] * count), signals=signals, leads=np.full(count, "I+II"))
    record = draw(beats, "rough")
    between = record.signals[record.samples[:-1, None] + np.arange(148, 1080 - 108)]  # (gap, sample, lead)
    share = rising(between.shape[1])[:, None]
    noise = between - (1 - share) * signals[0, :, -1] - share * signals[0, :, 0]
    if not any(ends):
        np.testing.assert_allclose(noise, 0, atol=1e-6)
        return
    white = noise / (0.01 * np.array(wanted) * np.sin(np.pi * share))
    assert white.mean() == pytest.approx(0, abs=0.02)
    for lag, alike_by in enumerate([1, 2 / 3, 1 / 6, 0]):  # of 1, 2, 1
        products = (white[:, lag:] * white[:, : white.shape[1] - lag]).mean(axis=(0, 1))
        np.testing.assert_allclose(products, alike_by, atol=0.03)
    assert abs((white[..., 0] * white[..., 1]).mean()) < 0.02


@pytest.mark.parametrize(("interval", "between"), [(1.5, range(256, 540)), (0.5, ())])
def test_nothing_but_the_baseline_beside_and_between_windows_has_noise(interval, between):
    signals = np.zeros((2, 256))
    signals[:, [0, -1]] = 100
    beats = replace(of_rhythm("NN", rr_before=[0.8, interval], rr_after=[2.0, 2.0]), signals=signals)
    one, other = (draw(beats, "rough", seed=seed).signals[:, 0] for seed in (0, 1))
    edges = [*range(180)], [*range(len(one) - 180, len(one))]
    assert np.flatnonzero(one != other).tolist() == [*edges[0], *(180 + place for place in between), *edges[1]]


def test_the_seed_of_the_noise_is_0_unless_another_is_given(some):
    long = replace(some.take(np.arange(3)), rr_before=np.full(3, 1.5))
    usual, none, other = (draw(long, "strip", **given).signals for given in ({}, {"seed": 0}, {"seed": 1}))
    np.testing.assert_array_equal(usual, none)
    assert not np.array_equal(usual, other)


@pytest.mark.parametrize(
    ("n_leads", "name", "wanted"),
    [(1, "V1+V2", ("V1+V2",)), (2, "V1+", ("ECG1", "ECG2")), (3, "V1+V2", ("ECG1", "ECG2", "ECG3")), (3, "I+II+V1", ("I", "II", "V1"))],
)
def test_leads_are_named_as_the_beats_say_if_there_is_a_name_for_each(n_leads, name, wanted):
    signals = np.zeros((2, 256)) if n_leads == 1 else np.zeros((2, n_leads, 256))
    assert draw(Beats(signals=signals, classes=np.full(2, "N"), leads=np.full(2, name)), "named").leads == wanted


def test_every_class_has_its_general_symbol():
    beats = Beats(signals=np.zeros((5, 256)), classes=np.array(list("NSVFQ")), symbols=np.array(["", "", "E", "", ""]))
    assert symbols_of(beats).tolist() == ["N", "S", "E", "F", "Q"]
    assert draw(beats, "all").symbols.tolist() == ["N", "S", "E", "F", "Q"]
