from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.classifiers import NEW_PATIENTS, BeatClassifier, Neighbors, Trees
from ecgsynth.engine import Local
from ecgsynth.errors import EcgsynthError
from ecgsynth.evaluation import evaluate, evaluate_steps
from ecgsynth.findings import Evaluation
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.metrics.utility import score_classes
from ecgsynth.rows import ROWS
from ecgsynth.splits import split_beats
from ecgsynth.steps import drain
from ecgsynth.trials import ordered
from ecgsynth.vectors import log_rhythm

FAST = BeatClassifier(steps=60, batch=64, width=8)
QUICK = {"classifier": FAST, "classifiers": ("cnn",)}


@pytest.fixture(scope="module")
def synthetic(split):
    return GENERATORS["smote"]().fit(split.train).sample(class_counts(split.train), seed=0)


@pytest.fixture(scope="module")
def result(split, synthetic):
    return evaluate(
        synthetic=synthetic, train=split.train, test=split.test, seeds=(0, 1), classifier=FAST, classifiers=("cnn",), examples=5
    )


def test_the_classifier_learns_and_its_seed_decides(split, unchanged_global_random):
    one = BeatClassifier(steps=150, batch=64, width=8).fit(split.train).predict(split.test)
    two = BeatClassifier(steps=150, batch=64, width=8).fit(split.train).predict(split.test)
    assert np.array_equal(one, two)
    assert score_classes(annotated=split.test.classes, predicted=one, classes="NSVFQ").macro_f1 > 0.6


def test_shuffled_labels_teach_nothing(split):
    """The control that must fail: a classifier of shuffled labels is no better than chance."""
    shuffled = replace(split.train, classes=np.random.default_rng(0).permutation(split.train.classes))
    found = BeatClassifier(steps=150, batch=64, width=8).fit(shuffled).predict(split.test)
    assert score_classes(annotated=split.test.classes, predicted=found, classes="NSVFQ").macro_f1 < 0.35


def premature_beats(seed, *, mean):
    """Beats of noise whose class is told by the timing alone, and by that only beside what is usual for each patient."""
    rng = np.random.default_rng(seed)
    usual, early = rng.uniform(0.5, 1.3, 2000), rng.random(2000) < 0.5
    rr = usual * np.where(early, 0.75, 1.0) * rng.normal(1, 0.03, 2000)
    return Beats(
        signals=rng.normal(0, 0.1, (2000, 64)),
        classes=np.where(early, "S", "N"),
        rr_before=rr,
        rr_after=usual,
        rr_mean=usual if mean else None,
    )


def test_a_classifier_may_see_the_rhythm_beside_its_running_mean():
    def share_right(features, mean):
        learnt = BeatClassifier(features=features, steps=300).fit(premature_beats(0, mean=mean))
        test = premature_beats(1, mean=True)
        return np.mean(learnt.predict(test) == test.classes)

    assert share_right("shape+rr", mean=True) > 0.95
    assert share_right("shape", mean=True) < 0.6


def test_beats_that_lack_the_rhythm_that_a_classifier_knows_are_refused():
    learnt = BeatClassifier(features="shape+rr", steps=4).fit(premature_beats(0, mean=True))
    with pytest.raises(EcgsynthError, match="lack RR intervals"):
        learnt.predict(premature_beats(1, mean=False))
    with pytest.raises(EcgsynthError, match="lack RR intervals"):
        BeatClassifier(features="shape+rr").fit(replace(premature_beats(0, mean=False), rr_before=None))


def test_one_class_alone_cannot_be_learnt(split):
    with pytest.raises(EcgsynthError, match="two classes or more"):
        FAST.fit(split.train.take(split.train.classes == "N"))


def test_every_row_is_scored_for_every_seed_on_the_same_beats(result, split):
    assert set(result.rows) == set(ROWS)
    for row, scores in result.rows.items():
        assert len(scores) == 2
        asked = class_counts(split.train) if row.startswith("real-on") else split.test.counts()
        assert [sum(row) for row in scores[0].confusion] == list(asked.values())
    mean, deviation = result.spread("real")
    values = [scores.macro_f1 for scores in result.rows["real"]]
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert result.counts["test"] == split.test.counts()
    assert result.real.counts() == result.synthetic.counts() == dict.fromkeys("NSVFQ", 5)
    assert "trained on synthetic beats (TSTR)" in str(result)


