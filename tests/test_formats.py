"""Every format gives back what was put into it, whatever the beats."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import CSV_COLUMNS, CSV_STEP, Rows, join_npz, join_rows, read_csv, read_parquet, to_csv_rows, write_csv, write_parquet
from ecgsynth.gate import REASONS
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.records import Record, read_record, write_record
from ecgsynth.strips import draw

FINITE = st.floats(-100, 100, width=32)
INTERVALS = st.one_of(st.floats(0.125, 8, width=32), st.just(float("nan")))
PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def beats(draw_: st.DrawFn, *, most_leads: int = 2) -> Beats:
    """Any finite beats, of any mix of classes."""
    count, n_leads = draw_(st.integers(1, 6)), draw_(st.integers(1, most_leads))
    shape = (count, 256) if n_leads == 1 else (count, n_leads, 256)
    rhythm = {name: draw_(some.arrays(np.float32, count, elements=INTERVALS)) for name in ("rr_before", "rr_after", "rr_mean")}
    return Beats(
        signals=draw_(some.arrays(np.float32, shape, elements=FINITE)),
        classes=np.array(draw_(st.lists(st.sampled_from(AAMI_CLASSES), min_size=count, max_size=count))),
        leads=np.full(count, "MLII" if n_leads == 1 else "MLII+V1"),
        samples=draw_(some.arrays(np.int64, count, elements=st.integers(0, 2**40))),
        source="flow",
        info={"seed": draw_(st.integers(0, 2**31)), "model_sha256": "ab"},
        **rhythm,
    )


def rows_of(made: Beats, against: np.ndarray | None = None) -> Rows:
    return Rows(made, np.arange(len(made)), np.full(len(made), ""), against)


def same(one: Beats, other: Beats) -> None:
    for name in ("signals", *one.columns):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.fs, one.r_sample, one.source, dict(one.info)) == (other.fs, other.r_sample, other.source, dict(other.info))


@PROPERTY
@given(made=beats())
def test_parquet_gives_back_the_same_beats(made, tmp_path):
    write_parquet(rows_of(made), tmp_path / "one.parquet")
    same(read_parquet([tmp_path / "one.parquet"]), made)
    first = (tmp_path / "one.parquet").read_bytes()
    write_parquet(rows_of(made), tmp_path / "one.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == first


@PROPERTY
@given(parts=st.lists(beats(most_leads=1), min_size=1, max_size=3))
def test_npz_of_parts_is_that_of_all(parts, tmp_path):
    parts = [replace(part, info=parts[0].info) for part in parts]
    for number, part in enumerate(parts):
        part.save(tmp_path / f"{number}.npz", force=True)
    join_npz([tmp_path / f"{number}.npz" for number in range(len(parts))], tmp_path / "all.npz")
    same(Beats.load(tmp_path / "all.npz"), join_rows([rows_of(part) for part in parts]).beats)


@PROPERTY
@given(made=beats(), seed=st.integers(0, 9))
def test_wfdb_gives_back_the_strip_to_half_a_step(made, seed, tmp_path):
    record = draw(made, "strip", seed=seed)
    write_record(record, tmp_path)
    back = read_record(tmp_path / "strip")
    step = max(1 / 1000, float(np.abs(record.signals).max()) / 32767)
    np.testing.assert_allclose(back.signals, record.signals, atol=0.51 * step)
    np.testing.assert_array_equal(back.samples, record.samples)
    np.testing.assert_array_equal(back.symbols, made.classes)
    assert back.leads == record.leads


@PROPERTY
@given(made=beats())
def test_csv_gives_back_its_columns_to_half_a_step(made, tmp_path):
    wanted = to_csv_rows(draw(made, "strip"), made.classes)
    write_csv(wanted, tmp_path / "beats.csv")
    signals, classes = read_csv(tmp_path / "beats.csv")
    assert signals.shape == (len(made), CSV_COLUMNS)
    np.testing.assert_allclose(signals, wanted[:, :-1], atol=CSV_STEP / 2)
    np.testing.assert_array_equal(classes, made.classes)


def test_csv_rows_are_cut_as_the_paper_says():
    """A record of one shape at one rate: each row begins at its R peak, shows the next one at 1 / 1.2 of its length, and ends at 0."""
    time = np.arange(3600) / 360
    peaks = np.arange(180, 3600, 288)  # every 0.8 s: 100 samples at 125 Hz
    signal = sum(np.exp(-((time - peak / 360) ** 2) / (2 * 0.02**2)) for peak in peaks)
    record = Record("even", np.asarray(signal, dtype=np.float32)[:, None], ("MLII",), 360.0, np.full(len(peaks), "N"), peaks)
    rows = to_csv_rows(record, np.array(["N", "V", *["F"] * (len(peaks) - 2)]))
    assert rows.shape == (len(peaks), 188)
    assert rows[:2, -1].tolist() == [0, 2]
    np.testing.assert_allclose(rows[:-1, 0], 1, atol=0.02)
    np.testing.assert_allclose(rows[:-2, 100], 1, atol=0.02)
    np.testing.assert_array_equal(rows[:, 120:187], 0)
    assert rows[:, :-1].min() == 0
    assert rows[:, :-1].max() == 1


@pytest.mark.parametrize("fs", [250.0, 360.0, 499.7, 1000.3])
def test_csv_rows_begin_at_their_r_peak_to_the_end_of_a_long_record(fs):
    """No clock runs away from the other, whatever the sampling rate."""
    peaks = np.rint(np.arange(1, 1800) * fs).astype(np.int64)
    time = np.arange(round(1801 * fs))
    near = np.abs(time - peaks[np.clip(np.searchsorted(peaks, time - fs / 2), 0, len(peaks) - 1)]) / fs
    record = Record("long", np.exp(-(near**2) / (2 * 0.02**2)).astype(np.float32)[:, None], ("MLII",), fs, np.full(len(peaks), "N"), peaks)
    rows = to_csv_rows(record, np.full(len(peaks), "N"))
    assert rows[:-2, 0].min() > 0.9


def test_columns_say_what_they_are_and_where_a_beat_is_from(split, tmp_path):
    import pyarrow.parquet as pq

    made = replace(split.test.take(np.arange(4)), source="flow", info={"seed": 5, "model_sha256": "abc"}, samples=np.arange(7, 11))
    against = np.zeros((4, len(REASONS)), dtype=bool)
    against[2, [0, 7]] = True
    write_parquet(rows_of(made, against), tmp_path / "beats.parquet")
    table = pq.read_table(tmp_path / "beats.parquet")
    assert all(field.metadata[b"description"] for field in table.schema)
    assert table["gate"].to_pylist() == ["passed", "passed", "failed", "passed"]
    assert table["reasons"].to_pylist() == [[], [], ["not finite", "label"], []]
    assert table["number"].to_pylist() == [7, 8, 9, 10]
    assert set(table["seed"].to_pylist()) == {5}
    assert set(table["model_sha256"].to_pylist()) == {"abc"}
    write_parquet(rows_of(made), tmp_path / "beats.parquet")
    assert set(pq.read_table(tmp_path / "beats.parquet")["gate"].to_pylist()) == {"not asked"}


def test_other_files_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "short.csv").write_text("1,2,3\n")
    (tmp_path / "class.csv").write_text(",".join(["0.5"] * 187 + ["9"]) + "\n")
    for name in ("text.parquet", "other.parquet", "none.parquet"):
        with pytest.raises(EcgsynthError, match="is no Parquet file"):
            read_parquet([tmp_path / name])
    for name in ("short.csv", "class.csv", "none.csv"):
        with pytest.raises(EcgsynthError, match="is no CSV"):
            read_csv(tmp_path / name)
    with pytest.raises(EcgsynthError, match="no Parquet file to read"):
        read_parquet([])
