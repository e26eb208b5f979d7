import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import _COLUMNS, MOST_MV, Beats, concatenate, impossible, refuse_impossible
from ecgsynth.errors import EcgsynthError


@pytest.fixture
def few() -> Beats:
    """Five beats of two leads, of which all is known."""
    signals = np.random.default_rng(0).normal(size=(5, 2, 8))
    text = {name: np.array([f"{name}{number}" for number in range(5)]) for name in ("records", "patients", "leads")}
    numbers = {name: np.arange(5) + place / 4 for place, name in enumerate(("rr_before", "rr_after", "rr_mean", "ages"))}
    labels = {"classes": np.array(list("VNNSV")), "symbols": np.array(list("VLNAE")), "sexes": np.array(["F", "M", "", "F", "M"])}
    return Beats(signals, fs=100.0, r_sample=3, **labels, **text, **numbers, samples=np.arange(5) * 100, source="flow", info={"a": [1]})


def test_a_digest_knows_beats_again_whatever_the_last_digits():
    signals = np.random.default_rng(0).normal(size=(2, 256)).astype(np.float32)
    beats = Beats(signals=signals, classes=np.array(["N", "V"]))
    other = signals.copy()
    other[0, 0] += 0.02
    assert replace(beats, signals=signals * np.float32(1 + 1e-7)).digest() == beats.digest()
    assert replace(beats, signals=np.zeros_like(signals)).digest() == replace(beats, signals=np.full_like(signals, -0.001)).digest()
    changed = (replace(beats, signals=other), replace(beats, classes=np.array(["N", "N"])), beats.take(np.array([1, 0])))
    assert len({beats.digest(), *(one.digest() for one in changed)}) == 4


def test_a_digest_is_the_hash_of_whole_hundredths_of_a_millivolt_and_the_classes():
    beats = Beats(signals=np.array([[0.0149, -0.026], [1.2, -0.004]]), classes=np.array(["N", "V"]))
    whole = np.array([[1, -3], [120, 0]], dtype=np.float32)
    assert np.array_equal(beats.rounded(), whole)
    assert not np.signbit(beats.rounded()[1, 1])
    assert beats.digest() == hashlib.sha256(whole.tobytes() + b"NV").hexdigest()


def test_what_is_not_said_of_beats_is_unknown():
    beats = Beats(signals=np.zeros((2, 256)), classes=np.array(["N", "V"]))
    assert (beats.fs, beats.r_sample, beats.source, beats.info) == (360.0, 108, "real", {})
    assert (beats.n_samples, beats.n_leads, len(beats)) == (256, 1, 2)
    for name in ("symbols", "records", "patients", "leads", "sexes"):
        assert getattr(beats, name).tolist() == ["", ""]
    assert beats.samples.tolist() == [-1, -1]
    for name in ("rr_before", "rr_after", "rr_mean", "ages"):
        assert np.isnan(getattr(beats, name)).all()
    assert set(beats.columns) == set(_COLUMNS)
    assert [Beats(beats.signals, beats.classes, source=source).is_synthetic for source in ("real", "simulated", "flow")] == [
        False,
        False,
        True,
    ]


def test_columns_are_of_their_types_and_not_copied_if_they_are_so_already(few):
    for beats in (few, Beats(signals=np.zeros((2, 8)), classes=np.array(["N", "V"]))):
        assert {getattr(beats, name).dtype for name in ("signals", "rr_before", "rr_after", "rr_mean", "ages")} == {np.dtype(np.float32)}
        assert beats.samples.dtype == np.int64
        assert {getattr(beats, name).dtype.kind for name in ("classes", "symbols", "records", "patients", "leads", "sexes")} == {"U"}
    again = replace(few)
    for name in ("signals", *_COLUMNS):
        assert np.shares_memory(getattr(again, name), getattr(few, name))


