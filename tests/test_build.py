"""Datasets: what stands in them, and that a build ends with the same bytes whatever happens to it."""

import errno
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgsynth import build as building
from ecgsynth import shards
from ecgsynth.beats import Beats
from ecgsynth.build import build, build_steps
from ecgsynth.classifiers import BeatClassifier
from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import read_csv, read_parquet
from ecgsynth.gate import Gate
from ecgsynth.generators import GENERATORS
from ecgsynth.recipe import Quota, Recipe
from ecgsynth.records import read_records
from ecgsynth.source import Source
from ecgsynth.splits import split_beats
from ecgsynth.steps import drain
from ecgsynth.strips import symbols_of
from ecgsynth.verify import address_of, make_again, verify_steps


@pytest.fixture(scope="module")
def files(gate, split, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    GENERATORS["gaussian"]().fit(split.train).save(folder / "model.safetensors")
    gate.save(folder / "gate.safetensors")
    four = {label: gate.limits[label] for label in "NSVF"}
    replace(gate, limits=four).save(folder / "few")
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 120)
    monkeypatch.setattr(shards, "PER_RECORD", 50)


@pytest.fixture
def recipe(files) -> Recipe:
    quotas = [Quota("N", 200), Quota("V", 80), Quota("S", 30, rr_before=(0.3, 0.55))]
    named = {"model": str(files / "model.safetensors"), "gate_file": str(files / "gate.safetensors")}
    return Recipe(quotas=quotas, splits={"train": 0.8, "test": 0.2}, seed=3, most_rejected=0.99, **named)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beats_of(folder: Path, split: str) -> Beats:
    return read_parquet(sorted((folder / "parquet").glob(f"{split}-*.parquet")))


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


