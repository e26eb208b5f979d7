"""Every format gives back what was put into it, whatever the beats."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from ecgsynth import untrusted
from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import (
    CSV_COLUMNS,
    CSV_STEP,
    DESCRIPTIONS,
    Rows,
    from_table,
    join_npz,
    join_rows,
    join_text,
    read_columns,
    read_csv,
    read_parquet,
    to_csv_rows,
    to_table,
    write_csv,
    write_parquet,
)
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


def known(count=3, **given):
    """Beats of which nothing is known but their class, or what is given."""
    return Beats(signals=np.arange(count * 256.0).reshape(count, 256), classes=np.full(count, "N"), source="flow", **given)


def test_joined_rows_keep_places_leads_asked_for_and_verdicts():
    against = np.arange(5 * len(REASONS)).reshape(5, -1) % 3 == 0
    whole = Rows(known(5, samples=np.arange(5)), np.arange(5) * 100, np.array(["", "V1", "", "MLII", ""]), against)
    parts = [whole.take(np.arange(2)), whole.take(np.arange(2, 5))]
    joined = join_rows(parts)
    for name in ("places", "asked", "against"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.beats.samples.tolist() == [0, 1, 2, 3, 4]
    assert join_rows([replace(part, against=None) for part in parts]).against is None


TYPES = {
    **dict.fromkeys(("class", "symbol", "lead", "generator", "model_sha256", "asked_lead", "gate", "record"), "string"),
    **dict.fromkeys(("row", "seed", "number", "sample"), "int64"),
    **dict.fromkeys(("rr_before", "rr_after", "rr_mean"), "float"),
    **{"signal": "fixed_size_list<element: float>[256]", "fs": "double", "reasons": "list<element: string>"},
}


@pytest.mark.parametrize("count", [0, 3])
def test_columns_are_of_the_same_types_whatever_is_in_them(count):
    table = to_table(rows_of(known(count, fs=360)))
    assert [*table.schema.names] == list(DESCRIPTIONS)
    assert {field.name: str(field.type).replace("item:", "element:") for field in table.schema} == TYPES


def test_what_is_not_known_has_its_own_sign_in_each_column():
    made = known(3, rr_before=np.array([0.5, np.nan, 1.0]))
    rows = replace(rows_of(made), asked=np.array(["V1", "", ""]), places=np.array([5, -1, 7]))
    columns = to_table(rows).to_pydict()
    assert columns["row"] == [0, 1, 2]
    assert columns["rr_before"] == [0.5, None, 1.0]
    assert columns["asked_lead"] == ["V1", None, None]
    assert columns["sample"] == [5, -1, 7]
    wanted = {
        "rr_mean": None,
        "seed": -1,
        "model_sha256": "",
        "fs": 360.0,
        "gate": "not asked",
        "generator": "flow",
        "symbol": "",
        "number": -1,
    }
    assert {name: set(columns[name]) for name in wanted} == {name: {value} for name, value in wanted.items()}
    assert columns["reasons"] == [[], [], []]
    assert columns["signal"][1] == list(range(256, 512))


def test_parquet_files_are_packed_numbered_on_and_read_column_by_column(tmp_path):
    import pyarrow.parquet as pq

    for first in (0, 7):
        write_parquet(rows_of(known()), tmp_path / "beats.parquet", **({"first_row": first} if first else {}))
        assert read_columns(tmp_path / "beats.parquet", ["row", "class"]).to_pydict() == {
            "row": [first, first + 1, first + 2],
            "class": ["N"] * 3,
        }
    assert pq.ParquetFile(tmp_path / "beats.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    assert read_columns(tmp_path / "beats.parquet").column_names == list(DESCRIPTIONS)


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("number", "float64", "number holds values of another kind"),
        ("rr_mean", "int32", "rr_mean holds values of another kind"),
        ("signal", "int32", "signal holds values of another kind"),
    ],
)
def test_a_table_whose_column_is_of_another_kind_is_refused_by_its_name(column, kind, message):
    import pyarrow as pa

    table = to_table(rows_of(known(2, **{name: np.ones(2) for name in ("rr_before", "rr_after", "rr_mean")})))
    place, wanted = table.schema.get_field_index(column), getattr(pa, kind)()
    other = table.column(column).cast(pa.list_(wanted, 256) if column == "signal" else wanted)
    with pytest.raises(EcgsynthError, match=rf"^this table holds no beats of ecgsynth \({message}\)$"):
        from_table(table.set_column(place, column, other))


@pytest.mark.parametrize("column", ["class", "symbol", "lead", "record"])
def test_a_table_that_leaves_out_what_a_beat_is_called_is_refused(column):
    import pyarrow as pa

    table = to_table(rows_of(known(2)))
    place = table.schema.get_field_index(column)
    with pytest.raises(EcgsynthError, match=f"{column} of some beat is missing"):
        from_table(table.set_column(place, column, pa.array([None, "N"])))


def signals_of(rows, *, fixed=True):
    import pyarrow as pa

    flat = pa.array(np.zeros(rows * 256, dtype=np.float32))
    return pa.FixedSizeListArray.from_arrays(flat, 256) if fixed else pa.ListArray.from_arrays(np.arange(0, rows * 256 + 1, 256), flat)


# Lists of any length may have 2^17 numbers.
@pytest.mark.parametrize(("rows", "fixed", "said"), [(16320, True, 0), (16321, True, 16_777_988), (32, False, 0), (33, False, 17_301_504)])
def test_a_small_file_may_not_say_that_it_holds_more_than_16_mib(rows, fixed, said, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "zeros.parquet"
    pq.write_table(pa.table({"signal": signals_of(rows, fixed=fixed), "other": np.zeros(rows)}), path, compression="zstd")
    assert 64 * path.stat().st_size < 2**24
    if not said:
        assert read_columns(path, ["signal"]).shape == (rows, 1)
    else:
        with pytest.raises(EcgsynthError, match=rf"zeros.parquet is no Parquet file .*\(it says it holds {said:,} bytes, and has"):
            read_columns(path, ["signal"])


def test_a_larger_file_may_hold_as_much_as_its_bytes_can(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "_SMALL", 1)
    write_parquet(rows_of(known(20)), tmp_path / "beats.parquet")
    assert len(read_parquet([tmp_path / "beats.parquet"] * 2)) == 40
    monkeypatch.setattr(untrusted, "_UNPACKED", 0.1)
    with pytest.raises(EcgsynthError, match="it says it holds"):
        read_parquet([tmp_path / "beats.parquet"])


@pytest.mark.parametrize("rows", [0, 1])
def test_a_parquet_file_without_rows_or_columns_is_told_so(rows, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"signal": signals_of(rows)}), tmp_path / "few.parquet")
    with pytest.raises(EcgsynthError, match=r"\(it lacks columns or rows\)$"):
        read_columns(tmp_path / "few.parquet", None if rows else ["signal"])
    with pytest.raises(EcgsynthError, match=r"^there is no Parquet file to read$"):
        read_parquet([])


def rising(peaks, *, fs=125.0, length=300, signal=None):
    """A record that rises by 1 uV a sample, of beats of class V."""
    signal = np.arange(length) / 1000 if signal is None else signal
    record = Record("up", np.asarray(signal, dtype=np.float32)[:, None], ("MLII",), fs, np.full(len(peaks), "V"), np.array(peaks))
    return to_csv_rows(record, np.full(len(peaks), "V"))


def up(shown):
    """A rising row of which so many columns are shown."""
    return np.append(np.pad(np.arange(shown) / max(1, shown - 1), (0, CSV_COLUMNS - shown)), 2)


@pytest.mark.parametrize(
    ("peaks", "shown"),
    [
        ([0, 100, 200, 299], [120, 120, 100, 1]),  # 1.2 of 100 samples, until the record ends: one sample is no more than 0
        ([0, 100, 200, 300], [120, 120, 100, 1]),  # an R peak behind the end
        ([10, 60], [60, 60]),
        ([10], [150]),  # of one beat no interval is known: a second
        ([10, 11], [2, 2]),  # at least two samples
        ([10, 210], [187, 90]),  # and at most 187
    ],
)
def test_csv_rows_show_the_usual_interval_and_a_fifth_as_far_as_the_record_goes(peaks, shown):
    np.testing.assert_allclose(rising(peaks), np.stack([up(count) for count in shown]), atol=0.51 * CSV_STEP)


def test_the_usual_interval_is_the_median_of_the_eleven_around_a_beat_of_which_the_ends_are_repeated():
    intervals = np.random.default_rng(0).permutation(np.arange(40, 120, 4))
    rows = rising([0, *np.cumsum(intervals).tolist()], length=int(intervals.sum()) + 300)
    ends = np.pad(intervals, 5, mode="edge")
    usual = [np.median(ends[place : place + 11]) for place in range(len(intervals))]
    wanted = [round(1.2 * interval) for interval in [*usual, usual[-1]]]
    np.testing.assert_allclose(rows, np.stack([up(count) for count in wanted]), atol=0.51 * CSV_STEP)


def test_csv_files_have_no_head_and_no_more_than_four_decimals(tmp_path):
    write_csv(np.array([[0.12341, 1.0], [0.5, 0.0]]), tmp_path / "few.csv")
    assert (tmp_path / "few.csv").read_text() == "0.1234,1\n0.5,0\n"
    write_csv(np.append(np.ones((2, CSV_COLUMNS)), [[0], [4]], axis=1), tmp_path / "whole.csv")
    signals, classes = read_csv(tmp_path / "whole.csv")
    assert (signals.dtype, signals.shape, classes.tolist()) == (np.float64, (2, 187), ["N", "Q"])
    with pytest.raises(EcgsynthError, match=r"few\.csv is no CSV of heartbeats with 188 columns"):
        read_csv(tmp_path / "few.csv")


def test_text_of_joined_npz_is_as_long_as_the_longest_and_members_may_be_of_any_size(tmp_path):
    parts = [known(2, leads=np.full(2, "V")), known(1, leads=np.full(1, "MLII+V1")), known(2)]
    for number, part in enumerate(parts):
        part.save(tmp_path / f"{number}.npz")
    join_npz([tmp_path / f"{number}.npz" for number in range(3)], tmp_path / "all.npz")
    assert Beats.load(tmp_path / "all.npz").leads.tolist() == ["V", "V", "MLII+V1", "", ""]
    with zipfile.ZipFile(tmp_path / "all.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    assert (tmp_path / "all.npz").read_bytes()[4] == zipfile.ZIP64_VERSION  # or it ends at 4 GiB


class Trap:
    """Who unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["head", "signals"])
def test_nothing_in_joined_npz_is_unpickled(name, tmp_path):
    arrays = {"head": np.array("{}"), "signals": np.zeros((1, 4))}
    np.savez(tmp_path / "one.npz", **{**arrays, name: np.array([Trap(tmp_path / "run")], dtype=object)}, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        join_npz([tmp_path / "one.npz"], tmp_path / "all.npz")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "all.npz").exists()


def test_joined_text_is_the_bytes_of_all_parts_in_their_order(tmp_path):
    for name, text in (("a", b"1,2\n"), ("b", b""), ("c", b"3\n")):
        (tmp_path / name).write_bytes(text)
    join_text((tmp_path / name for name in "cba"), tmp_path / "all")
    assert (tmp_path / "all").read_bytes() == b"3\n1,2\n"
