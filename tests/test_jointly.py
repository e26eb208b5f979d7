"""What belongs to one beat is learnt together: its leads, its waveform and the name of its lead, its waveform and its rhythm."""

from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.generators import GENERATORS

TRAINED = {
    "flow": {"steps": 500, "hidden": 96, "depth": 2, "batch": 128, "validations": 1},
    "cnn-gan": {"steps": 60, "width": 8, "latent": 8, "batch": 64, "validations": 1},
    "gaussian": {},
}
each = pytest.mark.parametrize("name", list(TRAINED))


@pytest.fixture(scope="module")
def normal(split):
    """Beats of class N, as tall as they happen to be: each 0.5 to 2 times."""
    beats = split.train.take((split.train.classes == "N") & np.isfinite(split.train.rr_before))
    tall = np.exp(np.random.default_rng(0).uniform(-0.7, 0.7, (len(beats), 1))).astype(np.float32)
    return replace(beats, signals=beats.signals * tall)


def fitted(beats, name):
    return GENERATORS[name](**TRAINED[name]).fit(beats)


@each
def test_the_second_lead_of_a_beat_is_that_of_its_first(normal, name):
    second = -0.5 * np.roll(normal.signals, 3, axis=1)
    both = replace(normal, signals=np.stack([normal.signals, second], axis=1), leads=np.full(len(normal), "MLII+V1"))
    one, other = np.moveaxis(fitted(both, name).sample({"N": 400}, seed=1).signals, 1, 0)
    apart = [np.linalg.norm(other + 0.5 * np.roll(first, 3, axis=1)) / np.linalg.norm(other) for first in (one, one[::-1])]
    assert apart[0] < 0.25 < 0.5 < apart[1]  # of another beat it is not


@each
def test_a_lead_that_is_asked_for_looks_like_that_lead(normal, name):
    upside_down = np.arange(len(normal)) % 2 == 1
    signals = np.where(upside_down[:, None], -normal.signals, normal.signals)
    model = fitted(replace(normal, signals=signals, leads=np.where(upside_down, "V1", "MLII")), name)
    mean = normal.signals.mean(axis=0)
    for lead, sign in (("MLII", 1), ("V1", -1)):
        found = model.sample({"N": 400}, seed=1, lead=lead).signals.mean(axis=0)
        assert np.linalg.norm(found - sign * mean) < 0.3 * np.linalg.norm(mean)


@pytest.mark.parametrize("name", ["flow", "cnn-gan"])  # a normal distribution knows no more than a line
def test_the_rhythm_of_a_beat_goes_with_its_waveform(normal, name):
    """The taller a beat, the later it comes: in what is learnt from, and in what is made."""
    height = np.log(np.linalg.norm(normal.signals, axis=1))
    rr = 0.8 * np.exp(0.5 * (height - height.mean()))
    made = fitted(replace(normal, rr_before=rr.astype(np.float32)), name).sample({"N": 400}, seed=1)
    found = np.log(np.linalg.norm(made.signals, axis=1)), np.log(made.rr_before)
    assert np.corrcoef(*found)[0, 1] > 0.7
    assert np.polyfit(*found, 1)[0] == pytest.approx(0.5, abs=0.15)
