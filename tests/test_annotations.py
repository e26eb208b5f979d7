"""Annotation files: as wfdb reads them, and as it does not."""

import struct
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgsynth.annotations import read_annotations
from ecgsynth.errors import EcgsynthError


def words(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<H", code << 10 | value) for code, value in pairs)


def note(text: str) -> bytes:
    return words((22, 0), (63, len(text))) + text.encode().ljust(len(text) + len(text) % 2, b"\0")


def test_all_of_mitbih_is_as_wfdb_reads_it(mitdb: Path):
    for file in sorted(mitdb.glob("*.atr")):
        found, known = read_annotations(file), wfdb.rdann(str(file.with_suffix("")), "atr")
        assert found.symbols.tolist() == known.symbol
        assert found.ticks.tolist() == known.sample.tolist()


def test_what_wfdb_writes_is_read(tmp_path):
    """All codes, gaps of days, numbers, channels, texts of any length, and a clock."""
    rng = np.random.default_rng(0)
    symbols = [*"NLRaVFJASEj/Q~|sT*D=pB^t+u?![]en@xf()r"]
    ticks = np.cumsum(rng.integers(1, 2000, len(symbols)) * rng.choice([1, 10**5], len(symbols)))
    some = {"subtype": rng.integers(0, 9, len(symbols)), "chan": rng.integers(0, 9, len(symbols)), "num": rng.integers(0, 9, len(symbols))}
    wfdb.wrann("odd", "atr", ticks, symbols, **some, aux_note=["x" * n for n in range(len(symbols))], fs=720, write_dir=str(tmp_path))
    found = read_annotations(tmp_path / "odd.atr")
    assert found.symbols.tolist() == ['"', *symbols]  # the note that tells of the clock
    assert found.ticks.tolist() == [0, *ticks.tolist()]
    assert found.clock == 720


def test_a_file_may_give_codes_symbols_of_its_own(tmp_path):
    own = note("## annotation type definitions") + note("42 V my own beat") + note("## end of definitions") + note("1 Q not one")
    (tmp_path / "a.atr").write_bytes(own + words((42, 100), (1, 50), (0, 0)))
    found = read_annotations(tmp_path / "a.atr")
    assert found.symbols.tolist()[-2:] == ["V", "N"]
    assert found.ticks.tolist()[-2:] == [100, 150]


@pytest.mark.timeout(20)
def test_notes_that_nobody_knows_are_passed_over(tmp_path):
    """wfdb waits for ever on the first, which is right."""
    (tmp_path / "a.atr").write_bytes(note("## made by hand") + note("## time resolution: 250") + words((1, 100), (5, 0), (0, 0)))
    found = read_annotations(tmp_path / "a.atr")
    assert found.clock == 250
    assert found.ticks.tolist()[-2:] == [100, 100]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (words((1, 100)), "cut short"),
        (words((1, 100)) + b"\0", "cut short"),
        (words((59, 0), (0, 0)), "cut short"),
        (words((1, 1), (63, 900), (0, 0)), "cut short"),
        (note("## time resolution: 0") + words((0, 0)), "a clock of 0 ticks"),
        (note("## time resolution: 0.0000001") + words((0, 0)), "a clock of 1e-07 ticks"),
    ],
)
def test_damaged_files_are_refused(tmp_path, data, message):
    (tmp_path / "a.atr").write_bytes(data)
    with pytest.raises(EcgsynthError, match=rf"a\.atr .*{message}"):
        read_annotations(tmp_path / "a.atr")


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    with open(tmp_path / "a.atr", "wb") as file:
        file.truncate(10**11)
    with pytest.raises(EcgsynthError, match="larger than"):
        read_annotations(tmp_path / "a.atr")
