import json
import tracemalloc
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from ecgsynth import mitdb as facts
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.sides import ASKED, SCHEMES, SHARES, SIDES, Census, _sides_of_patients, apportion, rule_of
from ecgsynth.splits import Split, shared_patients, split_beats

DS1 = {"N": 45_866, "S": 944, "V": 3_788, "F": 415, "Q": 8}
DS2 = {"N": 44_259, "S": 1_837, "V": 3_221, "F": 388, "Q": 7}


def toy(patients, classes, records=None):
    records = np.array(patients if records is None else records)
    return Beats(signals=np.zeros((len(classes), 4)), classes=np.array(classes), patients=np.array(patients), records=records)


def test_parts_add_up_and_are_nearest_to_the_shares():
    for total in range(200):
        parts = apportion(total, SHARES)
        assert parts.sum() == total
        assert (np.abs(parts - total * np.array(SHARES)) < 1).all()


def test_sides_are_those_of_a_permutation_in_few_bytes_a_beat():
    counts = {"FF": 3, "NL": 300, "NN": 1_000_000, "VV": 70_000}
    tracemalloc.start()
    try:
        rule = rule_of("beats", Census(counts, [], np.zeros((0, 5), dtype=np.int64)), seed=3)
        kept, peak = (size / sum(counts.values()) for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert kept < 1.1
    assert peak < 7
    rng = np.random.default_rng(3)
    for label, count in counts.items():
        wanted = np.empty(count, dtype=np.int8)
        wanted[rng.permutation(count)] = np.repeat(np.arange(3), apportion(count, SHARES))
        asked = {"classes": np.full(count, label[0]), "symbols": np.full(count, label[1])}
        assert np.array_equal(rule.sides(asked), wanted)


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


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_comes_first_though_the_shares_suffer(seed):
    patients = np.repeat([f"p{number:02}" for number in range(20)], 9)
    classes = np.full(180, "N")
    classes[[0, 9, 18]] = "F"  # one beat in each of three patients: two of them on the training side were nearer to 65/20/15
    split = split_beats(toy(patients, classes), scheme="patients", seed=seed)
    assert [getattr(split, side).counts()["F"] for side in SIDES] == [1, 1, 1]
    assert split.notes == ()


def cost(sizes, sides):
    """How far (patients, classes) beats on these sides are from 65/20/15: of all beats, and of a class on average."""
    held = np.stack([sizes[sides == side].sum(axis=0) for side in range(3)])
    wanted = np.array(SHARES)
    off_classes = np.abs(held / sizes.sum(axis=0) - wanted[:, None]).sum(axis=0)
    return np.abs(held.sum(axis=1) / sizes.sum() - wanted).sum() + off_classes.mean()


@pytest.mark.parametrize("classes", ["NV", "NVS"])
@pytest.mark.parametrize("seed", range(5))
def test_few_patients_fall_almost_as_near_to_the_shares_as_they_can(monkeypatch, classes, seed):
    monkeypatch.setattr("ecgsynth.sides._DRAWS", 3000)  # of 60 ways to put three, two and one of six patients on the sides
    sizes = np.ceil(np.random.default_rng(seed).pareto(0.7, size=(6, len(classes))) * 5).clip(1, 300).astype(int)
    names = [f"p{number}" for number in range(6)]
    patients = np.concatenate([np.repeat(name, own.sum()) for name, own in zip(names, sizes, strict=True)])
    split = split_beats(toy(patients, np.concatenate([np.repeat(list(classes), own) for own in sizes])), scheme="patients", seed=seed)
    side_of = {name: number for number, side in enumerate(SIDES) for name in getattr(split, side).patients.tolist()}
    found = np.array([side_of[name] for name in names])
    assert np.bincount(found).tolist() == [3, 2, 1]
    best = min(cost(sizes, np.array(sides)) for sides in set(permutations((0, 0, 0, 1, 1, 2))))
    assert cost(sizes, found) <= best + 0.1


@pytest.mark.parametrize(("n_patients", "draws"), [(3, 300), (7, 214), (14, 107), (40, 100)])
def test_of_many_patients_fewer_draws_are_made(monkeypatch, n_patients, draws):
    class Counting(np.random.Generator):
        made = 0

        def permutation(self, *given):
            self.made += 1
            return super().permutation(*given)

    monkeypatch.setattr("ecgsynth.sides._DRAWS", 300)
    monkeypatch.setattr("ecgsynth.sides._DRAWN", 1500)
    names = [f"p{number:02}" for number in range(n_patients)]
    census = Census({"N": n_patients}, list(zip(names, names, strict=True)), np.eye(5, dtype=np.int64)[[0] * n_patients])
    rng = Counting(np.random.PCG64(0))
    sides, _ = _sides_of_patients(census, np.arange(n_patients), SHARES, rng)
    assert rng.made == draws
    assert np.bincount(sides).tolist() == (1 + apportion(n_patients - 3, SHARES)).tolist()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rule_says_one_byte_a_beat(scheme):
    beats = toy(np.repeat(facts.RECORDS, 4), np.tile(list("NVNS"), 48))
    columns = {name: getattr(beats, name) for name in ASKED}
    rule = rule_of(scheme, Census.of([columns]), 0)
    sides = rule.sides(columns)
    assert (sides.dtype, sides.shape) == (np.int8, (192,))
    assert set(sides.tolist()) == ({0, 1, 2} if scheme != "dechazal" else {-1, 0, 1, 2})


def test_records_of_one_patient_stay_together():
    patients = np.repeat(list("abcdef"), 20)
    records = np.char.add(patients, np.tile(np.repeat(["1", "2"], 10), 6))
    split = split_beats(toy(patients, np.tile(["N", "V"], 60), records), scheme="patients")
    assert shared_patients(split) == set()
    for side in SIDES:
        part = getattr(split, side)
        assert {name[0] for name in part.records} == set(part.patients)
        assert len(part) == 20 * len(set(part.patients))
        assert len(set(part.records)) == 2 * len(set(part.patients))


def test_201_is_left_out_even_if_nobody_said_whose_it_is():
    records = np.repeat(["101", "106", "201", "100", "202"], 10)
    split = split_beats(toy(records, np.tile(["N", "V"], 25)), scheme="dechazal")
    assert set(split.train.records) | set(split.val.records) == {"101", "106"}
    assert set(split.test.records) == {"100", "202"}


def test_whoever_is_on_both_sides_of_dechazal_is_left_out_of_the_first():
    records = np.repeat(["101", "106", "108", "109", "100", "103"], 10)
    patients = np.repeat(["x", "106", "y", "109", "x", "y"], 10)
    split = split_beats(toy(patients, np.tile(["N", "V"], 30), records), scheme="dechazal")
    assert set(split.train.records) | set(split.val.records) == {"106", "109"}
    assert split.notes[0] == "record 101, 108 is left out of DS1 (20 beats): its patient is in DS2 under another number"


def test_dechazal_says_what_it_leaves_out():
    split = split_beats(toy(np.repeat(facts.RECORDS, 10), np.tile(["N", "V"], 240)), scheme="dechazal")
    assert split.notes == (
        "record 201 is left out of DS1 (10 beats): its patient is in DS2 under another number",
        "paced records are left out (40 beats), as AAMI asks",
    )
    sizes = [len(set(getattr(split, side).records)) for side in SIDES]
    assert sizes == [16, 5, 22]  # each of the first two has a patient, and of the other 19 0.65 to 0.20
    assert set(split.test.records) == set(facts.DS2)
    assert set(split.train.records) | set(split.val.records) == set(facts.DS1) - {"201"}


def test_dechazal_says_what_is_missing():
    there = [name for name in facts.DS1 + facts.DS2 if name not in ("114", "201", "222")]
    split = split_beats(toy(there, ["N"] * 41), scheme="dechazal")
    assert split.notes == ("not all of DS1 and DS2 is there; missing: 114, 201, 222",)


@pytest.mark.parametrize("records", [["101", "106", "108"], ["100", "103", "105"]])
def test_dechazal_needs_records_of_both_its_halves(records):
    with pytest.raises(EcgsynthError, match=r"^the dechazal scheme is MIT-BIH's own: .*; use `--scheme patients`$"):
        split_beats(toy(records, ["N"] * 3), scheme="dechazal")


@pytest.mark.parametrize("n_beats", [1, 5])
def test_a_class_that_cannot_be_on_all_sides_is_said(n_beats):
    patients = np.repeat(list("abcdef"), 10)
    classes = np.where((patients == "a") & (np.arange(60) < n_beats), "F", "N")
    split = split_beats(toy(patients, classes), scheme="patients")
    assert split.notes == ("class F is on 1 of 3 sides: 1 patients have it",)


def test_a_patient_on_two_sides_is_an_error():
    side = toy(["a", "b"], ["N", "V"])
    other = toy(["c", "d"], ["N", "V"])
    Split(side, side, other, scheme="beats", seed=0)  # allowed there, and said
    with pytest.raises(EcgsynthError, match=r"^patients on two sides of a patients split: a, b$"):
        Split(side, side, other, scheme="patients", seed=0)
    with pytest.raises(EcgsynthError, match=r": a, b$"):
        Split(side, other, side, scheme="dechazal", seed=0)  # the first and the last
    with pytest.raises(EcgsynthError, match=r"^no beat for the val side: the beats split needs more beats or patients$"):
        Split(side, side.take(np.array([], dtype=int)), other, scheme="beats", seed=0)


def test_a_summary_counts_each_side_by_class_and_names_its_patients():
    parts = [toy(list("bbac"), list("NVNN")), toy(["d"], ["F"]), toy(["f", "e"], ["Q", "S"])]
    assert Split(*parts, scheme="patients", seed=7, notes=("so",)).summary() == {
        "scheme": "patients",
        "seed": 7,
        "notes": ["so"],
        "beats": {"train": 4, "val": 1, "test": 2},
        "classes": {"train": {"N": 3, "V": 1}, "val": {"F": 1}, "test": {"S": 1, "Q": 1}},
        "patients": {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]},
    }


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
    replace(split, seed=99).save(tmp_path / "s", force=True)
    assert Split.load(tmp_path / "s").seed == 99
    (tmp_path / "s" / "split.json").write_text('{"scheme": 3}')
    with pytest.raises(EcgsynthError, match=r"split\.json is damaged \(it has no seed\)"):
        Split.load(tmp_path / "s")


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
