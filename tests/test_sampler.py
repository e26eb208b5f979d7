"""The sampler in the place of SMOTE: imbalanced-learn's own checks, and what is our own."""

import numpy as np
import pytest
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import parametrize_with_checks
from sklearn.linear_model import LogisticRegression

from ecgsynth.errors import EcgsynthError
from ecgsynth.sampler import BeatSampler

SAMPLERS = [BeatSampler(generator="gaussian", random_state=0), BeatSampler(generator="memorizer", random_state=0)]
CHECKS = parametrize_with_checks(SAMPLERS).mark


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), ids=CHECKS.kwargs["ids"])
@pytest.mark.filterwarnings("ignore")
def test_imbalanced_learn_accepts_it(estimator, check):
    check(estimator)


def test_beats_are_added_until_classes_are_even(split):
    X, y = split.train.signals, split.train.classes
    more, labels = BeatSampler(generator="gaussian", random_state=1).fit_resample(X, y)
    counts = np.unique_counts(labels)
    assert set(counts.counts) == {np.unique_counts(y).counts.max()}
    np.testing.assert_array_equal(more[: len(X)], X)
    again, _ = BeatSampler(generator="gaussian", random_state=1).fit_resample(X, y)
    np.testing.assert_array_equal(more, again)
    other, _ = BeatSampler(generator="gaussian", random_state=2).fit_resample(X, y)
    assert not np.array_equal(more, other)
    added = more[len(X) :][labels[len(X) :] == "V"]
    own, others = (np.abs(added.mean(axis=0) - X[y == label].mean(axis=0)).max() for label in "VN")
    assert own < 0.2 < others


def test_it_stands_in_a_pipeline(split):
    pipeline = make_pipeline(BeatSampler(generator="gaussian", random_state=0), LogisticRegression(max_iter=200))
    pipeline.fit(split.train.signals[:, ::8], split.train.classes)
    assert pipeline.score(split.test.signals[:, ::8], split.test.classes) > 0.7


def test_a_trained_model_is_taken_as_it_is(split):
    few = split.train.take(np.isin(split.train.classes, ["N", "S"]))
    strategy = {"S": 200}
    more, labels = BeatSampler(model="mitdb", sampling_strategy=strategy, random_state=0).fit_resample(few.signals, few.classes)
    assert (labels == "S").sum() == 200
    assert more.shape[1] == 256
    with pytest.raises(EcgsynthError, match="makes beats of 256 samples"):
        BeatSampler(model="mitdb", sampling_strategy=strategy).fit_resample(few.signals[:, ::2], few.classes)


def test_what_cannot_be_is_said(split):
    with pytest.raises(EcgsynthError, match="unknown generator 'none'"):
        BeatSampler(generator="none").fit_resample(split.train.signals, split.train.classes)
    X = np.random.default_rng(0).standard_normal((100, 4))
    with pytest.raises(EcgsynthError, match="at most 19 labels"):
        BeatSampler(generator="gaussian").fit_resample(X, np.r_[np.repeat(np.arange(24), 4), 0, 0, 0, 0])
