"""Beats that are too many for memory: drawn, split, sampled and learnt from as if they were not."""

import json
import re
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_archive import same

from ecgsynth import parts, tables
from ecgsynth.beats import Beats, concatenate
from ecgsynth.cli.console import note_drawn
from ecgsynth.errors import EcgsynthError
from ecgsynth.generators import GENERATORS, Request, base, load_generator, sample_stored_steps, streaming, trained
from ecgsynth.parts import part_name, write_part
from ecgsynth.sides import SIDES
from ecgsynth.splits import Split, load_side, open_side, split_beats, split_stored_steps
from ecgsynth.steps import drain
from ecgsynth.stored import DRAWN_OF, HEAD, StoredBeats, load_beats, open_beats, seal


def store(beats: Beats, folder, *, batch=100, batches=3) -> StoredBeats:
    pieces = [beats.take(np.arange(start, min(start + batch, len(beats)))) for start in range(0, len(beats), batch)]
    groups = [pieces[start : start + batches] for start in range(0, len(pieces), batches)]
    parts = [write_part(folder / part_name(number), group) for number, group in enumerate(groups)]
    return seal(folder, parts, source=beats.source, info=beats.info)


@pytest.fixture(scope="module")
def stored(beats, tmp_path_factory) -> StoredBeats:
    return store(beats, tmp_path_factory.mktemp("stored") / "beats")


def test_what_is_read_of_an_address_is_closed(beats, stored, monkeypatch):
    opened = []
    monkeypatch.setattr(tables, "open_file", lambda path: opened.append(path.open("rb")) or opened[-1])  # as an address is
    assert same(load_beats(stored.folder), beats)
    stored.counts()
    list(stored.columns("classes"))
    assert len(opened) > 2
    assert all(file.closed for file in opened)


def test_beats_come_back_as_they_were(beats, stored):
    assert same(load_beats(stored.folder), beats)
    assert isinstance(open_beats(stored.folder), StoredBeats)
    assert max(len(batch) for batch in stored.batches()) == 100
    joined = np.concatenate([columns["patients"] for columns in stored.columns("patients")])
    assert (joined == beats.patients).all()
    assert (stored.source, stored.info, stored.is_synthetic) == (beats.source, json.loads(json.dumps(beats.info)), False)


def test_beats_of_two_leads_come_back_as_they_were(beats, tmp_path):
    two = replace(beats, signals=np.stack([beats.signals, -beats.signals], axis=1))
    assert same(store(two, tmp_path / "two").load(), two)


def test_beats_of_some_labels_are_those_alone(beats, stored):
    some = stored.of({"V", "F"})
    asked = beats.take(np.isin(beats.classes, ["V", "F"]))
    assert same(some.load(), asked)
    assert (len(some), some.counts(), some.digest()) == (len(asked), asked.counts(), asked.digest())
    assert sum(len(columns["records"]) for columns in some.columns("records")) == len(asked)
    assert stored.of({"A"}, "symbol").counts() == {"S": beats.counts("symbol")["A"]}


def test_some_are_drawn_in_their_proportions_and_rare_labels_whole(beats, stored):
    assert same(stored.some(len(beats)), beats)
    drawn = stored.some(500, seed=1)
    for pair, count in stored.pairs().items():
        own = ((drawn.classes == pair[0]) & (drawn.symbols == pair[1])).sum()
        assert own == max(round(500 * count / len(beats)), min(count, 20))
    assert drawn.info[DRAWN_OF] == beats.digest()
    keys = [f"{record} {sample}" for record, sample in zip(drawn.records, drawn.samples, strict=True)]
    assert len(set(keys)) == len(keys)
    assert {f"{r} {s}" for r, s in zip(beats.records, beats.samples, strict=True)} >= set(keys)
    assert not same(stored.some(500, seed=2), drawn)
    rare = min(stored.counts(), key=stored.counts().get)
    assert stored.some(500, seed=1, whole=beats.counts()[rare]).counts()[rare] == beats.counts()[rare]


