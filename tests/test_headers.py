"""Odd but right records are read as they were written; others are refused with the reason, and nothing outside their folder is read."""

import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgsynth.cutting import extract_beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.headers import read_header
from ecgsynth.records import read_record, read_records

FS, N, GAIN = 250, 2500, 200
BEATS = np.arange(200, N, 230)


def digital(n_leads: int, *, most: int = 400, n: int = N, seed: int = 0) -> np.ndarray:
    """A slow wave and noise, in whole steps within +-most: (n, n_leads)."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(n)[:, None] / 20 + np.arange(n_leads)) * most * 0.8
    return np.rint(waves + rng.uniform(-0.1, 0.1, (n, n_leads)) * most).astype(np.int64)


def write(folder: Path, samples: np.ndarray, name: str = "odd", *, fmt: str = "16", units: str = "mV", fs: float = FS, **more) -> Path:
    leads = samples.shape[1]
    given = {"adc_gain": [GAIN] * leads, "baseline": [0] * leads, "sig_name": [f"L{n}" for n in range(leads)]} | more
    wfdb.wrsamp(name, fs, [units] * leads, d_signal=samples, fmt=[fmt] * leads, write_dir=str(folder), **given)
    annotate(folder, name)
    return folder / name


def annotate(folder: Path, name: str = "odd", annotator: str = "atr", samples: np.ndarray = BEATS) -> None:
    wfdb.wrann(name, annotator, samples, ["N"] * len(samples), write_dir=str(folder))


def header(path: Path, old: str, new: str) -> None:
    """Change a word of a header, which must be there."""
    file = path.with_name(f"{path.name}.hea")
    text = file.read_bytes()
    assert old.encode() in text
    file.write_bytes(text.replace(old.encode(), new.encode()))


def packed(fmt: str, samples: np.ndarray) -> bytes:
    """Set samples down in a format that wfdb reads and does not write: (n, n_leads)."""
    flat = samples.reshape(-1)
    if fmt in ("61", "160"):  # big-endian, or above zero
        return (flat.astype(">i2") if fmt == "61" else (flat + 32768).astype("<u2")).tobytes()
    if fmt == "8":  # differences of one byte
        return np.diff(samples, axis=0, prepend=0).astype("i1").tobytes()
    one, two, three = np.pad(flat, (0, -len(flat) % 3)).reshape(-1, 3).T & 0x3FF
    if fmt == "310":
        return np.column_stack([one << 1 | (three & 0x1F) << 11, two << 1 | three >> 5 << 11]).astype("<u2").tobytes()
    return (one | two << 10 | three << 20).astype("<u4").tobytes()


FORMATS = {"16": 30_000, "212": 2000, "24": 8_000_000, "32": 2_000_000_000, "80": 120, "508": 120, "516": 30_000, "524": 8_000_000}
FORMATS |= {"310": 500, "311": 500, "61": 30_000, "160": 30_000, "8": 400}


@pytest.mark.parametrize("leads", [1, 3])
@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_gives_what_was_written(tmp_path, fmt, leads):
    samples = digital(leads, most=FORMATS[fmt])
    if fmt == "8":
        samples = np.cumsum(np.clip(np.diff(samples, axis=0, prepend=0), -127, 127), axis=0)
    if fmt in ("61", "160", "310", "311", "8"):
        path = write(tmp_path, samples)
        header(path, ".dat 16 ", f".dat {fmt} ")
        for value in set(samples[0].tolist()):  # from which the differences of format 8 count
            header(path, f"/mV 16 0 {value} ", "/mV 16 0 0 ")
        (tmp_path / "odd.dat").write_bytes(packed(fmt, samples))
    else:
        path = write(tmp_path, samples, fmt=fmt)
    record = read_record(path)
    np.testing.assert_allclose(record.signals, samples / GAIN, rtol=1e-6, atol=1e-6)
    assert record.samples.tolist() == BEATS.tolist()


@pytest.mark.parametrize("fs", [128, 250, 257.5, 500, 1000])
def test_rates_from_128_to_1000_hz(tmp_path, fs):
    samples = digital(2)
    record = read_record(write(tmp_path, samples, fs=fs))
    assert record.fs == fs
    beats = extract_beats([record], lead="L0", band=None)
    assert beats.fs == 360
    middle = samples[BEATS[3], 0] / GAIN  # a slow wave keeps its value at the R peak whatever the rate
    assert abs(beats.signals[beats.samples == BEATS[3]][0, beats.r_sample] - middle) < 0.35


def test_twelve_leads(tmp_path):
    samples = digital(12)
    record = read_record(write(tmp_path, samples), lead=["L7"])
    assert record.leads == ("L7",)
    np.testing.assert_allclose(record.signals[:, 0], samples[:, 7] / GAIN, rtol=1e-6)
    assert extract_beats([read_record(tmp_path / "odd")], lead="all").n_leads == 12


@pytest.mark.parametrize(("units", "factor"), [("mV", 1), ("uV", 1e-3), ("V", 1e3), ("nV", 1e-6)])
def test_units(tmp_path, units, factor):
    samples = digital(2)
    record = read_record(write(tmp_path, samples, units=units))
    np.testing.assert_allclose(record.signals, samples / GAIN * factor, rtol=1e-6)


def test_a_gain_of_zero_is_uncalibrated_which_the_format_takes_as_200(tmp_path):
    samples = digital(1)
    path = write(tmp_path, samples)
    header(path, " 200(0)/mV ", " 0(0)/mV ")
    np.testing.assert_allclose(read_record(path).signals, samples / 200, rtol=1e-6)


def test_a_baseline_of_wide_samples_is_taken_off_exactly(tmp_path):
    """Single precision has 24 bits: beside a baseline of 2^30 it would lose the signal."""
    samples = digital(1) + 2**30
    record = read_record(write(tmp_path, samples, fmt="32", baseline=[2**30]))
    np.testing.assert_allclose(record.signals, (samples - 2**30) / GAIN, rtol=1e-6)


def test_several_samples_a_frame_are_their_mean(tmp_path):
    """As the format asks at the rate of frames."""
    fast, slow = digital(1, n=4 * N)[:, 0], digital(1, seed=1)[:, 0]
    frames = np.column_stack([fast.reshape(N, 4), slow])
    path = write(tmp_path, np.column_stack([slow, slow + 1]))
    header(path, f"odd.dat 16 200(0)/mV 16 0 {slow[0]} ", f"odd.dat 16x4 200(0)/mV 16 0 {slow[0]} ")
    (tmp_path / "odd.dat").write_bytes(frames.astype("<i2").tobytes())
    record = read_record(path)
    np.testing.assert_allclose(record.signals[:, 1], slow / GAIN, rtol=1e-6)
    np.testing.assert_allclose(record.signals[:, 0], fast.reshape(N, 4).mean(axis=1) / GAIN, atol=1 / GAIN)  # in whole steps


def test_skew_and_offset(tmp_path):
    samples = digital(2)
    path = write(tmp_path, samples)
    text = path.with_name("odd.hea").read_text().splitlines()
    text[1], text[2] = text[1].replace(" 16 ", " 16:5+100 ", 1), text[2].replace(" 16 ", " 16+100 ", 1)
    path.with_name("odd.hea").write_text("\n".join(text) + "\n")
    data = (tmp_path / "odd.dat").read_bytes()
    (tmp_path / "odd.dat").write_bytes(b"\x55" * 100 + data)
    record = read_record(path)
    np.testing.assert_allclose(record.signals[:-5, 0], samples[5:, 0] / GAIN, rtol=1e-6)
    assert np.isnan(record.signals[-5:, 0]).all()  # beyond the file
    np.testing.assert_allclose(record.signals[:, 1], samples[:, 1] / GAIN, rtol=1e-6)


def test_a_header_that_does_not_say_its_length_or_its_leads(tmp_path):
    samples = digital(2)
    path = write(tmp_path, samples)
    header(path, f"odd 2 {FS} {N}", f"odd 2 {FS}")
    header(path, " L1", "")
    record = read_record(path)
    assert record.leads == ("L0", "signal 2")
    np.testing.assert_allclose(record.signals, samples / GAIN, rtol=1e-6)


def test_annotators_other_than_atr(tmp_path):
    path = write(tmp_path, digital(1))
    annotate(tmp_path, annotator="qrs", samples=BEATS[:4])
    assert len(read_record(path, annotator="qrs").samples) == 4
    assert len(read_record(path).samples) == len(BEATS)
    with pytest.raises(EcgsynthError, match=r"no annotations \(odd.ecg is not there\)"):
        read_record(path, annotator="ecg")


def test_comments_in_any_script_are_no_matter_and_other_lines_in_one_are_refused(tmp_path):
    samples = digital(1)
    path = write(tmp_path, samples)
    file = path.with_name("odd.hea")
    file.write_bytes(file.read_bytes() + "# Größe 180, 心電図 Age: 69 Sex: F\n".encode() + b"# \xe4\xff\n")
    record = read_record(path)
    assert (record.age, record.sex) == (69, "F")
    np.testing.assert_allclose(record.signals, samples / GAIN, rtol=1e-6)
    header(path, "/mV", "/µV")  # which wfdb takes for V
    with pytest.raises(EcgsynthError, match="µV is written uV"):
        read_record(path)


def segments(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write two segments of two and of one lead."""
    first, second = digital(2, n=1000), digital(1, n=1500, seed=1)
    write(folder, first, "one")
    write(folder, second, "two", sig_name=["L1"])
    return first, second


