import copy
from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.errors import EcgsynthError
from ecgsynth.gate import MEASURES, REASONS, Gate, measure_shapes
from ecgsynth.generators import GENERATORS


def speaking(gate: Gate, beats: Beats) -> dict[str, float]:
    return dict(zip(REASONS, gate.check(beats).mean(axis=0).tolist(), strict=True))


def test_fresh_real_beats_pass(gate, split):
    assert gate.check(split.test).any(axis=1).mean() < 0.1
    assert gate.check(split.train).any(axis=1).mean() < 0.1


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("not finite", lambda signals: np.where(np.arange(256) == 9, np.nan, signals)),
        ("flat", lambda signals: 0.01 * signals / np.ptp(signals, axis=1, keepdims=True)),
        ("R peak", lambda signals: np.roll(signals, 40, axis=1)),
        ("amplitude", lambda signals: 9 * signals),
        ("baseline", lambda signals: signals + 2),
        ("spectrum", lambda signals: signals + 0.5 * (-1.0) ** np.arange(256)),
    ],
)
def test_each_kind_of_damage_is_told_by_its_name(gate, split, reason, spoil):
    normal = split.test.take(split.test.classes == "N")
    spoilt = replace(normal, signals=spoil(normal.signals).astype(np.float32))
    assert speaking(gate, normal)[reason] < 0.05
    assert speaking(gate, spoilt)[reason] > 0.9
    assert gate.check(spoilt).any(axis=1).all()


def test_beats_of_another_label_are_held_back_by_theirs(gate, split):
    ectopic = split.test.take(split.test.classes == "V")
    renamed = replace(ectopic, classes=np.full(len(ectopic), "N"), symbols=np.full(len(ectopic), "N"))
    assert speaking(gate, renamed)["label"] > 0.5


def test_copies_pass_and_class_means_do_not(gate, split):
    copies, means = (GENERATORS[name]().fit(split.train).sample({"N": 200, "V": 100}) for name in ("memorizer", "class-mean"))
    assert gate.check(copies).any(axis=1).mean() < 0.1
    assert gate.check(means).any(axis=1).mean() > 0.5


def test_measures_are_what_they_say():
    time = (np.arange(256) - 108) / 360
    bump = np.exp(-((time - 0.02) ** 2) / (2 * 0.015**2))
    beats = Beats(signals=np.stack([bump, 2 * bump - 0.5]), classes=np.array(["N", "N"]))
    found = measure_shapes(beats)
    assert list(found) == list(MEASURES)
    np.testing.assert_allclose(found["R peak"], 20, atol=1.5)
    np.testing.assert_allclose(found["amplitude"], [1, 2], rtol=0.01)
    np.testing.assert_allclose(found["baseline"], [0, -0.5], atol=0.01)
    np.testing.assert_allclose(found["QRS width"][0], found["QRS width"][1], rtol=1e-6)
    np.testing.assert_allclose(found["spectrum"], found["spectrum"][0], rtol=1e-3)  # all but the constant part counts
    narrow = Beats(signals=np.exp(-(time**2) / (2 * 0.008**2))[None], classes=np.array(["N"]))
    slim = measure_shapes(narrow)
    assert slim["QRS width"][0] < found["QRS width"][0]
    assert slim["spectrum"][0] > found["spectrum"][0]


def test_several_leads_are_measured_together(split):
    both = replace(split.test, signals=np.stack([split.test.signals, split.test.signals], axis=1))
    one, two = measure_shapes(split.test), measure_shapes(both)
    for name in MEASURES:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-5)


def test_what_is_said_of_a_beat_does_not_depend_on_the_others(gate, split):
    whole = gate.check(split.test)
    order = np.random.default_rng(0).permutation(len(split.test))
    np.testing.assert_array_equal(gate.check(split.test.take(order)), whole[order])
    np.testing.assert_array_equal(gate.check(split.test.take(np.arange(7))), whole[:7])
    assert gate.check(split.test.take(np.arange(0))).shape == (0, len(REASONS))


def test_a_gate_is_kept_whole(gate, split, tmp_path):
    gate.save(tmp_path / "gate.safetensors")
    again = Gate.load(tmp_path / "gate.safetensors")
    assert again.summary() == gate.summary()
    assert again.digest() == gate.digest()
    np.testing.assert_array_equal(again.check(split.test), gate.check(split.test))
    with pytest.raises(EcgsynthError, match="no gate at"):
        Gate.load(tmp_path / "none")
    (tmp_path / "text").write_text("no gate")
    with pytest.raises(EcgsynthError, match="is no gate"):
        Gate.load(tmp_path / "text")
    BeatClassifier(steps=2).fit(split.val).save(tmp_path / "other")
    with pytest.raises(EcgsynthError, match="is no gate"):
        Gate.load(tmp_path / "other")


@pytest.mark.parametrize("limit", [(np.nan, 1.0), (0.0, np.inf), (1.0, 0.0), (0.0, 1.0, 2.0), ("0", "1")])
def test_limits_that_nothing_can_be_held_against_are_refused(gate, tmp_path, limit):
    odd = replace(gate, limits={label: {**of, "amplitude": limit} for label, of in gate.limits.items()})
    odd.save(tmp_path / "odd.safetensors")
    with pytest.raises(EcgsynthError, match=r"is no gate of ecgsynth, or it is damaged .* amplitude cannot be"):
        Gate.load(tmp_path / "odd.safetensors")


def test_a_gate_refuses_what_it_does_not_know(gate, split):
    with pytest.raises(EcgsynthError, match="other leads, length"):
        gate.check(replace(split.test, fs=250.0))
    without = Gate.learn(split.train.take(split.train.classes != "F"), split.val, classifier=BeatClassifier(steps=5))
    with pytest.raises(EcgsynthError, match="knows no beats of class F"):
        without.check(split.test)
    with pytest.raises(EcgsynthError, match="no held-back beat of class F"):
        Gate.learn(split.train, split.val.take(split.val.classes != "F"))
    with pytest.raises(EcgsynthError, match="learnt from real beats"):
        Gate.learn(replace(split.train, source="flow"), split.val)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_no_gate_is_learnt_from_what_no_ecg_reaches(split, tmp_path, value):
    for side, name in (("val", "held-back"), ("train", "training")):
        sides = {"train": split.train, "val": split.val}
        signals = sides[side].signals.copy()
        signals[3, 7] = value
        sides[side] = replace(sides[side], signals=signals)
        with pytest.raises(EcgsynthError, match=rf"^1 of the {name} beats hold values that are not finite, or beyond 10,000 mV"):
            Gate.learn(*sides.values(), classifier=BeatClassifier(steps=2))


def test_a_gate_whose_weights_are_no_numbers_is_not_written(gate, tmp_path):
    broken = replace(gate, classifier=copy.deepcopy(gate.classifier))
    next(broken.classifier._net.parameters()).data.view(-1)[3] = np.nan
    with pytest.raises(EcgsynthError, match=r"what was learnt is broken: features\.0\.weight holds what is not a number"):
        broken.save(tmp_path / "gate")
    with pytest.raises(EcgsynthError, match="what was learnt is broken"):
        broken.classifier.save(tmp_path / "classifier")
    assert not list(tmp_path.iterdir())