def test_nothing_is_kept_of_beats_that_are_not_drawn(beats):
    one = beats.take(np.arange(20_000) % len(beats))
    one = replace(one, signals=one.signals[:, :2], r_sample=0)
    whole = {"classes": one.classes, "symbols": one.symbols}
    counts = Counter(zip(one.classes.tolist(), one.symbols.tolist(), strict=True))

    class Long(StoredBeats):
        """As long as it is asked to be."""

        def pairs(self):
            return Counter({pair: count * self.head["times"] for pair, count in counts.items()})

        def batches(self):
            return (one for _ in range(self.head["times"]))

        def columns(self, *names):
            return ({name: whole[name] for name in names} for _ in range(self.head["times"]))

    peaks = []
    for times in (10, 60):
        tracemalloc.start()
        Long(None, {"source": "real", "info": {}, "times": times}).some(1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.5 * 50 * len(one)  # bytes a beat


def test_whoever_judges_a_part_of_the_beats_says_so(beats, stored, capsys):
    note_drawn(train=stored.some(500), test=beats)
    said = capsys.readouterr().err
    assert re.fullmatch(r"note: 5\d\d beats of the train side are taken, drawn at random\n", said)


def test_windows_go_through_all_beats_before_any_comes_again(beats, stored):
    parts = len(stored.head["parts"])
    one = [stored.window(number, 300, seed=4) for number in range(parts)]
    assert concatenate(one).digest() != beats.digest()  # in another order
    together = Counter(zip(*(np.concatenate([getattr(w, name) for w in one]).tolist() for name in ("records", "samples")), strict=True))
    assert together == Counter(zip(beats.records.tolist(), beats.samples.tolist(), strict=True))
    assert same(stored.window(parts + 1, 300, seed=4), stored.window(parts + 1, 300, seed=4))
    drawn = len(stored.window(0, 60, seed=4))
    assert 30 < drawn < 100  # of a part of 300 so many are drawn
    assert len(stored.window(0, 10 * len(beats))) == len(beats)


def test_damage_is_told_in_a_line(beats, tmp_path):
    folder = store(beats, tmp_path / "beats").folder
    with pytest.raises(EcgsynthError, match=f"no beats in .*{HEAD}"):
        StoredBeats.open(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(EcgsynthError, match="is no part of a folder of beats"):
        parts.known_of(tmp_path / "other.parquet")
    path = folder / part_name(0)
    content = path.read_bytes()
    for wrong in (content[:-100], b"", content[: len(content) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(EcgsynthError, match=r"is no Parquet file, or it is damaged|is no part|is damaged"):
            StoredBeats.open(folder).load()
    head = json.loads((folder / HEAD).read_text())
    for change in ({"format": 99}, {"parts": [{"name": "../x", "beats": 1, "counts": [["N", "N", 1]]}]}, {"parts": 3}, {"parts": [{}]}):
        (folder / HEAD).write_text(json.dumps(head | change))
        with pytest.raises(EcgsynthError, match=r"is damaged|is of format 99"):
            StoredBeats.open(folder)
    assert write_part(tmp_path / "none.parquet", [], left_out=[])["beats"] == 0
    assert not (tmp_path / "none.parquet").exists()


@pytest.mark.parametrize("scheme", ["beats", "patients"])
def test_a_split_is_that_of_beats_in_memory(beats, stored, tmp_path, scheme):
    head = drain(split_stored_steps(stored, tmp_path / "split", scheme=scheme, seed=5))
    expected = split_beats(beats, scheme=scheme, seed=5)
    found = Split.load(tmp_path / "split")
    assert head == expected.summary() == found.summary() == json.loads((tmp_path / "split" / "split.json").read_text())
    for side in SIDES:
        assert same(getattr(found, side), getattr(expected, side))
        assert isinstance(open_side(tmp_path / "split", side), StoredBeats)
    few = Split.load(tmp_path / "split", most=100)
    assert len(few.train) < 200 < len(found.train)
    assert any(f"of the {len(found.train):,} beats of the train side {len(few.train):,} are taken" in note for note in few.notes)
    few.save(tmp_path / "few")
    assert Split.load(tmp_path / "few", most=1).notes == few.notes  # what was drawn is not said again of those that were
    expected.save(tmp_path / "files")
    assert same(load_side(tmp_path / "files", "val"), expected.val)
    with pytest.raises(EcgsynthError, match=r"split exists: give another name, or --force"):
        drain(split_stored_steps(stored, tmp_path / "split"))
    again = drain(split_stored_steps(stored, tmp_path / "split", force=True))
    assert again == split_beats(beats, scheme="beats", seed=0).summary()  # unless told
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "letter").write_text("")
    with pytest.raises(EcgsynthError, match="folder of other things"):
        drain(split_stored_steps(stored, tmp_path / "others", force=True))


def test_a_split_tells_how_far_it_is_and_leaves_out_parts_of_which_a_side_has_nothing(stored, tmp_path):
    parts = len(stored.head["parts"])
    assert list(split_stored_steps(stored, tmp_path / "split", scheme="patients")) == [(number + 1) / parts for number in range(parts)]
    found = [open_side(tmp_path / "split", side) for side in SIDES]
    for side in found:
        assert all(len(batch) for batch in side.batches())
        assert {part["name"] for part in side.head["parts"]} == {path.name for path in side.folder.glob("*.parquet")}
    assert min(len(side.head["parts"]) for side in found) < parts


def test_a_side_without_a_beat_is_refused_before_anything_is_there(beats, tmp_path):
    one = store(beats.take(np.arange(1)), tmp_path / "one")
    with pytest.raises(EcgsynthError, match=r"^no beat for the val side: the beats split needs more beats or patients$"):
        drain(split_stored_steps(one, tmp_path / "split"))
    assert not (tmp_path / "split").exists()


def test_sampling_into_parts_makes_the_same_beats(split, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "PART", 130)
    model = GENERATORS["gaussian"]().fit(split.train)
    for request in (Request({"V": 300, "N": 290}, seed=3, first=7), Request({"N": 200}, rr_before=(0.6, 0.9))):
        made = drain(sample_stored_steps(model, request, tmp_path / "made", force=True))
        assert same(made.load(), drain(model.sample_steps(request)))
        assert len(made.head["parts"]) == (6 if len(request.counts) == 2 else 2)
        assert made.is_synthetic


SMALL = {"flow": {"hidden": 16, "depth": 1}, "flow-gan": {"hidden": 16, "depth": 1}, "vae": {}, "cgan": {}, "dp-flow": {}, "gaussian": {}}
TRAINED = ("flow", "flow-gan", "vae", "cgan")


def small(name):
    settings = dict.fromkeys(("steps", "batch", "validations"), 1) | {"steps": 16, "batch": 100} if name in TRAINED else {}
    return GENERATORS[name](**SMALL[name], **settings)


@pytest.mark.parametrize("name", [*TRAINED, "gaussian"])
def test_beats_that_fit_into_memory_teach_the_same_from_parts(split, tmp_path, name):
    stored = store(split.train, tmp_path / "train")
    assert small(name).fit(stored).fingerprint() == small(name).fit(split.train).fingerprint()


@pytest.mark.parametrize("name", [*TRAINED, "gaussian"])
def test_more_beats_than_fit_into_memory_are_learnt_in_turn(split, tmp_path, monkeypatch, name):
    stored = store(split.train, tmp_path / "train", batch=50, batches=2)
    monkeypatch.setattr(base, "MOST", 300)
    monkeypatch.setattr(base, "RARE", 50)
    asked = []

    def window(self, number, *rest, **how):
        asked.append((number, self.counts()))
        return given(self, number, *rest, **how)

    given = StoredBeats.window
    monkeypatch.setattr(StoredBeats, "window", window)
    monkeypatch.setattr(trained, "RARE", 50)
    model = small(name).fit(stored)
    assert model.counts == split.train.counts()  # of all, not of those in memory
    assert model.shape_["data_sha256"] == split.train.digest()
    assert (asked != []) == (name in TRAINED)
    rare = {label for label, count in split.train.counts().items() if count <= 50}
    assert rare
    assert all(not rare & counts.keys() for _, counts in asked)
    again = small(name)
    checkpoint = tmp_path / "checkpoint"
    steps = again.fit_steps(stored, None, checkpoint)
    for _ in range(7 if name in TRAINED else 0):
        next(steps)
    steps.close()
    drain(again.fit_steps(stored, None, checkpoint))
    assert again.fingerprint() == model.fingerprint()


@pytest.mark.parametrize("name", [*TRAINED, "gaussian"])
def test_a_lead_of_which_no_beat_is_in_memory_counts_as_the_usual_one_of_its_label(split, tmp_path, monkeypatch, name):
    """Models have room for what they have seen alone, and windows that come later bring such beats."""
    for place in (base, trained):
        monkeypatch.setattr(place, "RARE", 50)
    monkeypatch.setattr(base, "MOST", 300)
    drawn = store(split.train, tmp_path / "sound", batch=50, batches=2).some(300, whole=50)
    held = set(zip(drawn.records.tolist(), drawn.samples.tolist(), strict=True))
    pairs = list(zip(split.train.records.tolist(), split.train.samples.tolist(), strict=True))
    later = [place for place, pair in enumerate(pairs) if pair not in held and split.train.classes[place] == "N"][:60]
    leads = split.train.leads.astype("U4")
    leads[later] = "aVL"
    model = small(name).fit(store(replace(split.train, leads=leads), tmp_path / "train", batch=50, batches=2))
    assert "aVL" in leads
    assert "aVL" not in model.leads
    assert model.counts == split.train.counts()
    made = model.sample(dict.fromkeys(model.counts, 40))
    assert np.isfinite(made.signals).all()


def test_beats_that_come_later_are_looked_at_too(split, tmp_path, monkeypatch):
    for place in (base, trained):
        monkeypatch.setattr(place, "RARE", 50)
    monkeypatch.setattr(base, "MOST", 300)
    first = store(split.train, tmp_path / "sound", batch=50, batches=2).some(300, whole=50)
    drawn = set(zip(first.records.tolist(), first.samples.tolist(), strict=True))
    pairs = zip(split.train.records.tolist(), split.train.samples.tolist(), strict=True)
    later = np.array([pair not in drawn for pair in pairs])
    odd = replace(split.train, signals=np.where(later[:, None], 1e20, split.train.signals))
    assert later.any()
    with pytest.raises(EcgsynthError, match="of the training beats hold values that are not finite, or beyond 10,000 mV"):
        small("flow").fit(store(odd, tmp_path / "odd", batch=50, batches=2))


def test_what_counts_on_all_beats_says_so(split, tmp_path, monkeypatch):
    stored = store(split.train, tmp_path / "train")
    monkeypatch.setattr(base, "MOST", 300)
    with pytest.raises(EcgsynthError, match="counted on all beats"):
        small("dp-flow").fit(stored)
    with pytest.raises(EcgsynthError, match="told of all patients"):
        GENERATORS["flow"](style=2, hidden=16, depth=1, steps=20, batch=100, validations=1).fit(stored)


def test_a_model_of_parts_is_saved_and_loaded(split, tmp_path, monkeypatch):
    stored = store(split.train, tmp_path / "train")
    monkeypatch.setattr(base, "MOST", 300)
    model = small("flow").fit(stored)
    model.save(tmp_path / "model.safetensors")
    assert load_generator(tmp_path / "model.safetensors").fingerprint() == model.fingerprint()