def master(folder: Path, *lines: str, n: int = N, leads: int = 2) -> Path:
    (folder / "odd.hea").write_text(f"odd/{len(lines)} {leads} {FS} {n}\n" + "\n".join(lines) + "\n")
    annotate(folder)
    return folder / "odd"


def test_segments_of_fixed_layout(tmp_path):
    first, second = digital(2, n=1000), digital(2, n=1500, seed=1)
    write(tmp_path, first, "one")
    write(tmp_path, second, "two")
    path = master(tmp_path, "one 1000", "two 1500")
    for lead in (None, "L1"):
        record = read_record(path, lead=lead)
        wanted = np.concatenate([first, second])[:, slice(None) if lead is None else [1]] / GAIN
        np.testing.assert_allclose(record.signals, wanted, rtol=1e-6)
    assert record.leads == ("L1",)
    assert len(extract_beats([read_record(path)], lead="L0")) > 5


def test_segments_of_variable_layout_with_a_gap(tmp_path):
    first, second = segments(tmp_path)
    (tmp_path / "lay.hea").write_text(f"lay 2 {FS} 0\n~ 0 200/mV 16 0 0 0 0 L0\n~ 0 200/mV 16 0 0 0 0 L1\n")
    path = master(tmp_path, "lay 0", "one 1000", "~ 500", "two 1500", n=3000)
    record = read_record(path)
    wanted = np.full((3000, 2), np.nan)
    wanted[:1000], wanted[1500:, 1] = first / GAIN, second[:, 0] / GAIN
    assert record.leads == ("L0", "L1")
    np.testing.assert_allclose(record.signals, wanted, rtol=1e-6)
    assert extract_beats([record], lead="L1").info["left_out"]
    assert [record.name for record in read_records(tmp_path)] == ["odd"]  # its segments are no records beside it


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("odd 2500",), "a segment of itself"),
        (("one 1000", "gone 1500"), "names gone.hea, which is not there"),
        (("one 1000", "deep 1500"), "its segment deep is made of segments"),
        (("one 1000", "one 1500"), "its segment one is of another length"),
        (("one 1000", "two 1500"), "differ in their signals"),
        (("one 1000", "~ 1500"), "no segment that says which signals"),
        (("one 1000",), "it says it is 2500 samples long, and its segments 1,000"),
        (("../one 1000", "two 1500"), r"names '\.\./one', which is no file, or outside of its folder"),
        (("1" * 400 + " 1000", "two 1500"), "which is no file"),
        (("/etc/passwd 1000", "two 1500"), "names '/etc/passwd', which is no file, or outside of its folder"),
    ],
)
def test_segments_that_cannot_be_are_refused(tmp_path, lines, message):
    segments(tmp_path)
    (tmp_path / "deep.hea").write_text(f"deep/1 2 {FS} 1500\nodd 1500\n")
    with pytest.raises(EcgsynthError, match=message):
        read_record(master(tmp_path, *lines))


