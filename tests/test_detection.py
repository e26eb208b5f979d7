from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.generators import GENERATORS
from ecgsynth.metrics.detection import area, detection_score, suspicions


def test_few_beats_of_the_same_kind_are_not_told_apart():
    """Features of one side alone would lie nearer to its own beats, all the more the fewer there are."""
    rng = np.random.default_rng(0)
    one, other = (Beats(signals=rng.normal(0, 1, (120, 256)), classes=np.full(120, "N")) for _ in range(2))
    assert detection_score(real=one, synthetic=other) == pytest.approx(0.5, abs=0.12)


def test_detection_finds_hiss_but_not_other_real_beats(split):
    real = split.train
    half = np.arange(len(real)) % 2 == 0
    same = detection_score(real=real.take(half), synthetic=real.take(~half))
    noise = GENERATORS["class-mean"]().fit(real).sample(real.take(half).counts())
    copies = GENERATORS["memorizer"]().fit(real).sample(real.take(half).counts())
    assert same == pytest.approx(0.5, abs=0.1)
    assert detection_score(real=real.take(half), synthetic=noise) > 0.99
    assert detection_score(real=real.take(half), synthetic=copies) < 0.65


def beats_of(patients, seed):
    """Sixty beats each of patients who are of one kind, but like themselves first."""
    rng = np.random.default_rng(seed)
    signals = np.repeat(rng.normal(0, 1, (patients, 1, 32)), 60, axis=1) + rng.normal(0, 0.1, (patients, 60, 32))
    whose = np.repeat([f"{seed}-{number}" for number in range(patients)], 60)
    return Beats(signals=np.repeat(signals.reshape(-1, 32), 8, axis=1), classes=np.full(60 * patients, "N"), patients=whose)


def test_other_patients_of_one_kind_are_not_told_apart_by_trees_that_did_not_learn_from_them():
    one, other = beats_of(20, 0), beats_of(20, 1)
    known = suspicions(real=one, synthetic=other, patients=(one.patients, other.patients))
    assert area(real=known[0], synthetic=known[1]) == pytest.approx(0.5, abs=0.2)
    assert detection_score(real=one, synthetic=other) > 0.95  # by their patients, who are in both folds


def test_noise_is_found_out_in_patients_that_trees_did_not_learn_from_and_one_patient_is_taken_by_beats():
    one, other = beats_of(10, 0), beats_of(10, 1)
    other = Beats(signals=other.signals + np.random.default_rng(2).normal(0, 1, other.signals.shape), classes=other.classes)
    near = np.repeat([f"p{number}" for number in range(10)], 60)
    found = suspicions(real=one, synthetic=other, patients=(one.patients, near))
    assert area(real=found[0], synthetic=found[1]) > 0.95
    alone = suspicions(real=one, synthetic=other, patients=(one.patients, np.full(600, "p")))
    np.testing.assert_array_equal(alone, suspicions(real=one, synthetic=other))


def of_two_shapes(side, counts):
    """Give every patient as many beats of one shape as of the other."""
    signals = np.repeat((np.arange(sum(counts)) % 2)[:, None], 256, axis=1)
    whose = np.repeat([f"{side}{number}" for number in range(len(counts))], counts)
    return Beats(signals=signals.astype(np.float32), classes=np.full(sum(counts), "N"), patients=whose)


def test_beats_that_are_the_same_are_not_told_apart_however_many_each_patient_has():
    """How many beats of a side trees learnt from is not to speak for them."""
    real, synthetic = of_two_shapes("r", [150, 10, 10, 10, 10, 10]), of_two_shapes("s", [50] * 4)
    found = suspicions(real=real, synthetic=synthetic, patients=(real.patients, synthetic.patients))
    assert area(real=found[0], synthetic=found[1]) == pytest.approx(0.5, abs=0.01)


def noise_of(count, seed):
    signals = np.random.default_rng(seed).normal(0, 1, (count, 256))
    return Beats(signals=signals, classes=np.full(count, "N"))


def test_what_trees_find_out_grows_with_noise_and_catches_beats_that_are_all_alike():
    real, other = noise_of(300, 0), noise_of(300, 1)
    found = []
    for share in (0.0, 0.3, 0.6, 1.5):
        changed = replace(other, signals=other.signals + share * noise_of(300, 2).signals)
        found.append(detection_score(real=real, synthetic=changed))
        assert detection_score(real=changed, synthetic=real) == pytest.approx(found[-1], abs=0.05)
    assert found == sorted(found)
    assert found[0] < 0.6 < 0.9 < found[-1]
    one = replace(other, signals=np.repeat(other.signals[:1], 300, axis=0))
    assert detection_score(real=real, synthetic=one) > 0.99


def test_every_beat_is_judged_by_sixty_trees_that_learnt_from_one_half_of_each_side(monkeypatch):
    import sklearn.ensemble

    learnt = []

    class Spied(sklearn.ensemble.HistGradientBoostingClassifier):
        def fit(self, features, labels):
            learnt.append((np.bincount(labels).tolist(), self.max_iter, self.random_state))
            return super().fit(features, labels)

    monkeypatch.setattr(sklearn.ensemble, "HistGradientBoostingClassifier", Spied)
    found = suspicions(real=noise_of(40, 0), synthetic=noise_of(60, 1), seed=3)
    assert learnt == [([20, 30], 60, 3)] * 2
    assert [side.shape for side in found] == [(40,), (60,)]


def test_the_folds_are_those_of_seed_0_unless_another_is_given():
    sides = {"real": noise_of(60, 0), "synthetic": noise_of(60, 1)}
    usual, again, other = (suspicions(**sides, **given) for given in ({}, {"seed": 0}, {"seed": 1}))
    np.testing.assert_array_equal(usual, again)
    assert not np.array_equal(usual, other)
    assert detection_score(**sides) == area(real=usual[0], synthetic=usual[1])
    assert detection_score(**sides, seed=1) == area(real=other[0], synthetic=other[1]) != detection_score(**sides)


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    assert area(real=np.array([0.1, 0.4]), synthetic=np.array([0.3, 0.4, 0.9])) == pytest.approx((3 + 0 + 0.5 + 1) / 6)
