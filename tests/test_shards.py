"""Shards by themselves, of a model and a gate whose every beat is known: a plan, what is drawn and counted, what is written where."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ecgsynth
from ecgsynth import shards
from ecgsynth.beats import Beats, concatenate
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import sha256
from ecgsynth.formats import read_csv, read_parquet, to_csv_rows
from ecgsynth.gate import REASONS
from ecgsynth.labels import aami_classes
from ecgsynth.recipe import MOST_BEATS, Quota, Recipe
from ecgsynth.records import read_record
from ecgsynth.shards import COUNTS, Shard, Tally, is_whole, make_shard, plan, read_tallies
from ecgsynth.source import Source
from ecgsynth.strips import arrange, draw

NUMBER = 2**24
TIME = (np.arange(256) - 108) / 360


class Model:
    """Makes beats that are told by their numbers: every fifth is of V5; those of `broken`, counted from the start of a quota, are NaN."""

    name, block, learns = "known", 4, True

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken, self.asked, self.shape_ = broken, [], {}

    def fingerprint(self) -> str:
        return "ab" * 32

    def sample(self, counts, *, seed, first, lead, rr_before, rr_after):
        (label, count), *_ = counts.items()
        self.asked.append((label, count, first, lead, rr_before, rr_after))
        numbers = first + np.arange(count)
        rng = [np.random.default_rng([seed, number]) for number in numbers.tolist()]
        signals = np.stack([np.exp(-((TIME / 0.02) ** 2)) + own.normal(0, 0.05, 256) for own in rng])
        signals[np.isin(numbers % NUMBER, self.broken), 7] = np.nan
        leads = np.where(numbers % 5 == 4, "V5", "MLII") if lead is None else np.full(count, lead)
        rhythm = {name: [own.uniform(0.6, 1.2) for own in rng] for name in ("rr_before", "rr_after")}
        classes = aami_classes(np.full(count, label))
        info = {"seed": seed, "model_sha256": self.fingerprint()}
        return Beats(signals=signals, classes=classes, leads=leads, samples=numbers, source=self.name, info=info, **rhythm)


class Gate:
    """Holds back beats by their numbers, counted from the start of a quota: number -> reasons."""

    def __init__(self, against: dict[int, tuple[str, ...]]) -> None:
        self.against = against

    def summary(self) -> dict[str, object]:
        return {}

    def digest(self) -> str:
        return "cd" * 32

    def check(self, beats: Beats) -> np.ndarray:
        return np.array([[reason in self.against.get(number, ()) for reason in REASONS] for number in (beats.samples % NUMBER).tolist()])


def source_of(*quotas: Quota, asks: Gate | None = None, broken: tuple[int, ...] = (), **recipe) -> Source:
    given = {"gate": "drop" if asks else "none", "formats": ["parquet"], "seed": 3, **recipe}
    return Source(Recipe("known", quotas, **given), Model(broken), asks)


def made(source: Source, place: Path, *counts: int, number: int = 0, row: int = 0) -> list[float]:
    return list(make_shard(source, Shard(number, "train", 1, 3, counts, row), place))


def test_a_plan_divides_each_quota_evenly_and_numbers_shards_and_rows_through():
    recipe = Recipe("known", [Quota("N", 31_255), Quota("V", 3)], splits={"train": 0.8, "test": 0.2})
    assert plan(recipe) == [
        Shard(0, "train", 0, 3, (8334, 0), 0),
        Shard(1, "train", 1, 3, (8335, 1), 8334),
        Shard(2, "train", 2, 3, (8335, 1), 16_670),
        Shard(3, "test", 0, 1, (6251, 1), 25_006),
    ]


@pytest.mark.parametrize(("count", "wanted"), [(1, [1]), (10_000, [10_000]), (10_001, [5000, 5001]), (20_001, [6667] * 3)])
def test_a_shard_has_at_most_ten_thousand_beats(count, wanted):
    assert [sum(shard.counts) for shard in plan(Recipe("known", [Quota("N", count)]))] == wanted


def test_a_split_that_gets_no_beat_has_no_shard():
    planned = plan(Recipe("known", [Quota("N", 1)], splits={"train": 0.9, "test": 0.1}))
    assert planned == [Shard(0, "train", 0, 1, (1,), 0)]


def test_the_largest_recipe_has_shards_of_five_digits():
    last = plan(Recipe("known", [Quota("N", MOST_BEATS - 1), Quota("V", 1)]))[-1]
    assert (last.place, last.of, last.row + sum(last.counts)) == (99_999, 100_000, MOST_BEATS)


def test_a_plan_is_no_larger_than_memory():
    assert len(plan(Recipe("known", [Quota("N", 10**9 // 199)] * 199))) > 99_000
    with pytest.raises(EcgsynthError, match="1,000 quotas are too many for 1,000,000,000 beats: make several datasets"):
        plan(Recipe("known", [Quota("N", 10**6)] * 1000))


def test_each_quota_of_each_shard_has_numbers_of_its_own_and_asks_for_whole_blocks(tmp_path):
    source = source_of(Quota("N", 30), Quota("S", 9), Quota("V", 5, lead="V1", rr_before=(0.3, 0.5), rr_after=(0.6, 0.7)))
    assert made(source, tmp_path / "set", 8, 0, 5, number=2, row=40) == pytest.approx([0.8 * 8 / 13, 0.8, 1.0])
    asked = [("N", 8, 6 * NUMBER, None, None, None), ("V", 8, 8 * NUMBER, "V1", (0.3, 0.5), (0.6, 0.7))]
    assert source.model.asked == asked
    rows = rows_of(tmp_path / "set")
    assert rows["row"] == list(range(40, 53))
    assert Counter(zip(rows["class"], rows["asked_lead"], strict=True)) == {("N", None): 8, ("V", "V1"): 5}
    assert sorted(rows["number"]) == [*range(6 * NUMBER, 6 * NUMBER + 8), *range(8 * NUMBER, 8 * NUMBER + 5)]
    assert (set(rows["seed"]), set(rows["gate"]), set(rows["record"]), set(rows["sample"])) == ({3}, {"not asked"}, {""}, {-1})


def rows_of(place: Path) -> dict[str, list]:
    import pyarrow.parquet as pq

    return pq.read_table(place / "train-00001-of-00003.parquet").to_pydict()


HELD = {0: ("flat",), 2: ("flat", "label"), 3: ("label",), 5: ("label",), 9: ("R peak",)}


def test_beats_are_drawn_until_enough_have_passed_and_counted_until_the_last_that_is_kept(tmp_path):
    source = source_of(Quota("N", 4), asks=Gate(HELD), most_rejected=0.9)
    made(source, tmp_path / "set", 4)
    # Of the first four 1 passes, of the next four 4, 6 and 7.
    assert [asked[1:3] for asked in source.model.asked] == [(4, 0), (4, 4)]
    rows = rows_of(tmp_path / "set")
    assert (sorted(rows["number"]), set(rows["gate"])) == ([1, 4, 6, 7], {"passed"})
    assert read_tallies(tmp_path / "set") == [Tally("N", 8, 4, Counter({"flat": 2, "label": 3}))]
    few = source_of(Quota("N", 2), asks=Gate(HELD), most_rejected=0.9)
    made(few, tmp_path / "few", 2)
    assert sorted(rows_of(tmp_path / "few")["number"]) == [1, 4]
    assert read_tallies(tmp_path / "few") == [Tally("N", 5, 3, Counter({"flat": 2, "label": 2}))]  # 5 is not asked about


def test_marked_beats_stay_with_what_speaks_against_them_but_not_if_they_are_broken(tmp_path):
    source = source_of(Quota("N", 6), asks=Gate({**HELD, 4: ("not finite",)}), broken=(4,), gate="mark")
    made(source, tmp_path / "set", 6)
    rows = rows_of(tmp_path / "set")
    found = {number: (verdict, reasons) for number, verdict, reasons in zip(rows["number"], rows["gate"], rows["reasons"], strict=True)}
    assert found == {
        0: ("failed", ["flat"]),
        1: ("passed", []),
        2: ("failed", ["flat", "label"]),
        3: ("failed", ["label"]),
        5: ("failed", ["label"]),
        6: ("passed", []),
    }
    assert read_tallies(tmp_path / "set") == [Tally("N", 7, 1, Counter({"flat": 2, "label": 3, "not finite": 1}))]


def test_without_a_gate_broken_beats_alone_are_drawn_again(tmp_path):
    source = source_of(Quota("N", 5), broken=(0, 6, 8))
    made(source, tmp_path / "set", 5)
    rows = rows_of(tmp_path / "set")
    assert (sorted(rows["number"]), set(rows["gate"])) == ([1, 2, 3, 4, 5], {"not asked"})
    assert read_tallies(tmp_path / "set") == [Tally("N", 6, 1)]


def test_a_quota_is_given_up_before_it_runs_into_the_numbers_of_the_next(tmp_path, monkeypatch):
    """After a draw of four there must be numbers for four more: eight are enough, seven are not."""
    monkeypatch.setattr(shards, "STRIDE", 8)
    source = source_of(Quota("S", 4), Quota("N", 4), formats=["npz"])
    made(source, tmp_path / "set", 0, 4)
    assert [asked[2] for asked in source.model.asked] == [8]
    monkeypatch.setattr(shards, "STRIDE", 7)
    with pytest.raises(EcgsynthError, match=r"^beats of N as they are asked for are too rare: take a wider range of RR, or another gate$"):
        made(source, tmp_path / "other", 0, 4)
    assert not (tmp_path / "other").exists()


def test_a_label_that_loses_too_much_stops_the_work(tmp_path):
    source = source_of(Quota("N", 8), asks=Gate(dict.fromkeys(range(400), ("flat",))))
    with pytest.raises(EcgsynthError, match=r"the gate holds back 8 of 8 beats of N \(flat 8\): take another model or gate"):
        made(source, tmp_path / "set", 8)


def lost(held_back: int, looked_at: int, share: float) -> bool:
    try:
        Tally("N", looked_at, held_back).refuse_more_than(share)
    except EcgsynthError:
        return True
    return False


@pytest.mark.parametrize(
    ("held_back", "looked_at", "share", "refused"),
    [
        (0, 0, 0.5, False),
        (6, 6, 0.5, False),  # 1 / 64 by chance
        (7, 7, 0.5, True),  # 1 / 128
        (9, 10, 0.5, False),  # 11 / 1024
        (10, 10, 0.5, True),
        (0, 1000, 0.5, False),
        (1, 1000, 0.0, True),
        (2, 2, 0.1, False),  # 1 / 100, no less
        (3, 3, 0.1, True),
    ],
)
def test_more_is_lost_than_chance_would_take_where_its_binomial_is_below_a_hundredth(held_back, looked_at, share, refused):
    assert lost(held_back, looked_at, share) == refused


def test_who_loses_too_much_learns_how_much_why_and_what_to_do():
    tally = Tally("V", 2000, 1500, Counter({"flat": 20, "label": 1480}))
    with pytest.raises(EcgsynthError) as caught:
        tally.refuse_more_than(0.5)
    assert str(caught.value) == (
        "the gate holds back 1,500 of 2,000 beats of V (label 1,480, flat 20): take another model or gate, raise most_rejected, "
        'let such beats stay and be marked (gate = "mark"), or build without a gate (gate = "none")'
    )


def test_tallies_add_up():
    one, other = Tally("N", 8, 3, Counter({"flat": 2})), Tally("N", 10, 4, Counter({"flat": 1, "label": 3}))
    assert one + other == Tally("N", 18, 7, Counter({"flat": 3, "label": 3}))
    one.add(np.array([[reason == "label" for reason in REASONS], [False] * len(REASONS)]), np.array([True, False]))
    assert one == Tally("N", 10, 4, Counter({"flat": 2, "label": 1}))
    assert Tally("S") == Tally("S", 0, 0, Counter())


def test_what_is_made_of_strips_is_what_their_beats_make_lead_by_lead(tmp_path, monkeypatch):
    """Ten beats of which 4 and 9 are of V5, at most three a record: of MLII 3, 3 and 2, and of V5 2."""
    monkeypatch.setattr(shards, "PER_RECORD", 3)
    source = source_of(Quota("N", 10), formats=["wfdb", "csv", "parquet"])
    made(source, tmp_path / "set", 10, number=2)
    beats = Model().sample({"N": 10}, seed=3, first=2 * NUMBER, lead=None, rr_before=None, rr_after=None)
    of_mlii, of_v5 = (beats.take(np.flatnonzero(beats.leads == lead)) for lead in ("MLII", "V5"))
    numbers = beats.samples % 5 == 4
    assert numbers.sum() == 2
    in_order = [side.take(arrange(side)) for side in (of_mlii, of_v5)]
    pieces = [in_order[0].take(np.arange(*part)) for part in ((0, 3), (3, 6), (6, 8))] + [in_order[1]]
    drawn = [draw(piece, f"train_00002_{place:02d}", seed=[3, 2, place]) for place, piece in enumerate(pieces)]
    for record in drawn:
        back = read_record(tmp_path / "set" / "wfdb" / record.name)
        np.testing.assert_allclose(back.signals, record.signals, atol=0.51 / 1000)
        np.testing.assert_array_equal(back.samples, record.samples)
        assert back.leads == record.leads
    rows, parquet = rows_of(tmp_path / "set"), read_parquet([tmp_path / "set" / "train-00001-of-00003.parquet"])
    assert rows["record"] == [record.name for record in drawn for _ in record.samples]
    assert rows["sample"] == [sample for record in drawn for sample in record.samples.tolist()]
    np.testing.assert_array_equal(parquet.signals, concatenate(pieces).signals)
    signals, classes = read_csv(tmp_path / "set" / "part.csv")
    wanted = np.concatenate([to_csv_rows(record, piece.classes) for record, piece in zip(drawn, pieces, strict=True)])
    np.testing.assert_allclose(signals, wanted[:, :-1], atol=5e-5)
    assert classes.tolist() == ["N"] * 10
    kept = Beats.load(tmp_path / "set" / "beats.npz")
    assert (kept.records.tolist(), kept.samples.tolist()) == (rows["record"], rows["number"])
    header = (tmp_path / "set" / "wfdb" / "train_00002_00.hea").read_text().splitlines()
    assert [line for line in header if line.startswith("#")] == [
        "# SYNTHETIC: of no patient, not for diagnosis; neighbouring beats belong to nobody in common",
        f"# made by ecgsynth {ecgsynth.__version__}, generator known, seed 3",
        f"# model SHA-256 {'ab' * 32}",
    ]


PARQUET = {"train-00001-of-00003.parquet"}
RECORD = {f"wfdb/train_00000_00.{suffix}" for suffix in ("atr", "dat", "hea")}


@pytest.mark.parametrize(
    ("formats", "wanted"), [(["npz"], set()), (["parquet"], PARQUET), (["csv"], {"part.csv"}), (["wfdb", "parquet"], RECORD | PARQUET)]
)
def test_a_shard_holds_the_formats_asked_for_and_the_digest_of_every_file(formats, wanted, tmp_path):
    made(source_of(Quota("N", 2, lead="MLII"), formats=formats), tmp_path / "set", 2)
    files = {path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*") if path.is_file()}
    assert files == {"beats.npz", COUNTS, *wanted}
    counts = json.loads((tmp_path / "set" / COUNTS).read_text())
    assert counts["files"] == {name: sha256(tmp_path / "set" / name) for name in sorted(files - {COUNTS})}
    assert counts["tallies"] == [{"label": "N", "looked_at": 2, "held_back": 0, "reasons": {}}]
    records = set(Beats.load(tmp_path / "set" / "beats.npz").records.tolist())
    assert records == ({"train_00000_00"} if "wfdb" in formats else {""})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": {"none.npz": "00"}}', "[" * 100_000, "\ud800"])
def test_a_shard_whose_list_is_damaged_is_not_whole(text, tmp_path):
    (tmp_path / COUNTS).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert not is_whole(source_of(Quota("N", 2)), SHARD, tmp_path)


SHARD = Shard(0, "train", 1, 3, (2,), 0)


def test_a_shard_is_whole_while_every_file_is_as_it_was_written(tmp_path):
    source = source_of(Quota("N", 2), formats=["csv"])
    assert not is_whole(source, SHARD, tmp_path / "set")
    made(source, tmp_path / "set", 2)
    assert is_whole(source, SHARD, tmp_path / "set")
    for name in ("part.csv", "beats.npz"):
        kept = (tmp_path / "set" / name).read_bytes()
        (tmp_path / "set" / name).write_bytes(kept[:-1] + b"x")
        assert not is_whole(source, SHARD, tmp_path / "set")
        (tmp_path / "set" / name).write_bytes(kept)
    (tmp_path / "set" / "part.csv").unlink()
    assert not is_whole(source, SHARD, tmp_path / "set")


def test_a_shard_of_another_source_or_place_is_not_the_one_that_is_asked_for_and_is_replaced(tmp_path):
    source = source_of(Quota("N", 2), formats=["csv"])
    made(source, tmp_path / "set", 2)
    again = source_of(Quota("N", 2), formats=["csv"])
    assert is_whole(again, SHARD, tmp_path / "set")
    for other in (source_of(Quota("N", 2), formats=["csv"], seed=4), source_of(Quota("N", 2, lead="V1"), formats=["csv"])):
        assert not is_whole(other, SHARD, tmp_path / "set")
    assert not is_whole(source, SHARD._replace(row=2), tmp_path / "set")
    made(other, tmp_path / "set", 2)
    assert is_whole(other, SHARD, tmp_path / "set")
