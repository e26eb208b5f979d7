"""Means across patients: of whom they are, what is kept, and that they hide whose beats they were."""

from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS
from ecgsynth.metrics.privacy import membership_auc, membership_scores, near_copies
from ecgsynth.mixing import means_across, with_means
from ecgsynth.vectors import to_vectors


def marked(n_patients, each, *, classes="N", leads=("MLII",), seed=0):
    """Beats that say whose they are: sample p is 1 in those of patient p, and all else is 0."""
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(n_patients), each)
    signals = np.eye(max(n_patients, 8), dtype=np.float32)[whose]
    return Beats(
        signals=signals,
        r_sample=2,
        classes=rng.choice(list(classes), len(whose)),
        symbols=np.full(len(whose), "N"),
        patients=np.array([f"p{number}" for number in whose]),
        records=np.full(len(whose), "r"),
        leads=rng.choice(leads, len(whose)),
        rr_before=rng.uniform(0.5, 1.5, len(whose)),
    )


def test_each_beat_is_the_mean_of_itself_and_of_other_patients_once_each():
    beats = marked(9, 50)
    made = means_across(beats, 4)
    weights = np.sort(made.signals, axis=1)
    np.testing.assert_allclose(weights[:, -4:], 0.25)
    np.testing.assert_allclose(weights[:, :-4], 0)
    own = np.repeat(np.arange(9), 50)
    np.testing.assert_allclose(made.signals[np.arange(450), own], 0.25)
    taken = made.signals.mean(axis=0)[:9]
    np.testing.assert_allclose(taken, 1 / 9, rtol=0.2)  # none is taken oftener than others that have as many


def test_patients_of_many_beats_are_taken_oftener_by_the_square_root():
    whose = np.repeat(["a", "b", "c"], [3000, 400, 100])
    signals = np.repeat(np.eye(8, dtype=np.float32)[:3], [3000, 400, 100], axis=0)
    made = means_across(Beats(signals=signals, classes=np.full(3500, "N"), patients=whose, r_sample=2), 2)
    of_a = made.signals[whose == "a"]
    assert (of_a[:, 1] > 0).mean() == pytest.approx(20 / 30, abs=0.03)


def test_labels_and_leads_stay_apart_and_nothing_else_is_known_of_anybody():
    beats = marked(12, 60, classes="NV", leads=("MLII", "V5"))
    tagged = replace(beats, signals=np.column_stack([beats.signals, beats.classes == "V", beats.leads == "V5"]).astype(np.float32))
    made = means_across(tagged, 3, seed=1)
    np.testing.assert_allclose(made.signals[:, -2], beats.classes == "V", atol=1e-6)
    np.testing.assert_allclose(made.signals[:, -1], beats.leads == "V5", atol=1e-6)
    assert (made.classes == beats.classes).all()
    assert (made.leads == beats.leads).all()
    assert not made.patients.any()
    assert not made.records.any()
    assert not made.symbols.any()
    assert (means_across(tagged, 3, by="symbol").symbols == "N").all()
    two = replace(beats, signals=np.stack([beats.signals, 2 * beats.signals], axis=1))
    both = means_across(two, 3).signals
    np.testing.assert_allclose(both[:, 1], 2 * both[:, 0])


def test_a_rare_lead_is_filled_up_from_others():
    beats = marked(6, 20)
    beats = replace(beats, leads=np.where(beats.patients == "p0", "V5", "MLII"))
    made = means_across(beats, 3)
    np.testing.assert_allclose(np.sort(made.signals[:20], axis=1)[:, -3:], 1 / 3)
    assert (made.leads[:20] == "V5").all()
    np.testing.assert_allclose(made.signals[20:, 0], 0)  # who has the usual lead is mixed with their like


def test_intervals_are_geometric_means_of_those_known():
    whose = np.array(["a", "b", "c"])
    beats = Beats(signals=np.zeros((3, 8)), classes=np.full(3, "N"), patients=whose, r_sample=2, rr_before=[0.5, 2.0, 1.0])
    np.testing.assert_allclose(means_across(beats, 3).rr_before, 1.0, rtol=1e-6)
    assert np.isnan(means_across(beats, 3).rr_after).all()
    gap = replace(beats, rr_before=np.array([0.5, 2.0, np.nan], dtype=np.float32))
    np.testing.assert_allclose(means_across(gap, 3).rr_before, 1.0, rtol=1e-6)


