import numpy as np
import pytest

from ecgsynth.beats import Beats
from ecgsynth.generators import GENERATORS
from ecgsynth.metrics.detection import detection_score


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
