"""Classifiers are kept in files that run nothing, and one of them comes with the package."""

from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.classifiers import NEW_PATIENTS, BeatClassifier, network_for
from ecgsynth.classifiers.frozen import PATH, frozen_features
from ecgsynth.errors import EcgsynthError
from ecgsynth.metrics.utility import score_classes
from ecgsynth.mixing import with_means
from ecgsynth.splits import split_beats


@pytest.mark.parametrize("features", ["shape", "shape+rr"])
def test_a_saved_classifier_says_the_same(split, tmp_path, features, unchanged_global_random):
    learnt = BeatClassifier(features=features, steps=30, width=4, positions=4, seed=3).fit(split.train)
    learnt.save(tmp_path / "c.safetensors")
    again = BeatClassifier.load(tmp_path / "c.safetensors")
    assert again.settings == learnt.settings
    assert again.seed == 3
    assert again.classes_ == learnt.classes_
    assert np.array_equal(again.probabilities(split.test), learnt.probabilities(split.test))
    assert again.fits(split.test)
    assert not again.fits(replace(split.test, signals=split.test.signals[:, :200]))
    with pytest.raises(EcgsynthError, match="exists"):
        learnt.save(tmp_path / "c.safetensors")


def test_a_committee_gives_the_mean_probability_of_networks_that_learnt_by_other_chance(split, tmp_path):
    settings = {"features": "shape+rr", "steps": 20, "width": 4}
    both = BeatClassifier(**settings, members=2).fit(split.train)
    alone = [BeatClassifier(**settings, seed=seed).fit(split.train).probabilities(split.test) for seed in (0, 10_007)]
    assert not np.allclose(*alone)
    np.testing.assert_allclose(both.probabilities(split.test), np.mean(alone, axis=0), atol=1e-6)
    both.save(tmp_path / "both.safetensors")
    again = BeatClassifier.load(tmp_path / "both.safetensors")
    np.testing.assert_array_equal(again.probabilities(split.test), both.probabilities(split.test))
    assert both.embed(split.test).shape == (len(split.test), 2 * 4 * 4)
    shares = list(BeatClassifier(**settings, members=2).fit_steps(split.train))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for members in (0, 65):
        with pytest.raises(EcgsynthError, match="members must be 1 to 64"):
            BeatClassifier(members=members)


def test_what_is_no_classifier_is_refused(tmp_path):
    with pytest.raises(EcgsynthError, match="no classifier at"):
        BeatClassifier.load(tmp_path / "none")
    (tmp_path / "text").write_text("not weights")
    with pytest.raises(EcgsynthError, match="no classifier of"):
        BeatClassifier.load(tmp_path / "text")


def test_features_of_the_frozen_classifier_do_not_depend_on_the_beats_beside(split):
    features = frozen_features(split.test)
    assert features.shape == (len(split.test), 64)
    alone = np.concatenate([frozen_features(split.test.take(np.array([place]))) for place in range(5)])
    assert alone == pytest.approx(features[:5], abs=1e-5)
    assert frozen_features(Beats(signals=np.zeros((3, 100)), classes=["N"] * 3)) is None


def test_the_frozen_classifier_knows_arrhythmias(mitdb_beats):
    """Its card says a macro-F1 of 0.948 on the val side; the digest of what it learnt from is there, too."""
    split = split_beats(mitdb_beats, scheme="beats", seed=0)
    predicted = BeatClassifier.load(PATH).predict(split.val)
    scores = score_classes(annotated=split.val.classes, predicted=predicted, classes="NSVFQ")
    card = PATH.with_suffix(".md").read_text()
    assert f"macro-F1 {scores.macro_f1:.3f}" in card
    assert split.train.digest() in card


def test_the_network_is_set_for_new_patients_where_there_are_some(split):
    assert network_for("beats", split.train).settings == BeatClassifier().settings
    for scheme in ("patients", "dechazal"):
        assert network_for(scheme, split.train).settings == BeatClassifier(**NEW_PATIENTS).settings
    assert network_for("patients", split.train, steps=7, features=None).settings == BeatClassifier(**NEW_PATIENTS | {"steps": 7}).settings
    without = replace(split.train, rr_before=None)
    assert network_for("patients", without).settings == BeatClassifier().settings  # it cannot be told the rhythm


def test_means_are_learnt_beside_the_beats_where_they_are_asked_for(split, tmp_path):
    settings = {"features": "shape+rr", "steps": 20, "width": 4, "seed": 2}
    learnt = BeatClassifier(**settings, across=3).fit(split.train)
    same = BeatClassifier(**settings).fit(with_means(split.train, 3, seed=2))
    found = learnt.probabilities(split.test)
    assert np.array_equal(found, same.probabilities(split.test))
    assert not np.array_equal(found, BeatClassifier(**settings).fit(split.train).probabilities(split.test))
    learnt.save(tmp_path / "c.safetensors")
    assert np.array_equal(BeatClassifier.load(tmp_path / "c.safetensors").probabilities(split.test), found)
    with pytest.raises(EcgsynthError, match="across must be at least 1"):
        BeatClassifier(across=0)


def test_a_classifier_that_scales_beats_is_told_nothing_by_their_size(split):
    larger = replace(split.test, signals=(2 * split.test.signals + 0.1).astype(np.float32))
    moved = {}
    for scaled in (False, True):
        learnt = BeatClassifier(steps=60, width=4, scaled=scaled).fit(split.train)
        moved[scaled] = np.abs(learnt.probabilities(larger) - learnt.probabilities(split.test)).max()
    assert moved[True] < 0.1 < moved[False]
