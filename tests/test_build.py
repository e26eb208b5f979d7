"""Datasets: what stands in them, and that a build ends with the same bytes whatever happens to it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from built import beats_of, contents

from ecgsynth import build as building
from ecgsynth import shards
from ecgsynth.beats import Beats
from ecgsynth.build import build
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import read_csv
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import read_records
from ecgsynth.source import Source
from ecgsynth.splits import split_beats
from ecgsynth.steps import drain
from ecgsynth.strips import symbols_of
from ecgsynth.verify import address_of, make_again, verify_steps


def test_what_was_asked_for_is_there_in_all_formats(recipe, tmp_path):
    build(recipe, tmp_path / "set")
    assert not (tmp_path / "set.part").exists()
    for split, share in recipe.splits.items():
        beats = beats_of(tmp_path / "set", split)
        assert beats.counts() == {"N": 200 * share, "S": 30 * share, "V": 80 * share}
        kept = Beats.load(tmp_path / "set" / "npz" / f"{split}.npz")
        signals, classes = read_csv(tmp_path / "set" / "csv" / f"{split}.csv")
        for name in ("signals", *beats.columns):
            np.testing.assert_array_equal(getattr(beats, name), getattr(kept, name))
        np.testing.assert_array_equal(classes, beats.classes)
        assert signals.min() == 0
    early = beats_of(tmp_path / "set", "train")
    early = early.take(early.classes == "S")
    assert ((early.rr_before > 0.3) & (early.rr_before < 0.55)).all()


def test_strips_hold_the_rows_in_their_order(recipe, tmp_path):
    import pyarrow.parquet as pq

    build(recipe, tmp_path / "set")
    records = {record.name: record for record in read_records(tmp_path / "set" / "wfdb")}
    assert sorted(records) == (tmp_path / "set" / "wfdb" / "RECORDS").read_text().split()
    rows = [row for path in sorted((tmp_path / "set" / "parquet").glob("*")) for row in pq.read_table(path).to_pylist()]
    assert Counter(row["record"] for row in rows) == {name: len(record.samples) for name, record in records.items()}
    for split in recipe.splits:
        beats = beats_of(tmp_path / "set", split)
        for name in np.unique(beats.records):
            own = beats.take(beats.records == name)
            record = records[name]
            np.testing.assert_array_equal(record.symbols, symbols_of(own))
            assert [row["sample"] for row in rows if row["record"] == name] == record.samples.tolist()
            peaks = record.signals[record.samples, 0]
            np.testing.assert_allclose(peaks, own.signals[:, own.r_sample], atol=0.5 / 1000 + 1e-6)
    header = (tmp_path / "set" / "wfdb" / "train_00000_00.hea").read_text()
    assert "# SYNTHETIC: of no patient" in header


def test_the_same_recipe_makes_the_same_bytes_and_another_does_not(recipe, tmp_path):
    build(recipe, tmp_path / "one")
    build(recipe, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    build(replace(recipe, seed=4), tmp_path / "three")
    assert not np.array_equal(beats_of(tmp_path / "one", "test").signals, beats_of(tmp_path / "three", "test").signals)


def test_rows_of_another_seed_or_model_than_the_dataset_is_said_to_have_are_found(recipe, files, tmp_path):
    recipe = replace(recipe, formats=["parquet"])
    build(recipe, tmp_path / "set")
    build(replace(recipe, seed=4), tmp_path / "other")
    name = "parquet/train-00001-of-00003.parquet"
    (tmp_path / "set" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    building.write_checksums(tmp_path / "set")
    found = drain(verify_steps(tmp_path / "set", model=recipe.model))
    assert found.problems == [f"{name} holds beats of another seed or model than build.json names"]
    told = tmp_path / "other" / "build.json"
    told.write_text(told.read_text().replace(Source.of(recipe).model_sha256, "ab" * 32))
    building.write_checksums(tmp_path / "other")
    assert len(drain(verify_steps(tmp_path / "other", beats=0)).problems) == 4
    told.write_text('{"recipe": {"seed": "4"}, "model_sha256": ""}')
    building.write_checksums(tmp_path / "other")
    with pytest.raises(EcgsynthError, match=r"build\.json is damaged: it, recipe, seed cannot be '4'"):
        drain(verify_steps(tmp_path / "other"))


def test_the_gate_drops_marks_or_is_not_asked(recipe, files, tmp_path):
    import pyarrow.parquet as pq

    for name in ("drop", "mark", "none"):
        build(replace(recipe, gate=name, formats=["parquet"], splits={"train": 1.0}), tmp_path / name)
    verdicts = {}
    for name in ("drop", "mark", "none"):
        tables = [pq.read_table(path) for path in sorted((tmp_path / name / "parquet").glob("*"))]
        verdicts[name] = Counter(verdict for table in tables for verdict in table["gate"].to_pylist())
    assert verdicts["drop"] == {"passed": 310}
    assert verdicts["none"] == {"not asked": 310}
    assert verdicts["mark"]["failed"] > 10
    gate = Gate.load(files / "gate.safetensors")
    assert not gate.check(beats_of(tmp_path / "drop", "train")).any()
    marked = beats_of(tmp_path / "mark", "train")
    assert gate.check(marked).any(axis=1).sum() == verdicts["mark"]["failed"]
    assert "| N | 200 | 200 |" in (tmp_path / "mark" / "README.md").read_text()


def test_a_gate_that_holds_back_too_much_stops_the_build(recipe, tmp_path):
    with pytest.raises(EcgsynthError, match=r"the gate holds back .* beats of \w \(.*\): take another model"):
        build(replace(recipe, most_rejected=0.001), tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quotas": [Quota("F", 5), Quota("N", 5, lead="V9")]}, "unknown lead V9"),
        ({"model": "nowhere.safetensors"}, "no model at nowhere"),
        ({"gate_file": "nowhere.safetensors"}, "no gate at nowhere"),
        ({"gate_file": ""}, "no gate comes with ecgsynth for the beats"),
        ({"run": "nowhere"}, "no evaluation in nowhere"),
        ({"model": "mitdb", "quotas": [Quota("Q", 5)], "gate_file": "few"}, "knows no beats of class Q"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is_written(recipe, files, tmp_path, change, message):
    change = {name: str(files / value) if value == "few" else value for name, value in change.items()}
    with pytest.raises(EcgsynthError, match=message):
        build(replace(recipe, **change), tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_model_that_holds_real_beats_is_not_released(recipe, split, tmp_path):
    GENERATORS["memorizer"]().fit(split.train).save(tmp_path / "copies.safetensors")
    with pytest.raises(EcgsynthError, match="holds real beats"):
        build(replace(recipe, model=str(tmp_path / "copies.safetensors")), tmp_path / "set")


def test_beats_are_made_again_from_their_addresses(recipe, tmp_path):
    build(recipe, tmp_path / "set")
    found = drain(verify_steps(tmp_path / "set", model=recipe.model, beats=50))
    assert (found.problems, found.same, found.near) == ([], 50, 0)
    from ecgsynth.generators import load_generator

    address = address_of(tmp_path / "set", 300)
    assert address.label in "NSV"
    np.testing.assert_array_equal(make_again(load_generator(recipe.model), address).signals[0], address.signal)
    with pytest.raises(EcgsynthError, match=r"no beat 310 .* they hold 310"):
        address_of(tmp_path / "set", 310)


def test_every_change_of_a_file_is_found(recipe, tmp_path):
    build(replace(recipe, formats=["parquet", "npz"]), tmp_path / "set")
    folder = tmp_path / "set"
    target = folder / "npz" / "test.npz"
    original = target.read_bytes()
    target.write_bytes(original[:1000] + bytes([original[1000] ^ 1]) + original[1001:])
    assert drain(verify_steps(folder)).problems == ["npz/test.npz is not as it was"]
    target.unlink()
    assert drain(verify_steps(folder)).problems == ["npz/test.npz is missing"]
    target.write_bytes(original)
    (folder / "more.txt").write_text("more")
    assert drain(verify_steps(folder)).problems == ["more.txt is not in SHA256SUMS"]
    (folder / "more.txt").unlink()
    assert drain(verify_steps(folder)).problems == []
    with pytest.raises(EcgsynthError, match="no dataset in"):
        drain(verify_steps(tmp_path))


def test_beats_of_another_model_are_told_apart(recipe, split, tmp_path):
    build(recipe, tmp_path / "set")
    GENERATORS["gaussian"]().fit(split.val).save(tmp_path / "other.safetensors")
    found = drain(verify_steps(tmp_path / "set", model=str(tmp_path / "other.safetensors")))
    assert (found.same, found.note) == (0, "the model is another one than that which made it")
    build(replace(recipe, formats=["csv"]), tmp_path / "csv")
    assert "Parquet" in drain(verify_steps(tmp_path / "csv")).note


def test_beats_of_symbols_two_leads_and_another_rate(records, tmp_path):
    """A model of another kind goes through every format, with a gate that tells classes or symbols apart."""
    both = [replace(record, signals=np.repeat(record.signals, 2, axis=1), leads=("MLII", "V1")) for record in records]
    beats = extract_beats(both, lead="all", fs=250, source="simulated")
    sides = split_beats(beats)
    GENERATORS["gaussian"]().fit(sides.train, by="symbol").save(tmp_path / "model.safetensors")
    for by in ("class", "symbol"):
        Gate.learn(sides.train, sides.val, by=by, classifier=BeatClassifier(steps=100)).save(tmp_path / f"{by}.safetensors")
        quotas = [Quota("L", 30), Quota("A", 20), Quota("L", 10)]
        named = {"model": str(tmp_path / "model.safetensors"), "gate_file": str(tmp_path / f"{by}.safetensors")}
        build(Recipe(quotas=quotas, gate="mark", **named), tmp_path / by)
        made = beats_of(tmp_path / by, "train")
        assert made.counts("symbol") == {"L": 40, "A": 20}
        assert (made.n_leads, made.fs) == (2, 250)
        found = list(read_records(tmp_path / by / "wfdb"))
        assert {record.leads for record in found} == {("MLII", "V1")}
        assert {record.fs for record in found} == {250}
        assert Counter(np.concatenate([record.symbols for record in found]).tolist()) == {"L": 40, "A": 20}
        assert drain(verify_steps(tmp_path / by, model=named["model"])).same == 20
    with pytest.raises(EcgsynthError, match="beats of other leads, length"):
        build(Recipe("mitdb", [Quota("N", 5)], gate_file=str(tmp_path / "class.safetensors")), tmp_path / "misfit")
    assert not list(tmp_path.glob("misfit*"))


def test_broken_beats_never_leave(recipe, tmp_path, monkeypatch):
    """Whatever the gate's mode, what is not finite is drawn again."""
    from ecgsynth.generators.statistics import Gaussian

    original = Gaussian._sample

    def spoilt(self, cells, rng):
        made = original(self, cells, rng)
        made[::3, 7] = np.nan
        return made

    monkeypatch.setattr(Gaussian, "_sample", spoilt)
    for gate in ("mark", "none", "drop"):
        build(replace(recipe, gate=gate), tmp_path / gate)
        assert np.isfinite(beats_of(tmp_path / gate, "train").signals).all()