@pytest.mark.parametrize("name", ["beats.npz", "part.csv", "counts.json", "train-00000-of-00003.parquet", "wfdb/train_00000_00.dat"])
def test_what_a_loss_of_power_left_in_pieces_is_made_again(recipe, tmp_path, name):
    build(recipe, tmp_path / "whole")
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    steps.close()
    os.truncate(tmp_path / "set.part" / "shards" / "00000" / name, 0)
    build(recipe, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    os.truncate(tmp_path / "set" / "csv" / "train.csv", 0)
    assert not build(recipe, tmp_path / "set")
    assert build(recipe, tmp_path / "set", force=True)  # which mends it
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    head = tmp_path / "late.part" / "build.json"
    head.parent.mkdir()
    head.write_text("")
    build(recipe, tmp_path / "late")
    assert contents(tmp_path / "late") == contents(tmp_path / "whole")


def test_what_is_done_is_not_done_again(recipe, tmp_path, monkeypatch):
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    steps.close()
    made: list[int] = []
    original = building.make_shard
    monkeypatch.setattr(building, "make_shard", lambda source, shard, place: made.append(shard.number) or original(source, shard, place))
    build(recipe, tmp_path / "set")
    assert made == [1, 2, 3]
    before = (tmp_path / "set" / "build.json").stat().st_mtime_ns
    build(recipe, tmp_path / "set")  # is there already
    assert (tmp_path / "set" / "build.json").stat().st_mtime_ns == before
    assert made == [1, 2, 3]


@pytest.mark.parametrize("put", [False, True], ids=["before its upload", "after its upload"])
def test_what_was_made_for_an_address_is_neither_made_again_nor_left_if_it_is_stopped(recipe, tmp_path, monkeypatch, put):
    pytest.importorskip("upath", reason="needs the extra scale")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address, upload = f"memory://{tmp_path.name}/set", building.upload

    def stopped(*args, **how):
        if put:
            upload(*args, **how)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "upload", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(recipe, address)
    monkeypatch.setattr(building, "make_shard", lambda *_: pytest.fail("it is made again"))
    assert build(recipe, address) != put
    assert not build(recipe, address)
    assert list((tmp_path / "cache" / "ecgsynth" / "builds").iterdir()) == []


def test_two_recipes_are_not_mixed(recipe, tmp_path):
    other = replace(recipe, seed=9)
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    with pytest.raises(EcgsynthError, match="another process is building"):
        build(recipe, tmp_path / "set")
    steps.close()
    with pytest.raises(EcgsynthError, match="build of another recipe"):
        build(other, tmp_path / "set")
    build(recipe, tmp_path / "set")
    with pytest.raises(EcgsynthError, match="dataset of another recipe"):
        build(other, tmp_path / "set")
    build(other, tmp_path / "set", force=True)
    assert json.loads((tmp_path / "set" / "build.json").read_text())["recipe"]["seed"] == 9
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(EcgsynthError, match="holds other things"):
        build(recipe, tmp_path / "mine", force=True)
    (tmp_path / "mine").rename(tmp_path / "yours.part")
    with pytest.raises(EcgsynthError, match="holds other things"):
        build(recipe, tmp_path / "yours", force=True)
    assert [path.name for path in (tmp_path / "yours.part").iterdir()] == ["thesis.tex"]
    (tmp_path / "yours.part").rename(tmp_path / "set.part")
    assert not build(other, tmp_path / "set")  # is there already, and what is beside it is left alone
    assert (tmp_path / "set.part" / "thesis.tex").is_file()


def late(recipe, folder, monkeypatch, name):
    """Let a process of a build that was killed put a shard of its own into a folder, before a step of the build there."""
    original = getattr(building, name)

    def step(*given, **how):
        made = folder.with_name(f"{folder.name}.part") / "shards" / "00001"
        other = Source.of(replace(recipe, seed=4))
        drain(shards.make_shard(other, shards.plan(other.recipe)[1], made))
        return original(*given, **how)

    monkeypatch.setattr(building, name, step)


@pytest.mark.parametrize("step", ["read_tallies", "write_checksums"])
def test_a_shard_that_a_killed_build_of_another_recipe_still_puts_there_is_made_anew(recipe, tmp_path, monkeypatch, step):
    build(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        late(recipe, tmp_path / "set", patch, step)
        with pytest.raises(EcgsynthError, match=r"processes of a build that was killed still wrote into .*: give the same command again"):
            build(recipe, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    build(recipe, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_a_shard_that_another_recipe_left_is_made_anew(recipe, tmp_path):
    """As by a process of a build that was killed, which goes on for a while."""
    build(recipe, tmp_path / "whole")
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    next(steps)
    other = Source.of(replace(recipe, seed=4))
    for shard in shards.plan(other.recipe):
        drain(shards.make_shard(other, shard, tmp_path / "set.part" / "shards" / f"{shard.number:05d}"))
    drain(steps)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


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


@pytest.mark.parametrize("kind", ["thesis", "another recipe", "the same"])
def test_what_takes_the_name_of_a_dataset_meanwhile_stays(recipe, tmp_path, kind):
    recipe = replace(recipe, formats=["npz"])
    other = tmp_path / "other"
    if kind == "thesis":
        other.mkdir()
        (other / "thesis.tex").write_text("years of work")
    else:
        build(recipe if kind == "the same" else replace(recipe, seed=4), other)
    before = contents(other)
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    next(steps)
    other.rename(tmp_path / "set")
    if kind == "the same":
        inode = (tmp_path / "set").stat().st_ino
        assert not drain(steps)
        assert (tmp_path / "set").stat().st_ino == inode
        assert not (tmp_path / "set.part").exists()
    else:
        with pytest.raises(EcgsynthError, match="holds other things" if kind == "thesis" else "is a dataset of another recipe"):
            drain(steps)
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("seed", [3, 4])
def test_what_another_build_has_made_by_the_time_this_one_begins_stays(recipe, tmp_path, monkeypatch, seed):
    recipe = replace(recipe, formats=["npz"])
    build(replace(recipe, seed=seed), tmp_path / "other")
    monkeypatch.setattr(building, "_refuse_others", lambda work: (tmp_path / "other").rename(tmp_path / "set"))
    monkeypatch.setattr(building, "make_shard", lambda *_: pytest.fail("it is made again"))
    if seed == 3:
        assert not build(recipe, tmp_path / "set")
        assert not (tmp_path / "set.part").exists()
    else:
        with pytest.raises(EcgsynthError, match="is a dataset of another recipe"):
            build(recipe, tmp_path / "set")
    assert [path.name for path in (tmp_path / "set" / "npz").iterdir()]


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_without_locks_takes_datasets_all_the_same(recipe, tmp_path, monkeypatch, name):
    def refuse(*_):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(building.fcntl, "flock", refuse)
    assert build(replace(recipe, quotas=[Quota("N", 20)], formats=["npz"]), tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(tmp_path, monkeypatch, moment):
    """As whoever had it removes it with the folder when all is done."""
    work, locked, opened, done = tmp_path / "set.part", building.fcntl.flock, building.open_itself, []

    def remove():
        if not done:
            done.append((work / "lock").unlink(missing_ok=True))
            work.rmdir()

    def lock(*given):
        locked(*given)
        remove()

    if moment == "before":
        monkeypatch.setattr(building, "open_itself", lambda *given: remove() or opened(*given))
    else:
        monkeypatch.setattr(building.fcntl, "flock", lock)
    with building._alone_in(work):
        assert done
        with pytest.raises(EcgsynthError, match="another process is building"), building._alone_in(work):
            pass
        assert [path.name for path in work.iterdir()] == ["lock"]
    with building._alone_in(work):
        pass


@pytest.mark.parametrize("name", ["lock", "shards", "shards/00000"])
def test_nothing_is_written_through_a_link_in_what_a_stranger_left(recipe, tmp_path, name):
    """Beside a new dataset, where it would be gone on with, and beside one that is there, where it would be cleared away."""
    folder, mine = tmp_path / "set.part", tmp_path / "mine" / "0" / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    (folder / name).parent.mkdir(parents=True)
    (folder / "build.json").write_text(json.dumps(Source.of(recipe).head()))
    (folder / name).symlink_to(mine if name == "lock" else mine.parent.parent)
    with pytest.raises(EcgsynthError, match=rf"{name} is a link, of which no build makes any: remove .*set\.part"):
        build(recipe, tmp_path / "set")
    folder.rename(tmp_path / "other.part")
    build(recipe, tmp_path / "set")
    (tmp_path / "other.part").rename(folder)
    assert not build(recipe, tmp_path / "set")
    assert {path.name for path in tmp_path.joinpath("mine").rglob("*")} == {"0", "thesis.tex"}
    assert mine.read_text() == "years of work"


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
