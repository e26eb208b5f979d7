"""Attacks on patients where it is known whom the generator learnt from: copies are found out by all, class means by none."""

from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.attacks import set_up
from ecgsynth.beats import concatenate
from ecgsynth.cutting import extract_beats
from ecgsynth.generators import GENERATORS, class_counts
from ecgsynth.measures import measure
from ecgsynth.metrics.privacy import membership_auc
from ecgsynth.simulate import simulate_records
from ecgsynth.splits import split_beats


@pytest.fixture(scope="module")
def split():
    beats = extract_beats(simulate_records(n_patients=56, minutes=1, seed=3), source="simulated")
    return split_beats(beats.take(beats.classes == "N"), scheme="patients", seed=0)


@pytest.fixture(scope="module")
def attackers(split):
    return set_up(train=split.train, val=split.val, test=split.test, seed=0)


def attacked(attackers, split, name):
    made = GENERATORS[name]().fit(split.train).sample({"N": 1500}, seed=1)
    return attackers.attack(made, seed=0)


def test_no_patient_stands_on_two_of_the_sides(attackers):
    sides = [attackers.members, attackers.others, attackers.reference, attackers.strangers]
    patients = [name for side in sides for name in np.unique(side.patients)]
    assert len(set(patients)) == len(patients)
    assert all(np.unique(side.patients, return_counts=True)[1].max() <= 400 for side in (attackers.members, attackers.others))


def test_of_many_patients_some_are_drawn_with_all_that_is_held_of_each(split, monkeypatch):
    monkeypatch.setattr("ecgsynth.attacks._MOST", 3)
    few, others = (set_up(train=split.train, val=split.val, test=split.test, seed=seed) for seed in (0, 1))
    for name, side in few._asdict().items():
        counts = np.unique(side.patients, return_counts=True)[1]
        assert len(counts) == 3, name
        assert counts.min() > 20, name
    assert set(few.members.patients) != set(others.members.patients)


def test_copies_are_found_out_by_every_attack(attackers, split):
    found = attacked(attackers, split, "memorizer")
    assert set(found) == {
        "membership of a patient, area",
        "recognition of a patient, area",
        "sex of a patient, excess",
        "age of a patient, excess",
    }
    assert found["membership of a patient, area"].low > 0.75
    assert found["sex of a patient, excess"].low > 0.1
    assert found["age of a patient, excess"].low > 0
    assert found["recognition of a patient, area"].low > 0.75


def test_what_copies_tell_of_an_attribute_is_whom_they_copy_and_not_what_it_looks_like(attackers, split):
    """An attribute of no trace in any beat, drawn for half of the patients, comes out too: beats that are no copies tell nothing of any."""

    def drawn(side):
        names = np.random.default_rng(0).permutation(np.unique(side.patients))
        return replace(side, sexes=np.where(np.isin(side.patients, names[::2]), "f", "m"))

    others = attackers._replace(members=drawn(attackers.members), others=drawn(attackers.others))
    assert attacked(others, split, "memorizer")["sex of a patient, excess"].value > 0.2
    assert abs(attacked(others, split, "ecgsyn")["sex of a patient, excess"].value) < 0.1


def test_class_means_are_found_out_by_none(attackers, split):
    found = attacked(attackers, split, "class-mean")
    assert found["membership of a patient, area"].low < 0.5 < found["membership of a patient, area"].high
    assert found["sex of a patient, excess"].low <= 0 <= found["sex of a patient, excess"].high
    assert found["age of a patient, excess"].low <= 0 <= found["age of a patient, excess"].high
    assert found["recognition of a patient, area"].low <= 0.5 <= found["recognition of a patient, area"].high


@pytest.mark.parametrize("whose", ["strangers", "fresh", "ecgsyn"])
def test_beats_of_others_and_of_nobody_tell_no_more_than_guessing(attackers, split, whose):
    """Chance brings some of these near to beats of those in question, learnt from or not."""
    released = {
        "strangers": lambda: attackers.strangers,
        "fresh": lambda: extract_beats(simulate_records(n_patients=40, minutes=1, seed=1003), source="simulated"),
        "ecgsyn": lambda: GENERATORS["ecgsyn"]().fit(split.train).sample({"N": 1500}, seed=1),
    }[whose]()
    found = attackers.attack(released.take(released.classes == "N"), seed=0)
    for name, interval in found.items():
        assert interval.low <= (0.5 if "area" in name else 0.0) <= interval.high, name