def test_a_gap_longer_than_any_file_is_refused_before_it_is_made(tmp_path):
    segments(tmp_path)
    (tmp_path / "lay.hea").write_text(f"lay 2 {FS} 0\n~ 0 200/mV 16 0 0 0 0 L0\n~ 0 200/mV 16 0 0 0 0 L1\n")
    for gap, told in ((10**12, "2,000,000,002,000"), (10**400, "20,[0,]+2,000")):
        path = master(tmp_path, "lay 0", "one 1000", f"~ {gap}", n=gap + 1000)
        with pytest.raises(EcgsynthError, match=f"declares {told} samples at 250 Hz, and its files hold 4,000 bytes"):
            read_record(path)


@pytest.mark.parametrize(("fs", "samples"), [(40, 1_100_000), (250, 6_900_000), (360, 9_990_000), (1000, 9_990_000)])
def test_gaps_count_as_what_they_take_at_the_rate_of_beats(tmp_path, fs, samples):
    wfdb.wrsamp("one", fs, ["mV"], ["L0"], d_signal=digital(1, n=1000), fmt=["16"], adc_gain=[GAIN], baseline=[0], write_dir=str(tmp_path))
    (tmp_path / "lay.hea").write_text(f"lay 1 {fs} 0\n~ 0 200/mV 16 0 0 0 0 L0\n")
    for times in (1, 1.1):
        gap = int(times * samples)
        (tmp_path / "r.hea").write_text(f"r/3 1 {fs} {gap + 1000}\nlay 0\none 1000\n~ {gap}\n")
        if times == 1:
            assert read_header(tmp_path / "r").n_samples == gap + 1000
    with pytest.raises(EcgsynthError, match=rf"it declares [\d,]+ samples at {fs} Hz, and its files hold 2,000 bytes"):
        read_header(tmp_path / "r")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one 1000"] * 102, "it names the same segments again more than 100 times"),
        (["one 1000", *["~ 1"] * 5000], r"odd\.hea has more than 5,000 segments"),
    ],
)
def test_segments_are_no_more_than_records_have(tmp_path, lines, message):
    segments(tmp_path)
    assert read_header(master(tmp_path, *["one 1000"] * 101, n=101_000)).n_samples == 101_000
    with pytest.raises(EcgsynthError, match=message):
        read_header(master(tmp_path, *lines, n=1000 * len(lines)))