def test_the_controls_stand_in_their_order(split):
    noise = GENERATORS["class-mean"]().fit(split.train).sample(class_counts(split.train), seed=5)
    classifier = BeatClassifier(steps=150, batch=64, width=8)
    found = evaluate(synthetic=noise, train=split.train, test=split.test, classifier=classifier, classifiers=("cnn",))
    macro = {row: found.spread(row)[0] for row in ROWS}
    assert macro["memorizer"] > macro["class-mean"] + 0.1
    assert abs(macro["memorizer"] - macro["real"]) < 0.15
    assert abs(macro["synthetic"] - macro["class-mean"]) < 0.15  # here they are the same thing


def test_the_test_side_chooses_nothing(split, synthetic):
    """Whatever stands on the test side, each beat common to two of them is called the same."""
    half = split.test.take(np.arange(0, len(split.test), 2))
    rest = split.test.take(np.arange(1, len(split.test), 2))
    found = [
        evaluate(synthetic=synthetic, train=split.train, test=test, rows=["real"], classes="NSVFQ", **QUICK)
        for test in (split.test, half, rest)
    ]
    whole, one, other = (np.array(result.rows["real"][0].confusion) for result in found)
    assert np.array_equal(whole, one + other)


def test_the_result_is_the_same_whatever_the_number_of_processes(split, synthetic):
    asked = {"synthetic": synthetic, "train": split.train, "val": split.val, "test": split.test, "rows": ["real", "synthetic"]}
    one, two = (evaluate(**asked, families=["privacy"], engine=Local(workers), **QUICK) for workers in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert one.measured


def test_progress_rises_to_1(split, synthetic):
    shares = [p.share for p in evaluate_steps(synthetic=synthetic, train=split.train, test=split.test, rows=["real", "synthetic"], **QUICK)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_saved_evaluation_loads_equal(result, tmp_path):
    result.save(tmp_path)
    again = Evaluation.load(tmp_path)
    assert again.to_dict() == result.to_dict()
    assert np.array_equal(again.real.signals, result.real.signals)
    with pytest.raises(EcgsynthError, match="no evaluation in"):
        Evaluation.load(tmp_path / "nothing")
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(EcgsynthError, match="damaged"):
        Evaluation.load(tmp_path)


def test_beats_that_do_not_fit_are_refused(split, synthetic):
    sides = {"train": split.train, "test": split.test}
    short = Beats(signals=synthetic.signals[:, :100], classes=synthetic.classes, source="x")
    with pytest.raises(EcgsynthError, match="differ in leads, length"):
        evaluate(synthetic=short, **sides)
    with pytest.raises(EcgsynthError, match="unknown row"):
        evaluate(synthetic=synthetic, rows=["x"], **sides)
    with pytest.raises(EcgsynthError, match="must be real"):
        evaluate(synthetic=synthetic, train=synthetic, test=split.test)
    only_n = synthetic.take(synthetic.classes == "N")
    with pytest.raises(EcgsynthError, match="no synthetic beat of class S, V, F, Q"):
        evaluate(synthetic=only_n, **sides)


@pytest.mark.parametrize("side", ["synthetic", "train", "val", "test"])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e20])
def test_beats_that_no_ecg_reaches_are_refused(split, synthetic, side, value):
    sides = {"synthetic": synthetic, "train": split.train, "val": split.val, "test": split.test}
    signals = sides[side].signals.copy()
    signals[3, 7] = value
    with pytest.raises(EcgsynthError, match=rf"^1 of the {side} beats hold values .* leave them out \(the first is number 3"):
        evaluate(**sides | {side: replace(sides[side], signals=signals)}, families=(), **QUICK)


@pytest.mark.parametrize(("value", "rate"), [(np.nan, 1e-3), (1e30, 1e-3), (0.0, 1e30)])
def test_a_network_that_comes_to_no_numbers_says_so(split, value, rate):
    signals = split.train.signals.copy()
    signals[:5, 7] = value
    learns = BeatClassifier(steps=20, width=4, rate=rate)
    with pytest.raises(EcgsynthError, match="a classifier has come to what is no number"):
        learns.fit(replace(split.train, signals=signals))
    with pytest.raises(EcgsynthError, match="a classifier has come to what is no number"):
        BeatClassifier(steps=1, width=4).fit(Beats(signals=np.full((4, 256), 3e38), classes=["N", "N", "V", "V"]))


