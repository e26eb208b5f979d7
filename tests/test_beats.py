from dataclasses import replace

import numpy as np
import pytest

from ecgsynth.beats import _COLUMNS, Beats, concatenate
from ecgsynth.errors import EcgsynthError


def test_a_digest_knows_beats_again_whatever_the_last_digits():
    signals = np.random.default_rng(0).normal(size=(2, 256)).astype(np.float32)
    beats = Beats(signals=signals, classes=np.array(["N", "V"]))
    other = signals.copy()
    other[0, 0] += 0.02
    assert replace(beats, signals=signals * np.float32(1 + 1e-7)).digest() == beats.digest()
    assert replace(beats, signals=np.zeros_like(signals)).digest() == replace(beats, signals=np.full_like(signals, -0.001)).digest()
    changed = (replace(beats, signals=other), replace(beats, classes=np.array(["N", "N"])), beats.take(np.array([1, 0])))
    assert len({beats.digest(), *(one.digest() for one in changed)}) == 4


def test_beats_are_checked_on_creation():
    with pytest.raises(ValueError, match="one entry a beat"):
        Beats(signals=np.zeros((3, 8)), classes=np.array(["N", "N"]))
    with pytest.raises(ValueError, match="unknown class 'X'"):
        Beats(signals=np.zeros((1, 8)), classes=np.array(["X"]))


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


def test_take_and_concatenate_are_inverse(beats):
    half = len(beats) // 2
    joined = concatenate([beats.take(np.arange(half)), beats.take(np.arange(half, len(beats)))])
    assert np.array_equal(joined.signals, beats.signals)
    assert np.array_equal(joined.symbols, beats.symbols)
    with pytest.raises(ValueError, match="cannot be joined"):
        concatenate([beats, replace(beats, fs=250.0)])