def test_a_day_of_twelve_leads_and_days_of_many_segments_and_gaps_are_read(tmp_path):
    """A Holter of 24 h at 250 Hz, and five days at 125 Hz in 2,000 segments with a gap after each, half of the time."""
    leads, frames = 12, 24 * 3600 * 250
    signals = "".join(f"day.dat 16 200/mV 16 0 0 0 0 L{number}\n" for number in range(leads))
    (tmp_path / "day.hea").write_text(f"day {leads} 250 {frames}\n{signals}")
    with open(tmp_path / "day.dat", "wb") as file:
        file.truncate(2 * leads * frames)
    assert read_header(tmp_path / "day").n_samples == frames
    each = 5 * 24 * 3600 * 125 // 4000
    with open(tmp_path / "some.dat", "wb") as file:
        file.truncate(2 * each)
    for number in range(2000):
        (tmp_path / f"s{number}.hea").write_text(f"s{number} 1 125 {each}\nsome.dat 16 200/mV 16 0 0 0 0 II\n")
    (tmp_path / "lay.hea").write_text("lay 1 125 0\n~ 0 200/mV 16 0 0 0 0 II\n")
    lines = "".join(f"s{number} {each}\n~ {each}\n" for number in range(2000))
    (tmp_path / "days.hea").write_text(f"days/4001 1 125 {4000 * each}\nlay 0\n{lines}")
    with pytest.raises(EcgsynthError, match="it declares 54,000,000 samples"):  # for they are all of one file
        read_header(tmp_path / "days")
    with open(tmp_path / "some.dat", "wb") as file:
        file.truncate(2 * each * 2000)
    assert read_header(tmp_path / "days").n_samples == 4000 * each


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f" {N}\n", f" {10**12}\n", "cut short: it holds 10,000 bytes of 4,000,000,000,000"),
        ("odd.dat 16 ", "odd.dat 16x999999999999 ", "cut short"),
        ("odd.dat 16 ", f"odd.dat 212x{10**400} ", "cut short"),
        ("odd.dat 16 ", "odd.dat 16:99999999999 ", "skew between its signals"),
        ("odd.dat 16 ", "odd.dat 16+99999999999 ", "cut short"),
        ("odd.dat 16 ", "odd.dat 17 ", "of format"),
        (f"odd 2 {FS}", f"odd 99999999999 {FS}", "it is of 99,999,999,999 signals, and tells of 2"),
        (f"odd 2 {FS}", f"odd/99999999999 2 {FS}", "cannot be read"),
        (f"odd 2 {FS}", f"odd/ 20 {FS}", "it is of 20 signals, and tells of 2"),
        (f"odd 2 {FS}", f"odd/0 2 {FS}", "cannot be read"),
        (f"odd 2 {FS}", "odd 2 0", "its rate is 0 frames a second"),
        (f"odd 2 {FS}", "odd 2 0.0001", "its rate is 0.0001 frames a second"),
        (f"odd 2 {FS}", "1" * 3000 + f" 2 {FS}", "is no header"),
        (" 200(0)/mV ", " 1e-300(0)/mV ", "a gain of 1e-300 steps a unit cannot be"),
        ("odd.dat 16 ", "../odd.dat 16 ", r"names '\.\./odd.dat', which is no file, or outside of its folder"),
        ("odd.dat 16 ", "/etc/passwd 16 ", "names '/etc/passwd', which is no file, or outside of its folder"),
        ("odd.dat 16 ", "sub/odd.dat 16 ", "names 'sub/odd.dat', which is no file, or outside of its folder"),
        ("odd.dat 16 ", "http://odd.dat 16 ", "outside of its folder"),
        ("odd.dat 16 ", "s3:odd.dat 16 ", "outside of its folder"),
        ("odd.dat 16 ", ". 16 ", "names '.', which is no file"),
        ("odd.dat 16 ", "1" * 400 + " 16 ", "which is no file"),
    ],
)
def test_what_a_header_cannot_declare_is_refused(tmp_path, old, new, message):
    path = write(tmp_path, digital(2))
    header(path, old, new)
    with pytest.raises(EcgsynthError, match=message):
        read_record(path)