def test_classes_can_be_chosen(split, synthetic):
    found = evaluate(synthetic=synthetic, train=split.train, test=split.test, classes="NV", rows=["real"], **QUICK)
    assert found.classes == ("N", "V")
    assert set(found.counts["test"]) == {"N", "V"}


def test_what_is_trained_on_real_beats_is_tested_on_synthetic_ones_without_learning_again(result, split, synthetic):
    """TRTS asks the very classifier of TRTR: both rows of a seed agree where the synthetic beats are the test beats."""
    copies = replace(split.test, source="copies")
    found = evaluate(synthetic=copies, train=split.train, test=split.test, rows=("real-on-synthetic", "real"), **QUICK)
    assert found.rows["real-on-synthetic"][0].confusion == found.rows["real"][0].confusion
    assert result.rows["real-on-synthetic"][0].by_patient is None  # synthetic beats are nobody's


def test_copies_in_the_place_of_synthetic_beats_are_judged_as_synthetic_beats_are(split):
    """The yardstick of copies is what comes of an evaluation of copies: nearest neighbours draw nothing but the copies themselves."""
    copies = GENERATORS["memorizer"]().fit(ordered(split.train)).sample(class_counts(split.train), seed=0)
    found = evaluate(synthetic=copies, train=split.train, test=split.test, classifiers=("neighbors",))
    for ours, yardstick in (("synthetic", "memorizer"), ("real-on-synthetic", "real-on-memorizer"), ("real+synthetic", "real+memorizer")):
        assert found.rows[ours][0].confusion == found.rows[yardstick][0].confusion, ours


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.copies and "synthetic" in (*row.learns, row.tested_on)])
def test_the_yardstick_of_a_row_has_copies_in_the_place_of_synthetic_beats(name):
    row, copied = ROWS[name], ROWS[ROWS[name].copies]
    asked, of_copies = ([*each.learns, each.tested_on, each.share] for each in (row, copied))
    assert of_copies == ["memorizer" if part == "synthetic" else part for part in asked]


def test_three_kinds_of_classifiers_learn(split):
    rows = ("real", "class-mean")
    found = evaluate(synthetic=replace(split.train, source="x"), train=split.train, test=split.test, rows=rows, classifier=FAST)
    assert list(found.classifiers) == ["cnn", "trees", "neighbors"]
    for name in ("trees", "neighbors"):
        assert found.spread("real", classifier=name)[0] > 0.6 > found.spread("class-mean", classifier=name)[0] + 0.1
    assert {line.split()[0] for line in str(found).splitlines() if "macro-F1" in line} == {"cnn", "trees", "neighbors"}
    with pytest.raises(EcgsynthError, match="unknown classifier oracle; known: cnn, trees, neighbors"):
        evaluate(synthetic=split.train, train=split.train, test=split.test, classifiers=("oracle",))


@pytest.mark.parametrize("classifier", [Trees, Neighbors])
def test_plain_classifiers_may_see_the_rhythm(classifier):
    def share_right(features):
        test = premature_beats(1, mean=True)
        learnt = classifier(features=features)
        drain(learnt.fit_steps(premature_beats(0, mean=True)))
        return np.mean(learnt.predict(test) == test.classes)

    assert share_right("shape+rr") > 0.95
    assert share_right("shape") < 0.6


def test_real_beats_are_joined_by_a_part_of_the_synthetic_ones(split, synthetic, monkeypatch):
    learnt = []
    monkeypatch.setattr("ecgsynth.evaluation.BeatClassifier.fit_steps", lambda self, beats, by: learnt.append(beats) or iter(()))
    monkeypatch.setattr("ecgsynth.evaluation.BeatClassifier.predict", lambda self, beats: beats.classes)
    evaluate(synthetic=synthetic, train=split.train, test=split.test, rows=("real", "real+quarter", "real+half", "real+synthetic"), **QUICK)
    added = [len(beats) - len(split.train) for beats in learnt]
    assert added == [0, round(len(synthetic) / 4), round(len(synthetic) / 2), len(synthetic)]
    real = {beat.tobytes() for beat in split.train.signals}
    assert all({beat.tobytes() for beat in beats.signals[: len(split.train)]} == real for beats in learnt)


