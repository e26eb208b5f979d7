"""Every number has its interval and yardsticks, and the controls come out as they must."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.families import FAMILIES, FROZEN_TITLE, Question, Sides, _patients_behind, choose_families
from ecgsynth.generators import GENERATORS
from ecgsynth.measures import measure
from ecgsynth.metrics.bootstrap import delete_half
from ecgsynth.scores import AS_REAL, Score, table
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import split_beats


@pytest.fixture(scope="module")
def sides():
    beats = extract_beats(simulate_records(n_patients=10, minutes=5, seed=1), source="simulated")
    return split_beats(beats.take(np.isin(beats.classes, ["N", "V"])), seed=0)


def measured(sides, name, seed=0, **settings):
    made = GENERATORS[name](**settings).fit(sides.train).sample({"N": 150, "V": 80}, seed=7)
    return measure(synthetic=made, train=sides.train, val=sides.val, test=sides.test, seed=seed)


@pytest.fixture(scope="module")
def memorizer(sides):
    return measured(sides, "memorizer")


@pytest.fixture(scope="module")
def class_mean(sides):
    return measured(sides, "class-mean")


ERRORS = ("RMSE to the nearest training beat, mV", "PRD to the nearest training beat, %")
MOVED = ("QRS duration moved, ms", "QT interval moved, ms", "R amplitude moved, mV", "T amplitude moved, mV", "ST level moved, mV")


def by_measure(scores, label="N"):
    return {score.measure: score for score in scores if score.label == label}


def test_every_number_has_its_interval_its_goal_and_both_yardsticks(memorizer):
    assert {score.label for score in memorizer} == {"N", "V", "all"}
    assert {score.family for score in memorizer if score.label == "all"} == {"fidelity", "privacy"}
    assert {score.family for score in memorizer} == {"fidelity", "physiology", "privacy"}
    assert len({(score.measure, score.label) for score in memorizer}) == len(memorizer)
    for score in memorizer:
        assert score.value.low <= score.value.value <= score.value.high or np.isnan(score.value.low)
    goals = {goal for family in FAMILIES for goal in family.goals.values()} | {AS_REAL}
    assert {score.goal for score in memorizer} == goals
    known = by_measure(memorizer)
    assert all(set(family.goals) <= set(known) for family in FAMILIES)


def test_no_interval_reaches_where_no_number_can_be(memorizer, class_mean):
    shares = {"precision", "recall", "coverage", "found out by trees, area", "near copies", "upright P", "upright T"}
    for score in (*memorizer, *class_mean):
        ends = [end for end in score.value[1:] if np.isfinite(end)]
        if score.measure != "MMD":
            assert all(end >= 0 for end in ends), score
        if score.measure in shares or score.measure.endswith("not normal"):
            assert all(end <= 1 for end in ends), score
    assert any(score.value.high == 1 for score in memorizer)


def test_beats_and_both_yardsticks_are_as_many_in_the_proportions_asked(sides, monkeypatch):
    """By the fewest of them: 24 synthetic V of 30 and more on every other side."""
    asked = []

    def ask(beats, own):
        asked.append((beats.counts(), own.test.counts()))
        return Question(lambda *_: {"asked": len(asked)}, (np.zeros(9), np.zeros(9)), (None, None))

    spy = [family._replace(ask=ask) for family in FAMILIES]
    monkeypatch.setattr("ecgsynth.families.FAMILIES", tuple(spy))
    made = GENERATORS["class-mean"]().fit(sides.train).sample({"N": 200, "V": 24}, seed=7)
    found = measure(synthetic=made, train=sides.train, val=sides.val, test=sides.test, families=("fidelity",))
    assert [(score.value.value, score.real, score.memorizer) for score in found][:2] == [(1, 2, 5), (8, 9, 12)]  # the mean of 3 to 7
    tested = sides.test.counts()
    assert tested["V"] > 24
    assert [counts for counts, _ in asked[7:14]] == [{"V": 24}] * 7
    mixed = asked[14][0]
    assert [counts for counts, _ in asked[14:]] == [mixed] * 7
    assert mixed["V"] / mixed["N"] == pytest.approx(tested["V"] / tested["N"], rel=0.05)


def test_patients_are_the_unit_where_they_were_divided_and_beats_elsewhere(sides):
    patients = split_beats(extract_beats(simulate_records(n_patients=24, minutes=1, seed=4), source="simulated"), scheme="patients", seed=0)
    own = Sides(train=patients.train, test=patients.test)
    np.testing.assert_array_equal(own.owners, patients.test.patients)
    assert Sides(train=sides.train, test=sides.test).owners is None  # the same patients stand on both sides
    unknown = replace(patients.test, patients=None)
    assert Sides(train=patients.train, test=unknown).owners is None
    ours = GENERATORS["memorizer"]().fit(patients.train).sample({"N": 60}, seed=1)
    for family in FAMILIES:
        question = family.ask(ours, own)
        assert [whose is not None for whose in question.whose] == [len(part) == len(own.test) for part in question.of]


def test_an_interval_of_a_ratio_to_other_patients_covers_it_with_others_of_them():
    """Fresh beats of many patients lie as near to twelve of one side as to twelve of another: whatever twelve these are."""
    beats = extract_beats(simulate_records(n_patients=2, minutes=1, seed=0), source="simulated")
    one = beats.take(beats.classes == "N").take(np.zeros(240, dtype=int))
    rng = np.random.default_rng(0)

    def side(name, patients):
        centres = np.repeat(rng.normal(0, 1, (patients, 6)), 240 // patients, axis=0) + rng.normal(0, 0.3, (240, 6))
        signals = np.pad(centres, ((0, 0), (0, one.n_samples - 6))).astype(np.float32)
        whose = np.repeat([f"{name}{number}" for number in range(patients)], 240 // patients)
        return replace(one, signals=signals, patients=whose)

    family, hits, narrow = choose_families(["privacy"])[0], 0, 0
    for seed in range(60):
        question = family.ask(side("s", 240), Sides(train=side("a", 12), test=side("b", 12)))
        found = delete_half(question.statistics, *question.of, patients=question.whose, fewest=10, seed=seed)
        ratio = found["distance to train over distance to test"]
        hits += ratio.low <= 1 <= ratio.high
        narrow += ratio.high - ratio.low < 0.6
    assert hits >= 52
    assert narrow >= 40


def test_a_copy_stands_with_the_patient_it_was_copied_from(sides):
    copies = GENERATORS["memorizer"]().fit(sides.train).sample({"N": 100}, seed=3)
    known = {beat.tobytes(): name for beat, name in zip(sides.train.signals, sides.train.patients, strict=True)}
    assert _patients_behind(copies, sides.train).tolist() == [known[beat.tobytes()] for beat in copies.signals]
    assert _patients_behind(sides.val, sides.train).tolist() == sides.val.patients.tolist()


def test_beats_are_warped_to_the_mean_of_their_own_class(sides):
    """Class means are no way from themselves, of all classes together too."""
    means = GENERATORS["class-mean"]().fit(sides.train).sample({"N": 30, "V": 30}, seed=1)
    for name in "NV":
        mean = sides.train.signals[sides.train.classes == name].mean(axis=0)
        means.signals[means.classes == name] = mean + np.random.default_rng(0).normal(0, 1e-6, (30, len(mean)))
    own = FAMILIES[0].ask(means, Sides(train=sides.train, test=sides.test))
    size = means.n_samples + 1  # after what trees suspect
    assert own.of[1][:, size].max() < 1e-3 < np.median(own.of[0][:, size])


def test_copies_pass_for_real_but_are_found_to_be_copies(memorizer):
    for label in "NV":
        scores = by_measure(memorizer, label)
        assert scores["near copies"].value.value == 1
        assert scores["near copies"].real < 0.1
        nearer = scores["distance to train over distance to test"]
        assert nearer.value.high < 0.01 < 0.3 < nearer.real
        assert scores["nearest patient over second nearest"].value.value < 0.01 < scores["nearest patient over second nearest"].real
        assert scores["coverage"].value.value > 0.9 * scores["coverage"].real
        assert abs(scores["MMD"].value.value) < 0.02
        assert scores[FROZEN_TITLE].value.value < 2 * scores[FROZEN_TITLE].real
        for name in ERRORS:  # to the train side, and no other
            assert scores[name].value.value < 1e-3 < 0.2 * scores[name].real, name
    normal = by_measure(memorizer, "N")
    for name in MOVED:
        assert normal[name].value.low < normal[name].real < normal[name].value.high, name


def test_class_means_with_noise_are_neither_real_nor_copies(class_mean):
    for label in "NV":
        scores = by_measure(class_mean, label)
        assert scores["near copies"].value.value == 0
        assert scores["precision"].value.value < 0.3 < scores["precision"].real
        for name in ("Fréchet distance, mV²", FROZEN_TITLE, "spectrum, dB", "warped distance to the class mean, mV"):
            assert scores[name].value.value > scores[name].real, name
        for name in ERRORS:
            assert scores[name].value.low > 3 * scores[name].real, name
        for name in ("distance to train over distance to test", "nearest patient over second nearest"):
            assert scores[name].value.low > 0.9 * scores[name].real, name
        assert scores["upright P"].goal == AS_REAL
    normal = by_measure(class_mean, "N")
    for name in MOVED:
        assert normal[name].value.low > 3 * normal[name].real, name


def test_on_real_records_copies_are_found_to_be_copies_and_class_means_are_not(mitdb_beats):
    real = split_beats(mitdb_beats.take(np.isin(mitdb_beats.classes, ["N", "S", "V"])), scheme="dechazal", seed=0)
    counts = {"N": 400, "S": 200, "V": 200}
    copies, means = (
        measure(
            synthetic=GENERATORS[name]().fit(real.train).sample(counts, seed=1),
            **{side: getattr(real, side) for side in ("train", "val", "test")},
            families=("privacy",),
        )
        for name in ("memorizer", "class-mean")
    )
    for label in "NSV":
        ours, theirs = by_measure(copies, label), by_measure(means, label)
        assert ours["near copies"].value.low > 0.99 > 0.2 > ours["near copies"].real
        assert theirs["near copies"].value.value <= theirs["near copies"].real
        for name in ("distance to train over distance to test", "nearest patient over second nearest"):
            assert ours[name].value.high < 0.01 < 0.1 < ours[name].real
            assert theirs[name].value.low > 0.9 * theirs[name].real


def test_on_real_records_copies_pass_for_real_and_class_means_do_not(mitdb_beats):
    real = split_beats(mitdb_beats.take(np.isin(mitdb_beats.classes, ["N", "V"])), scheme="beats", seed=0)
    copies, means = (
        measure(
            synthetic=GENERATORS[name]().fit(real.train).sample({"N": 150, "V": 150}, seed=1),
            **{side: getattr(real, side) for side in ("train", "val", "test")},
            families=("fidelity",),
        )
        for name in ("memorizer", "class-mean")
    )
    for label in "NV":
        ours, theirs = by_measure(copies, label), by_measure(means, label)
        assert ours["precision"].value.value > 0.8 * ours["precision"].real > 0.4
        assert theirs["precision"].value.value < 0.1
        assert ours["found out by trees, area"].value.value < 0.7 < 0.95 < theirs["found out by trees, area"].value.value
        for name in ("MMD", "Fréchet distance, mV²", "warped distance to the class mean, mV"):
            assert theirs[name].value.value > 2 * abs(ours[name].value.value), name


def test_yardsticks_do_not_depend_on_what_is_measured(memorizer, class_mean):
    one, other = (repr([(score.real, score.memorizer) for score in scores]) for scores in (memorizer, class_mean))
    assert one == other


def test_the_same_seed_gives_the_same_scores_whatever_the_order_of_beats(sides, unchanged_global_random):
    made = GENERATORS["class-mean"]().fit(sides.train).sample({"V": 24}, seed=7)
    real = {"train": sides.train, "val": sides.val, "test": sides.test}

    def measured(beats, seed=0):
        return measure(synthetic=beats, families=("fidelity", "privacy"), seed=seed, **real)

    one, again, other = measured(made), measured(made), measured(made, seed=1)
    assert repr(one) == repr(again) != repr(other)
    turned = measured(made.take(np.arange(len(made))[::-1]))  # fewer beats than are looked at: the same ones
    nearest = [[score.value.value for score in scores if score.family == "privacy"] for scores in (one, turned)]
    assert nearest[0] == pytest.approx(nearest[1], rel=1e-5)


def test_scores_come_back_from_json_and_are_set_in_a_table(memorizer):
    plain = json.loads(json.dumps([score.to_dict() for score in memorizer], allow_nan=False))
    assert repr([Score.from_dict(score) for score in plain]) == repr(memorizer)
    text = table(memorizer)
    assert len(text.splitlines()) == len(by_measure(memorizer)) + 3 + 2  # heads, and empty lines between families
    line = next(line for line in text.splitlines() if line.startswith("near copies"))
    assert line.split("  ")[0] == "near copies"
    assert " as real " in line
    assert "1.00 | " in line


def test_beats_of_unknown_patients_point_at_nobody(sides):
    unknown = {side: replace(getattr(sides, side), patients=None) for side in ("train", "val", "test")}
    made = GENERATORS["memorizer"]().fit(unknown["train"]).sample({"V": 30}, seed=7)
    found = by_measure(measure(synthetic=made, families=("privacy",), **unknown), "V")
    assert np.isnan(found["nearest patient over second nearest"].value.value)
    assert found["near copies"].value.value == 1


def test_beats_cut_otherwise_have_no_distance_in_frozen_features(sides, memorizer):
    assert FROZEN_TITLE in by_measure(memorizer)
    short = {side: replace(getattr(sides, side), signals=getattr(sides, side).signals[:, :200]) for side in ("train", "val", "test")}
    made = GENERATORS["class-mean"]().fit(short["train"]).sample({"V": 30}, seed=7)
    found = by_measure(measure(synthetic=made, families=("fidelity",), **short), "V")
    assert "MMD" in found
    assert FROZEN_TITLE not in found


def test_an_unknown_family_is_refused():
    with pytest.raises(EcgsynthError, match="unknown family beauty; known: fidelity, physiology, privacy"):
        choose_families(["privacy", "beauty"])


def test_two_leads_are_measured_together():
    beats = extract_beats(simulate_records(n_patients=24, minutes=2, seed=2), source="simulated")
    beats = beats.take(np.isin(beats.classes, ["N", "V"]))
    both = replace(beats, signals=np.stack([beats.signals, -0.5 * np.roll(beats.signals, 3, axis=1)], axis=1))
    real = split_beats(both, scheme="patients", seed=0)
    made = GENERATORS["memorizer"]().fit(real.train).sample({"N": 60, "V": 60}, seed=7)
    found = measure(synthetic=made, train=real.train, val=real.val, test=real.test)
    known = by_measure(found, "V")
    assert {name for family in FAMILIES for name in family.goals} - set(known) == {FROZEN_TITLE}  # whose classifier knows one lead
    assert all(np.isfinite(score.value.value) for score in found if score.label == "N")
    assert by_measure(found, "all")["membership of a patient, area"].value.value > 0.9
    assert known["near copies"].value.value == 1
    hidden = replace(made, signals=made.signals * np.array([[1], [-1]], dtype=np.float32))  # the second lead upside down
    turned = by_measure(measure(synthetic=hidden, train=real.train, val=real.val, test=real.test, families=("privacy",)), "V")
    assert turned["near copies"].value.value == 0


def test_of_too_few_beats_nothing_is_said_and_beats_of_another_length_are_refused(sides):
    model = GENERATORS["class-mean"]().fit(sides.train)
    real = {"train": sides.train, "val": sides.val, "test": sides.test}
    assert measure(synthetic=model.sample({"N": 10}), **real) == []
    with pytest.raises(EcgsynthError, match="differ in"):
        measure(synthetic=extract_beats(simulate_records(n_patients=6, minutes=1), before=0.2), **real)