def test_attacks_do_not_lean_to_either_side_where_who_was_learnt_from_is_drawn_at_random(attackers, split):
    """The same beats of nobody, asked of ten random divisions of the patients in question."""
    beats, made = concatenate([attackers.members, attackers.others]), GENERATORS["ecgsyn"]().fit(split.train).sample({"N": 1500}, seed=1)
    found = []
    for seed in range(10):
        members = np.random.default_rng(seed).permutation(np.unique(beats.patients))[:16]
        own = np.isin(beats.patients, members)
        found.append(attackers._replace(members=beats.take(own), others=beats.take(~own)).attack(made, seed=0))
    for name in found[0]:
        values = [each[name].value for each in found if name in each]
        assert np.mean(values) == pytest.approx(0.5 if "area" in name else 0, abs=3 * np.std(values) / len(values) ** 0.5), name


def test_on_real_records_copies_are_found_out_by_every_attack_and_class_means_by_none(mitdb_beats):
    real = split_beats(mitdb_beats.take(np.isin(mitdb_beats.classes, ["N", "S", "V"])), scheme="dechazal", seed=0)
    attackers = set_up(train=real.train, val=real.val, test=real.test, seed=0)
    counts = class_counts(real.train, total=4000)
    copies, means = (attackers.attack(GENERATORS[name]().fit(real.train).sample(counts), seed=0) for name in ("memorizer", "class-mean"))
    nothing = {name: 0.5 if "area" in name else 0.0 for name in copies}
    assert len(nothing) == 4
    for name, value in nothing.items():
        assert copies[name].low > value, name
        assert means[name].low <= value, name


def test_beats_of_a_class_without_training_beats_are_copies_of_nobody(attackers):
    strange = replace(attackers.members, classes=np.full(len(attackers.members), "F"))
    assert not attackers._copied(strange, attackers.members).any()
    assert attackers._copied(attackers.members, attackers.members).all()


def test_a_critic_that_knows_whom_it_learnt_from_gives_them_away_and_one_that_knows_classes_alone_does_not(attackers):
    def area(judge):
        return membership_auc(*([scores] for scores in attackers.membership_by_critic(judge))).value

    members = np.unique(attackers.members.patients)
    assert area(lambda beats: np.isin(beats.patients, members).astype(np.float32)) == 1
    assert area(lambda beats: ~np.isin(beats.patients, members) * np.float32(1)) == 0
    assert area(lambda beats: np.full(len(beats), 3, dtype=np.float32)) == 0.5


def test_what_a_critic_thinks_of_a_class_counts_for_nothing_and_of_unknown_classes_nothing_is_asked(attackers):
    def some(beats, name, *, but=0):
        return replace(beats, classes=np.where(np.arange(len(beats)) % 2 < but, "F", np.where(np.arange(len(beats)) % 3, name, "V")))

    mixed = attackers._replace(
        reference=some(attackers.reference, "N"), members=some(attackers.members, "N", but=1), others=some(attackers.others, "V")
    )

    def judge(beats):
        assert "F" not in beats.counts()
        return np.where(beats.classes == "V", 5, 1).astype(np.float32)

    assert all(score == 0 for side in mixed.membership_by_critic(judge) for score in side.values())


def test_what_is_not_known_is_not_attacked(split):
    unknown = {side: replace(getattr(split, side), sexes=None, ages=None) for side in ("train", "val", "test")}
    found = set_up(**unknown, seed=0).attack(split.val, seed=0)
    assert set(found) == {"membership of a patient, area", "recognition of a patient, area"}
    assert set_up(train=split.train, val=split.val, test=split.train, seed=0) is None  # the same patients
    assert set_up(train=replace(split.train, patients=None), val=split.val, test=split.test, seed=0) is None


def test_patients_are_attacked_where_they_stand_on_one_side_only(split):
    made = GENERATORS["class-mean"]().fit(split.train).sample({"N": 300}, seed=1)

    def measured(train, test):
        return measure(synthetic=made, train=train, val=split.val, test=test, families=("privacy",))

    scores = {score.measure: score for score in measured(split.train, split.test) if score.label == "all"}
    assert scores["membership of a patient, area"].memorizer > 0.9
    assert abs(scores["membership of a patient, area"].real - 0.5) < 0.35
    assert not [score for score in measured(split.train, split.train) if score.label == "all"]
