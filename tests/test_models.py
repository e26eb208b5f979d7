"""The models that come with the package: each is what its card says, small, and makes beats of every class."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ecgsynth import load_generator, split_beats
from ecgsynth.models import card, shipped

ROOT = Path(__file__).parent.parent
NAMES = ("mitdb", "mitdb-gan")


def test_two_models_come_with_the_package():
    assert set(shipped()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_the_file_of_its_card(name):
    file = shipped()[name].read_bytes()
    assert len(file) <= 8_000_000
    assert f"`{hashlib.sha256(file).hexdigest()}`" in card(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_what_the_numbers_make_of_it(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import ship_models

    measured, various = (json.loads((ROOT / "results" / f"mitdb-{numbers}.json").read_text()) for numbers in ("beats", "diversity"))
    assert ship_models.card(name, load_generator(name), measured, various) == card(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_is_to_be_known(name):
    text = card(name)
    for word in ("MIT-BIH Arrhythmia Database 1.0.0", "seed 0", "macro-F1", "scripts/ship_models.py", "## Limits", "not for diagnosis"):
        assert word in text
    assert re.search(r"Data: Open Data Commons Attribution License v1\.0", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_makes_beats_of_every_class(name):
    model = load_generator(name)
    assert not model.holds_real_beats
    beats = model.sample(dict.fromkeys("NSVFQ", 50), seed=3)
    assert beats.counts() == dict.fromkeys("NSVFQ", 50)
    assert set(beats.leads.tolist()) <= {"MLII", "V5"}
    assert np.abs(beats.signals).max() < 10  # mV
    for label in "NSVFQ":
        own = beats.signals[beats.classes == label]
        assert len(np.unique(own, axis=0)) == 50
        assert np.ptp(own.mean(axis=0)) > 0.3  # mV: a heartbeat, not noise about zero
    assert np.median(beats.rr_before[beats.classes == "S"]) < np.median(beats.rr_before[beats.classes == "N"])  # premature


@pytest.mark.parametrize("name", NAMES)
def test_a_model_learnt_from_the_train_side_and_from_nothing_else(name, mitdb_beats):
    train = split_beats(mitdb_beats, scheme="beats", seed=0).train
    model = load_generator(name)
    assert model.shape_["data_sha256"] == train.digest()
    assert model.counts == train.counts()


@pytest.mark.parametrize("name", NAMES)
def test_each_class_of_a_model_is_that_of_the_test_side(name, mitdb_beats):
    """The mean beat of a class is nearer to that of the same class of real test beats than to any other's."""
    test = split_beats(mitdb_beats, scheme="beats", seed=0).test
    made = load_generator(name).sample(dict.fromkeys("NSVFQ", 300), seed=1)
    real, ours = (np.stack([side.signals[side.classes == label].mean(axis=0) for label in "NSVFQ"]) for side in (test, made))
    apart = np.linalg.norm(ours[:, None] - real[None], axis=2)
    assert (apart.argmin(axis=1) == np.arange(5)).all()