def test_a_beat_that_is_no_number_is_no_match(recipe, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    build(replace(recipe, formats=["parquet"]), tmp_path / "set")
    for path in sorted((tmp_path / "set" / "parquet").glob("*")):
        table = pq.read_table(path)
        nothing = pa.FixedSizeListArray.from_arrays(pa.array(np.full(256 * len(table), np.nan, np.float32)), 256)
        place = table.schema.get_field_index("signal")
        pq.write_table(table.set_column(place, table.schema.field(place), nothing), path)
    building.write_checksums(tmp_path / "set")
    assert len(drain(verify_steps(tmp_path / "set", model=recipe.model, beats=5)).problems) == 5
    path.write_bytes(b"damaged")
    building.write_checksums(tmp_path / "set")
    with pytest.raises(EcgsynthError, match="no Parquet file of ecgsynth"):
        drain(verify_steps(tmp_path / "set"))
    for text, message in ((b"\xff\xfe", "it is no text"), (b"00  ../../etc/passwd\n", "outside of the dataset")):
        (tmp_path / "set" / "SHA256SUMS").write_bytes(text)
        with pytest.raises(EcgsynthError, match=message):
            drain(verify_steps(tmp_path / "set"))


def test_those_who_lack_the_model_still_learn_whether_files_hold(recipe, files, tmp_path):
    """And a recipe, which a stranger may have written, does not say what is opened."""
    model = tmp_path / "mine.safetensors"
    model.write_bytes((files / "model.safetensors").read_bytes())
    build(replace(recipe, model=str(model)), tmp_path / "set")
    found = drain(verify_steps(tmp_path / "set"))
    assert (found.problems, found.same) == ([], 0)
    assert found.note == f"the dataset was made by {model}; --model says where that is"
    assert drain(verify_steps(tmp_path / "set", model=str(model))).same == 20
    model.unlink()
    found = drain(verify_steps(tmp_path / "set", model=str(model)))
    assert found.problems == []
    assert "--model says where it is" in found.note


def test_a_rare_label_that_loses_too_much_stops_the_build(recipe, tmp_path):
    with pytest.raises(EcgsynthError, match="the gate holds back"):
        build(replace(recipe, quotas=[Quota("V", 8)], most_rejected=0.2), tmp_path / "set")


def test_numbers_of_a_quota_do_not_run_into_those_of_the_next(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "STRIDE", 512)
    with pytest.raises(EcgsynthError, match="too rare"):
        build(recipe, tmp_path / "set")


def test_rows_are_numbered_through_the_dataset(recipe, tmp_path):
    import pandas as pd

    build(recipe, tmp_path / "set")
    frame = pd.read_parquet(tmp_path / "set" / "parquet")
    assert sorted(frame["row"]) == list(range(310))
    row = frame[frame["row"] == 257].iloc[0]
    address = address_of(tmp_path / "set", 257)
    assert (address.label, address.number) == (row["class"], row["number"])
    np.testing.assert_array_equal(address.signal, row["signal"])


def test_plans_add_up(recipe):
    planned = shards.plan(replace(recipe, quotas=[Quota("N", 1001), Quota("V", 7), Quota("F", 1)]))
    assert np.sum([shard.counts for shard in planned], axis=0).tolist() == [1001, 7, 1]
    assert max(sum(shard.counts) for shard in planned) <= 121
    assert [shard.number for shard in planned] == list(range(len(planned)))
    train = [shard for shard in planned if shard.split == "train"]
    assert np.sum([shard.counts for shard in train], axis=0).tolist() == [801, 6, 1]
    assert [shard.place for shard in train] == list(range(train[0].of))