@pytest.mark.parametrize(
    ("signals", "given", "message"),
    [
        (np.zeros((3, 8)), {}, r"^classes must have one entry a beat: 3, not \(2,\)$"),
        (np.zeros((2, 8)), {"ages": np.zeros((2, 1))}, r"^ages must have one entry a beat: 2, not \(2, 1\)$"),
        (np.zeros(2), {}, r"^signals must be \(n_beats, n_samples\) or \(n_beats, n_leads, n_samples\), not \(2,\)$"),
        (np.zeros((2, 1, 1, 8)), {}, r"signals must be .*, not \(2, 1, 1, 8\)$"),
        (np.zeros((2, 8)), {"classes": np.array(["Y", "X"])}, r"^unknown class 'X', 'Y'; known: N, S, V, F, Q$"),
        (np.zeros((2, 8)), {"classes": np.array(["N", ""])}, r"unknown class ''"),
    ],
)
def test_beats_are_checked_on_creation(signals, given, message):
    with pytest.raises(ValueError, match=message):
        Beats(**{"signals": signals, "classes": np.array(["N", "N"]), **given})


def test_beats_are_counted_by_class_and_symbol_in_the_order_of_labels(few):
    assert few.labels().tolist() == few.labels("class").tolist() == list("VNNSV")
    assert few.labels("symbol").tolist() == list("VLNAE")
    assert list(few.counts().items()) == list(few.counts("class").items()) == [("N", 2), ("S", 1), ("V", 2)]
    assert list(few.counts("symbol").items()) == [(name, 1) for name in "NLVAE"]
    with pytest.raises(EcgsynthError, match=r"^beats are told apart by class or symbol, not by 'patient'$"):
        few.labels("patient")
    for symbols in (None, np.array(["N", "", "N", "N", "N"])):
        with pytest.raises(EcgsynthError, match=r"^these beats have no annotation symbols: only their classes are known$"):
            replace(few, symbols=symbols).counts("symbol")


def test_some_beats_are_taken_with_all_that_is_known_of_them(few):
    for index in (np.array([3, 0]), np.array([True, False, False, True, False])):
        some = few.take(index)
        for name in ("signals", *_COLUMNS):
            assert np.array_equal(getattr(some, name), getattr(few, name)[index])
        assert (some.fs, some.r_sample, some.source, some.info) == (100.0, 3, "flow", {"a": [1]})


def test_saved_beats_load_equal(beats, tmp_path):
    beats.save(tmp_path / "b.npz")
    again = Beats.load(tmp_path / "b.npz")
    for name in ("signals", *_COLUMNS):
        saved, loaded = getattr(beats, name), getattr(again, name)
        assert np.array_equal(saved, loaded, equal_nan=saved.dtype.kind == "f")
    assert (again.fs, again.r_sample, again.source) == (beats.fs, beats.r_sample, "simulated")
    assert again.info["before"] == beats.info["before"]
    with pytest.raises(EcgsynthError, match="exists"):
        beats.save(tmp_path / "b.npz")
    beats.take(np.arange(3)).save(tmp_path / "b.npz", force=True)
    assert len(Beats.load(str(tmp_path / "b.npz"))) == 3


def test_a_file_says_all_of_its_beats_together_in_its_head(few, tmp_path):
    few.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz", allow_pickle=False) as file:
        head = json.loads(str(file["head"]))
        assert set(file.files) == {"head", "signals", *_COLUMNS}
    assert head == {"format": 1, "fs": 100.0, "r_sample": 3, "source": "flow", "info": {"a": [1]}}
    again = Beats.load(tmp_path / "b.npz")
    assert np.array_equal(again.signals, few.signals)
    assert (again.fs, again.r_sample, again.source, again.info) == (100.0, 3, "flow", {"a": [1]})