def test_nothing_outside_the_folder_is_read(tmp_path):
    """Whether a header names it or a link leads there; the same file in its own folder is read."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside, inside):
        folder.mkdir()
        write(folder, digital(1))
    wanted = read_record(inside / "odd").signals
    for suffix in ("dat", "atr"):
        file = inside / f"odd.{suffix}"
        kept = file.read_bytes()
        file.unlink()
        file.symlink_to(outside / f"odd.{suffix}")
        with pytest.raises(EcgsynthError, match=f"odd.{suffix} is a link that leads out of its folder"):
            read_record(inside / "odd")
        file.unlink()
        file.write_bytes(kept)
    assert np.array_equal(read_record(inside / "odd").signals, wanted)
    for suffix in ("hea", "dat", "atr"):  # a record whose header is a link is one of the folder where that leads
        (inside / f"odd.{suffix}").unlink()
        (inside / f"odd.{suffix}").symlink_to(outside / f"odd.{suffix}")
    assert np.array_equal(read_record(inside / "odd").signals, wanted)
    third = tmp_path / "third"
    third.mkdir()
    write(third, digital(1))
    (inside / "odd.dat").unlink()
    (inside / "odd.dat").symlink_to(third / "odd.dat")  # but not in pieces
    with pytest.raises(EcgsynthError, match=r"odd\.dat is a link that leads out of its folder"):
        read_record(inside / "odd")
    (inside / "odd.dat").unlink()
    os.mkfifo(inside / "odd.dat")  # which would be waited for
    with pytest.raises(EcgsynthError, match=r"odd\.dat, which is not there"):
        read_record(inside / "odd")


def test_a_list_of_records_is_not_followed(tmp_path):
    write(tmp_path, digital(1))
    (tmp_path / "RECORDS").write_text("odd\n../outside/odd\n/etc/passwd\n")
    assert [record.name for record in read_records(tmp_path)] == ["odd"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-2] + b"\0\xec\xff\xff\0\0\0\4" + b"\0\0", "lie before its begin or behind its end"),
        (lambda data: data[:-2] + b"\0\xec\xff\xff\xf0\xff\0\4" + b"\0\0", "not in the order of their time"),
    ],
    ids=["before the begin", "backwards"],
)
def test_annotations_that_cannot_be_are_refused(tmp_path, change, message):
    path = write(tmp_path, digital(1))
    file = tmp_path / "odd.atr"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(EcgsynthError, match=message):
        read_record(path)