def test_the_order_of_beats_does_not_matter(split, synthetic):
    rng = np.random.default_rng(0)
    sides = {"synthetic": synthetic, "train": split.train, "val": split.val, "test": split.test}
    sides = {name: beats.take(np.isin(beats.classes, ["N", "V"])) for name, beats in sides.items()}
    shuffled = {name: beats.take(rng.permutation(len(beats))) for name, beats in sides.items()}
    asked = {"rows": ("real", "synthetic", "real+half", "class-mean"), "classifier": FAST}
    one, other = (evaluate(**beats, **asked) for beats in (sides, shuffled))
    assert {score.family for score in one.scores()} == {"utility", "fidelity", "physiology", "privacy"}
    assert repr(one.scores()) == repr(other.scores())


def test_a_beat_is_called_the_same_whatever_is_asked_with_it(split):
    many = split.test.take(np.arange(1300) % len(split.test))  # more than are asked about at a time
    for learnt in (BeatClassifier(steps=20, width=8, members=2), Trees(), Neighbors()):
        drain(learnt.fit_steps(split.train))
        together = learnt.predict(many)
        assert [learnt.predict(many.take(np.array([place])))[0] for place in range(0, 1300, 130)] == together[::130].tolist()


def test_on_real_records_copies_teach_what_real_beats_do_and_class_means_do_not(mitdb_beats):
    real = split_beats(mitdb_beats.take(np.isin(mitdb_beats.classes, ["N", "S", "V"])), scheme="dechazal", seed=0)
    train, test = (side.take(np.arange(0, len(side), 5)) for side in (real.train, real.test))
    copies = GENERATORS["memorizer"]().fit(train).sample(class_counts(train), seed=0)
    asked = {"rows": ("real", "synthetic", "class-mean"), "classifiers": ("trees",), "families": ()}
    found = evaluate(synthetic=copies, train=train, test=test, **asked)
    macro = {row: found.spread(row, classifier="trees")[0] for row in asked["rows"]}
    assert abs(macro["synthetic"] - macro["real"]) < 0.08
    assert macro["class-mean"] < macro["real"] - 0.1


def test_the_published_protocol_draws_as_many_of_each_class(split, synthetic):
    rows = ("real", "synthetic")
    found = evaluate(synthetic=synthetic, train=split.train, test=split.test, rows=rows, protocol="tts-cgan", **QUICK)
    assert set(found.counts["test"].values()) == {500}
    assert set(found.counts["synthetic"].values()) == {800}
    assert set(found.counts["train"].values()) == {200}
    assert [sum(row) for row in found.rows["synthetic"][0].confusion] == [500] * 5
    assert found.settings["protocol"] == "tts-cgan"


def test_every_number_has_an_interval_a_goal_and_yardsticks(result):
    scores = {(score.measure, score.label): score for score in result.scores()}
    whole = scores["macro-F1 of TSTR, cnn", "all"]
    assert whole.value.value == pytest.approx(result.spread("synthetic")[0])
    assert whole.value.low < whole.value.value < whole.value.high
    assert (whole.real, whole.memorizer) == pytest.approx((result.spread("real")[0], result.spread("memorizer")[0]))
    assert scores["Se of TSTR, cnn", "V"].value.value == pytest.approx(result.by_class("synthetic", "sensitivity")["V"])
    assert scores["macro-F1 of TRTS, cnn", "all"].value.value == pytest.approx(result.spread("real-on-synthetic")[0])
    assert scores["F1 of TRTR, cnn", "V"].value.value == pytest.approx(result.by_class("real")["V"])
    tested = scores["macro-F1 of TRTS, cnn", "all"]
    assert (tested.real, tested.memorizer) == pytest.approx((result.spread("real")[0], result.spread("real-on-memorizer")[0]))
    gain = scores["macro-F1 of real+synthetic over real, cnn", "all"]
    real, *joined = (result.spread(row)[0] for row in ("real", "real+synthetic", "real+memorizer"))
    assert (gain.value.value, gain.memorizer) == pytest.approx([macro - real for macro in joined])
    assert np.isnan(scores["macro-F1 of real+half over real, cnn", "all"].memorizer)
    assert scores["VEB FPR of TSTR, cnn", "all"].goal == "less is better"
    assert whole.goal == "more is better"