def told(values):
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"b\.npz is of format 2; this version reads format 1$"),
        ({"format": None}, r"b\.npz is no beats file, or it is damaged \('format'\)$"),
        ({"fs": None}, r"is no beats file, or it is damaged \(it has no fs\)$"),
        ({"r_sample": 8}, r"damaged \(beats of the shape \(5, 2, 8\), with the R peak at 8, cannot be\)$"),
        ({"head": np.array([1])}, r"damaged \(head holds values of another kind\)$"),
        ({"signals": np.zeros((5, 2, 8), dtype=int)}, r"damaged \(signals holds values of another kind\)$"),
        ({"samples": np.zeros(5)}, r"damaged \(samples holds values of another kind\)$"),
        ({"rr_mean": np.zeros(5, dtype=int)}, r"damaged \(rr_mean holds values of another kind\)$"),
        ({"ages": np.zeros(4, dtype=np.float32)}, r"damaged \(ages must have one entry a beat: 5, not \(4,\)\)$"),
        ({"ages": None}, r"damaged \('ages'\)$"),  # only the running mean may be missing
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_with_the_reason(few, tmp_path, change, message):
    few.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as file:
        arrays = dict(file)
    head = json.loads(str(arrays["head"]))
    if change.keys() <= head.keys():
        change = {"head": np.array(json.dumps(told(head | change)))}
    np.savez(tmp_path / "b.npz", **told(arrays | change))
    with pytest.raises(EcgsynthError, match=message):
        Beats.load(tmp_path / "b.npz")


def test_a_file_without_the_running_mean_is_read(beats, tmp_path):
    beats.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file.files if name != "rr_mean"})
    old = Beats.load(tmp_path / "old.npz")
    assert np.isnan(old.rr_mean).all()
    assert np.array_equal(old.rr_before, beats.rr_before, equal_nan=True)


def test_files_that_are_no_beats_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(tmp_path / "trap.npz", head=np.array(Trap(), dtype=object))
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("trap", "text"):
        with pytest.raises(EcgsynthError, match="no beats file"):
            Beats.load(tmp_path / f"{name}.npz")
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(EcgsynthError, match="no beats file at"):
        Beats.load(tmp_path / "nothing.npz")


def test_take_and_concatenate_are_inverse(few):
    joined = concatenate([few.take(np.arange(2)), replace(few.take(np.arange(2, 5)), source="vae", info={})])
    for name in ("signals", *_COLUMNS):
        assert np.array_equal(getattr(joined, name), getattr(few, name))
    assert (joined.fs, joined.r_sample, joined.source, joined.info) == (100.0, 3, "flow", {"a": [1]})


def test_beats_that_are_unlike_are_not_joined(few):
    with pytest.raises(ValueError, match=r"^nothing to join$"):
        concatenate([])
    narrower = replace(few, signals=few.signals[:, :, :7])
    for other in (replace(few, fs=250.0), replace(few, r_sample=4), replace(few, signals=few.signals[:, 0]), narrower):
        with pytest.raises(EcgsynthError, match=r"different \(n_leads, n_samples, fs, r_sample\) cannot be joined: \[.*2, 8, 100\.0, 3\)"):
            concatenate([few, other])


@pytest.mark.parametrize("leads", [1, 2])
def test_what_no_ecg_reaches_is_known_beat_by_beat(leads):
    signals = np.zeros((7, leads, 8), dtype=np.float32)
    signals[1:6, -1, 5] = [np.nan, np.inf, -np.inf, MOST_MV * 1.001, -MOST_MV * 1.001]
    signals[6, 0, :2] = [MOST_MV, -MOST_MV]
    odd = Beats(signals=signals.squeeze(1) if leads == 1 else signals, classes=["N"] * 7, records=["", "r1", *[""] * 5])
    assert impossible(odd).tolist() == [False, *[True] * 5, False]
    with pytest.raises(EcgsynthError, match=r"^5 of the odd beats hold .* beyond 10,000 mV, .* \(the first is number 1, of record r1\)$"):
        refuse_impossible(odd, "odd")
    refuse_impossible(odd.take(np.array([0, 6])), "odd")
    refuse_impossible(odd.take(np.array([], dtype=int)), "odd")