def test_the_seed_decides_and_one_patient_changes_nothing():
    beats = marked(9, 50)
    one, again, other = (means_across(beats, 3, seed=seed).signals for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert means_across(beats, 1) is beats


def test_too_few_patients_and_unknown_ones_are_refused():
    beats = marked(4, 20, classes="NV")
    most = beats.counts()["N"]
    with pytest.raises(EcgsynthError, match=rf"class N has beats of 4 patients, .* 5 .*: leave them out \(--at-least {most + 1}\), or"):
        means_across(beats, 5)
    with pytest.raises(EcgsynthError, match="do not say whose they are"):
        means_across(replace(beats, patients=None), 2)
    with pytest.raises(EcgsynthError, match="one patient or more, not 0"):
        means_across(beats, 0)


def test_means_of_more_patients_tell_less_of_who_was_mixed():
    """People of one kind, each like themselves first, half of whom are mixed: an attacker looks for them among the means."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (45, 1, 6))
    sides = (centres + rng.normal(0, 0.3, (45, 40, 6))).astype(np.float32)
    train, others, known = sides[:15].reshape(-1, 6), sides[15:30].reshape(-1, 6), sides[30:].reshape(-1, 6)
    names = np.repeat([f"p{number}" for number in range(15)], 40)
    beats = Beats(signals=train, classes=np.full(600, "N"), patients=names, r_sample=2)
    areas, copies = [], []
    for count in (1, 2, 5):
        made = means_across(beats, count).signals
        asked = {"records": names, "synthetic": made, "reference": known}
        areas.append(membership_auc([membership_scores(beats=train, **asked)], [membership_scores(beats=others, **asked)]).value)
        copies.append(near_copies(synthetic=made, train=train, control=others).mean())
    assert areas[0] == 1
    assert areas[2] < 0.75
    assert areas == sorted(areas, reverse=True)
    assert max(copies[1:]) < 0.5  # as means crowd where training beats do, some lie near by chance
    assert copies[0] == 1


def test_a_flow_across_patients_learns_from_means_alone(split, monkeypatch):
    learnt = []
    monkeypatch.setattr(
        "ecgsynth.generators.trained.to_vectors", lambda beats, n_rhythm: learnt.append(beats) or to_vectors(beats, n_rhythm)
    )
    quick = {"steps": 2, "hidden": 16, "depth": 1, "batch": 16, "seed": 3}
    few = split.train.take(np.isin(split.train.classes, ["N", "V"]))
    model = GENERATORS["group-flow"](across=3, **quick).fit(few)
    wanted = means_across(few, 3, seed=3)
    assert np.array_equal(learnt[0].signals, wanted.signals)
    assert model.counts == few.counts()
    assert model.shape_["data_sha256"] == few.digest()  # what a release is held against
    assert GENERATORS["group-flow"]().params["across"] == 5
    for wrong in ({"style": 4}, {"across": 1}):
        with pytest.raises(EcgsynthError, match="across must be at least 2, and style 0"):
            GENERATORS["group-flow"](**wrong)


def test_means_are_added_to_beats_so_that_rare_labels_are_less_rare():
    beats = concatenate(
        [
            marked(9, 100),
            replace(marked(9, 1), classes=np.full(9, "V")),
            replace(marked(9, 3).take(np.arange(12)), classes=np.full(12, "F")),
        ]
    )
    made = with_means(beats, 5, seed=2)
    assert made.counts() == {"N": 900, "V": 285, "F": 12}  # four patients are too few for means of five
    assert np.array_equal(made.signals[: len(beats)], beats.signals)
    assert np.array_equal(made.patients[: len(beats)], beats.patients)
    means = made.take(np.arange(len(beats), len(made)))
    np.testing.assert_allclose(np.sort(means.signals, axis=1)[:, -5:], 0.2)
    assert not means.patients.any()
    assert np.ptp(np.sum(means.signals > 0, axis=0)[:9]) < len(means) / 4  # no one is forgotten
    assert np.array_equal(with_means(beats, 5, seed=2).signals, made.signals)
    assert not np.array_equal(with_means(beats, 5, seed=3).signals, made.signals)
    assert with_means(beats, 5, power=0).counts() == {"N": 900, "V": 900, "F": 12}
    even = marked(9, 50)
    assert len(with_means(even, 5)) == len(even)
    assert len(with_means(marked(4, 3), 5)) == 12
    nearly = concatenate([marked(9, 100), replace(marked(9, 99), classes=np.full(891, "V"))])
    for wrong in ({"patients": 0}, {"patients": 5, "power": 1.5}):
        with pytest.raises(EcgsynthError, match="one patient or more, to a power of 0 to 1"):
            with_means(even, **wrong)
    few = with_means(nearly, 5).take(np.arange(len(nearly), len(nearly) + 4))  # of fewer beats than there are patients in a mean
    np.testing.assert_allclose(np.sort(few.signals, axis=1)[:, -5:], 0.2)


def test_beats_of_nobody_known_are_mixed_as_of_one_patient_each():
    beats = replace(concatenate([marked(9, 100), replace(marked(9, 1), classes=np.full(9, "V"))]), patients=None)
    made = with_means(beats, 5)
    assert made.counts() == {"N": 900, "V": 285}
    np.testing.assert_allclose(np.sort(made.signals[len(beats) :], axis=1)[:, -5:], 0.2)
    patient = replace(beats, patients=np.where(beats.classes == "V", "17", ""))
    assert with_means(patient, 5).counts() == beats.counts()  # all V are of one


def test_others_are_drawn_in_as_many_parts_as_memory_asks_for(monkeypatch):
    beats = replace(marked(30, 1), patients=None)
    rare = replace(beats.take(np.arange(6)), classes=np.full(6, "V"))
    monkeypatch.setattr("ecgsynth.mixing._MOST_KEYS", 20)
    made = with_means(concatenate([beats, rare]), 3)
    np.testing.assert_allclose(np.sort(made.signals[36:], axis=1)[:, -3:], 1 / 3)