def test_measures_are_taken_where_there_are_fresh_beats(split, synthetic):
    given = {"synthetic": synthetic, "train": split.train, "test": split.test, "rows": ("real",), **QUICK}
    found = evaluate(val=split.val, families=("privacy",), **given)
    assert {score.family for score in found.measured} == {"privacy"}
    assert evaluate(families=("privacy",), **given).measured == ()
    with pytest.raises(EcgsynthError, match="unknown family beauty"):
        evaluate(val=split.val, families=("beauty",), **given)


def test_every_setting_of_the_classifier_is_used(split, synthetic):
    given = BeatClassifier(**NEW_PATIENTS | {"steps": 4, "augment": True})
    result = evaluate(synthetic=synthetic, train=split.train, test=split.test, rows=("real",), classifier=given, classifiers=("cnn",))
    assert result.settings["classifier"] == given.settings
    assert {name: given.settings[name] for name in ("augment", "positions")} == {"augment": True, "positions": 4}


def test_all_rows_are_told_the_same_of_the_rhythm(split, synthetic, monkeypatch):
    told = []
    monkeypatch.setattr("ecgsynth.classifiers.network.told_rhythm", lambda beats, n_rhythm: told.append(n_rhythm) or log_rhythm(beats, 2))
    rows = {"rows": ("real", "synthetic"), "classifier": BeatClassifier(features="shape+rr", steps=4), "classifiers": ("cnn",)}
    for made, expected in ((synthetic, 3), (replace(synthetic, rr_mean=None), 2)):
        told.clear()
        evaluate(synthetic=made, train=split.train, test=split.test, **rows)
        assert set(told) == {expected}


def test_beats_that_were_learnt_from_nobody_are_at_home_on_any_split(split):
    def at_home(name, side):
        made = GENERATORS[name]().fit(side).sample({"N": 30, "V": 30})
        brief = {
            "classifier": BeatClassifier(steps=2, width=8, batch=16),
            "classifiers": ("cnn",),
            "rows": ("synthetic",),
            "families": (),
            "classes": "NV",
        }
        return evaluate(synthetic=made, train=split.train, test=split.test, seeds=(0,), **brief).settings["learnt_from_this_train_side"]

    assert at_home("ecgsyn", split.train)
    assert at_home("ecgsyn", split.val)
    assert at_home("gaussian", split.train)
    assert at_home("gaussian", split.train.take(split.train.classes != "F"))  # too rare to be learnt; of the others two are asked for
    assert not at_home("gaussian", split.train.take(split.train.classes != "S"))
    assert not at_home("gaussian", split.val)


def test_beats_of_classes_that_are_not_scored_are_nowhere(split, monkeypatch):
    seen = {}
    monkeypatch.setattr("ecgsynth.evaluation.measuring", lambda **sides: seen.update(sides) or [])
    made = GENERATORS["gaussian"]().fit(split.train).sample({"N": 30, "V": 30, "Q": 30})
    evaluate(synthetic=made, train=split.train, test=split.test, val=split.val, classes=["N", "V"], rows=("synthetic",), **QUICK)
    assert [set(seen[side].counts()) for side in ("synthetic", "train", "val", "test")] == [{"N", "V"}] * 4


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"by": "foo"}, "unknown kind of labels foo; known: class, symbol"),
        ({"classes": []}, "there is no class to score"),
        ({"seeds": ()}, "a seed at least"),
        ({"rows": ()}, "a row"),
        ({"classifiers": ()}, "a classifier"),
    ],
    ids=str,
)
def test_what_asks_for_nothing_is_refused(split, synthetic, asked, why):
    with pytest.raises(EcgsynthError, match=why):
        evaluate(synthetic=synthetic, train=split.train, test=split.test, **QUICK | asked)
