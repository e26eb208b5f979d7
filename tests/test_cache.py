"""Numbers are kept by all that they depend on, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.cache import Cache, content
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.evaluation import evaluate
from ecgsynth.generators import GENERATORS, class_counts


def test_what_was_made_once_is_not_made_again(tmp_path):
    kept, made = Cache(tmp_path), []
    for key in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}):
        assert kept.of(key, lambda key=key: made.append(key) or {"value": key["b"]}) == {"value": key["b"]}
    assert made == [{"a": 1, "b": 2}, {"a": 1, "b": 3}]
    assert Cache(tmp_path).read({"a": 1, "b": 2}) == {"value": 2}
    assert Cache().of({"a": 1}, lambda: 5) == 5
    assert Cache().read({"a": 1}) is None


def test_a_damaged_number_is_made_again_and_other_code_keeps_its_own(tmp_path, monkeypatch):
    kept = Cache(tmp_path)
    kept.write({"a": 1}, 7)
    with monkeypatch.context() as patch:
        patch.setattr("ecgsynth.cache._code", lambda: "other")
        assert kept.read({"a": 1}) is None
    assert kept.read({"a": 1}) == 7
    next(tmp_path.rglob("*.json")).write_text("{")
    assert kept.read({"a": 1}) is None


@pytest.mark.parametrize("change", ["signals", "classes", "rr_before", "patients", "r_sample"])
def test_content_tells_any_difference(split, change):
    beats = split.test
    value = getattr(beats, change)
    if change == "signals":
        other = value.copy()
        other[3, 5] = np.nextafter(other[3, 5], np.float32(9))
    else:
        other = value + 1 if change in ("rr_before", "r_sample") else value[::-1]
    assert content(replace(beats, **{change: other})) != content(beats)
    assert content(replace(beats, **{change: value})) == content(beats)


def test_an_evaluation_is_the_same_from_what_was_kept_and_learns_only_what_is_new(split, tmp_path, monkeypatch):
    learnt = []
    fit = BeatClassifier.fit_steps
    monkeypatch.setattr(BeatClassifier, "fit_steps", lambda self, beats, by: learnt.append(beats.source) or fit(self, beats, by=by))
    asked = {"train": split.train, "test": split.test, "val": split.val, "families": ("privacy",), "classifiers": ("cnn",)}
    asked |= {"rows": ("real", "synthetic", "real-on-synthetic", "memorizer"), "classifier": BeatClassifier(steps=4, width=4)}
    one, other = (GENERATORS["gaussian"]().fit(split.train).sample(class_counts(split.train), seed=seed) for seed in (0, 1))
    plain, first, again = (evaluate(synthetic=one, cache=cache, **asked) for cache in (None, Cache(tmp_path), Cache(tmp_path)))
    assert repr(plain.to_dict()) == repr(first.to_dict()) == repr(again.to_dict())
    assert len(learnt) == 2 * 3  # nothing the third time
    learnt.clear()
    changed = evaluate(synthetic=other, cache=Cache(tmp_path), **asked)
    assert learnt == ["simulated", "gaussian"]  # real beats again, to be tested on the new ones; copies are the same
    assert repr(changed.to_dict()) != repr(first.to_dict())


def test_nothing_that_is_kept_tells_of_patients(split, tmp_path):
    made = GENERATORS["class-mean"]().fit(split.train).sample(class_counts(split.train), seed=0)
    quick = {"classifiers": ("cnn",), "classifier": BeatClassifier(steps=4, width=4), "rows": ("real",), "families": ("privacy",)}
    evaluate(synthetic=made, train=split.train, test=split.test, val=split.val, cache=Cache(tmp_path), **quick)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert text
    assert not any(name in text for name in np.unique(split.train.patients).tolist())
