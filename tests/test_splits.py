import json
from dataclasses import replace

import numpy as np
import pytest

from ecgsynth import mitdb as facts
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.sides import SHARES, SIDES, apportion
from ecgsynth.splits import Split, shared_patients, split_beats

DS1 = {"N": 45_866, "S": 944, "V": 3_788, "F": 415, "Q": 8}
DS2 = {"N": 44_259, "S": 1_837, "V": 3_221, "F": 388, "Q": 7}


def toy(patients, classes):
    return Beats(signals=np.zeros((len(classes), 4)), classes=np.array(classes), patients=np.array(patients), records=np.array(patients))


def test_parts_add_up_and_are_nearest_to_the_shares():
    for total in range(200):
        parts = apportion(total, SHARES)
        assert parts.sum() == total
        assert (np.abs(parts - total * np.array(SHARES)) < 1).all()


@pytest.mark.parametrize("scheme", ["beats", "patients"])
def test_each_beat_is_on_one_side_and_the_seed_decides(beats, scheme):
    split = split_beats(beats, scheme=scheme, seed=3)
    addresses = [set(zip(s.records.tolist(), s.samples.tolist(), strict=True)) for s in (split.train, split.val, split.test)]
    assert sum(map(len, addresses)) == len(beats) == len(set.union(*addresses))
    again = split_beats(beats, scheme=scheme, seed=3)
    other = split_beats(beats, scheme=scheme, seed=4)
    assert np.array_equal(split.train.samples, again.train.samples)
    assert not np.array_equal(split.train.samples, other.train.samples)


def test_beats_are_split_within_each_symbol(beats):
    split = split_beats(beats)
    for symbol in np.unique(beats.symbols):
        found = [int((getattr(split, side).symbols == symbol).sum()) for side in SIDES]
        assert found == apportion(int((beats.symbols == symbol).sum()), SHARES).tolist()


def test_by_patient_no_one_is_on_two_sides_and_each_class_is_on_all(beats):
    split = split_beats(beats, scheme="patients")
    assert shared_patients(split) == set()
    for side in SIDES:
        assert set(getattr(split, side).counts()) == set("NSVFQ")
    assert len(split.train) / len(beats) == pytest.approx(0.65, abs=0.1)


@pytest.mark.parametrize("n_patients", [3, 4, 5, 6, 47])
def test_few_patients_fill_all_sides(n_patients):
    patients = np.repeat([f"p{number}" for number in range(n_patients)], 10)
    split = split_beats(toy(patients, np.tile(list("NNNNNNNVVV"), n_patients)), scheme="patients")
    sizes = [len(set(getattr(split, side).patients)) for side in SIDES]
    assert sum(sizes) == n_patients
    assert min(sizes) >= 1


def test_201_is_left_out_even_if_nobody_said_whose_it_is():
    records = np.repeat(["101", "106", "201", "100", "202"], 10)
    split = split_beats(toy(records, np.tile(["N", "V"], 25)), scheme="dechazal")
    assert set(split.train.records) | set(split.val.records) == {"101", "106"}
    assert set(split.test.records) == {"100", "202"}


def test_a_class_that_cannot_be_on_all_sides_is_said():
    patients = np.repeat(list("abcdef"), 10)
    classes = np.where((patients == "a") & (np.arange(60) % 2 == 0), "F", "N")
    split = split_beats(toy(patients, classes), scheme="patients")
    assert any("class F is on 1 of 3 sides: 1 patients have it" in text for text in split.notes)


def test_a_patient_on_two_sides_is_an_error():
    side = toy(["a", "b"], ["N", "V"])
    other = toy(["c", "d"], ["N", "V"])
    Split(side, side, other, scheme="beats", seed=0)  # allowed there, and said
    with pytest.raises(EcgsynthError, match=r"patients on two sides.*a, b"):
        Split(side, side, other, scheme="patients", seed=0)


def test_what_cannot_be_split_is_refused(beats):
    with pytest.raises(EcgsynthError, match="2 patients cannot fill 3 sides"):
        split_beats(toy(["a", "b"], ["N", "V"]), scheme="patients")
    with pytest.raises(EcgsynthError, match="MIT-BIH's own"):
        split_beats(beats, scheme="dechazal")
    with pytest.raises(EcgsynthError, match="unknown scheme 'x'; known: beats"):
        split_beats(beats, scheme="x")
    with pytest.raises(EcgsynthError, match="synthetic"):
        split_beats(replace(beats, source="cnn-gan"))


def test_saved_split_loads_equal(split, tmp_path):
    split.save(tmp_path / "s")
    again = Split.load(tmp_path / "s")
    assert np.array_equal(again.test.signals, split.test.signals)
    assert again.summary() == split.summary() == json.loads((tmp_path / "s" / "split.json").read_text())
    with pytest.raises(EcgsynthError, match="exists"):
        split.save(tmp_path / "s")
    with pytest.raises(EcgsynthError, match="no split in"):
        Split.load(tmp_path)


def test_mitbih_by_beats_has_the_sizes_of_65_20_15(mitdb_beats):
    split = split_beats(mitdb_beats)
    assert (len(split.train), len(split.val), len(split.test)) == (71_143, 21_892, 16_415)


@pytest.mark.parametrize("seed", range(3))
def test_mitbih_by_patients_has_every_class_on_each_side(mitdb_beats, seed):
    split = split_beats(mitdb_beats, scheme="patients", seed=seed)
    assert shared_patients(split) == set()
    for side, share in zip(SIDES, SHARES, strict=True):
        part = getattr(split, side)
        assert set(part.counts()) == set("NSVFQ")
        assert len(part) / len(mitdb_beats) == pytest.approx(share, abs=0.06)


def test_mitbih_by_dechazal_has_the_published_counts(mitdb_beats):
    split = split_beats(mitdb_beats, scheme="dechazal")
    lost = {name: dict.fromkeys("NSVFQ", 0) for name in ("ds1", "ds2")}
    from ecgsynth.labels import SYMBOL_TO_CLASS

    for record, symbol, _, count in mitdb_beats.info["left_out"]:
        for name, members in (("ds1", facts.DS1), ("ds2", facts.DS2)):
            if record in members:
                lost[name][SYMBOL_TO_CLASS[symbol]] += count
    of_201 = mitdb_beats.take(mitdb_beats.records == "201").counts()
    ds1 = {c: split.train.counts().get(c, 0) + split.val.counts().get(c, 0) + of_201.get(c, 0) + lost["ds1"][c] for c in "NSVFQ"}
    ds2 = {c: split.test.counts().get(c, 0) + lost["ds2"][c] for c in "NSVFQ"}
    assert ds1 == DS1
    assert ds2 == DS2
    assert not set(facts.PACED) & set(split.train.records.tolist() + split.val.records.tolist() + split.test.records.tolist())
    assert "201" not in split.train.records
    assert any("201 is left out" in text for text in split.notes)
    assert set("NSVF") <= set(split.val.counts())
