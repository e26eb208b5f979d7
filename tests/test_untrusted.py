"""What files of strangers say is held against what they hold."""

import json
import time
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from reported import make_beats
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.formats import DESCRIPTIONS, Rows, read_parquet, to_table, write_parquet
from ecgsynth.generators import GENERATORS, load_generator
from ecgsynth.parts import part_name, write_part
from ecgsynth.stored import seal
from ecgsynth.untrusted import arrays_of, column_of, conform, is_count, is_share, network_of, of_beats, of_json, of_toml, text_of

FORM = {"name": str, "count": is_count, "shares?": [is_share], "by": {"class", "symbol"}, "more": {str: (float, None)}}
SOUND = {"name": "a", "count": 3, "shares": [0, 0.5], "by": "class", "more": {"b": 1, "c": None}, "unknown": []}


def test_what_is_of_a_form_is_given_back_as_it_is():
    assert conform(SOUND, FORM) == SOUND
    assert conform({name: value for name, value in SOUND.items() if name not in ("shares", "unknown")}, FORM)
    assert conform([1, "a", {}], object) == [1, "a", {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "it, name cannot be 1"),
        ({"name": "\ud800"}, "it, name cannot be"),
        ({"count": -1}, "it, count cannot be -1"),
        ({"count": True}, "it, count cannot be True"),
        ({"count": 10**30}, "it, count cannot be"),
        ({"shares": [0.5, 1.5]}, r"it, shares\[1\] cannot be 1.5"),
        ({"shares": {}}, "it, shares cannot be {}"),
        ({"by": "record"}, "it, by cannot be 'record'"),
        ({"by": []}, r"it, by cannot be \[\]"),
        ({"more": {"b": "1"}}, "it, more, b cannot be '1'"),
        ({"more": []}, r"it, more cannot be \[\]"),
    ],
)
def test_what_is_of_another_form_is_refused_with_its_place(change, message):
    with pytest.raises(ValueError, match=message):
        conform(SOUND | change, FORM)
    with pytest.raises(ValueError, match="it has no count"):
        conform({"name": "a"}, FORM)


def test_what_is_nested_too_deeply_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nested too deeply"):
        of_json("[" * 10**5)
    (tmp_path / "a.toml").write_text("a = " + "[" * 10**4)
    with pytest.raises(ValueError, match=r"nested too deeply|Invalid|Unclosed"):
        of_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# " + "x" * 10**6, "it has more than 1,000,000 letters"),
        ("x = 1\n" + ".".join("a" * 30_000) + " = 1", "a line of it has more than 1,000 dots: write it in several"),
    ],
)
def test_toml_is_no_larger_or_deeper_than_settings_are(tmp_path, text, message):
    (tmp_path / "a.toml").write_text(".".join("a" * 1001) + " = 1\n" + "#" * 900_000)
    assert of_toml(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        of_toml(tmp_path / "a.toml")


def test_arrays_are_no_larger_than_their_file(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"a": np.arange(1000), "b": np.array(["x", "yy"])}
    np.savez_compressed(path, **arrays)
    found = arrays_of(path, "ab")
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    assert set(arrays_of(path, "ac")) == {"a"}
    np.savez_compressed(path, a=np.zeros(10**7))  # 80 MB in 80 kB
    with pytest.raises(ValueError, match=r"it says it holds 80,000,128 bytes, and has 7\d,\d\d\d$"):
        arrays_of(path, "a")
    assert arrays_of(path, "b") == {}
    np.savez_compressed(path, **dict.fromkeys("abc", np.zeros(10**6)))  # each of which may be
    assert arrays_of(path, "ab").keys() == {"a", "b"}
    with pytest.raises(ValueError, match="it says it holds 24,000,384 bytes"):
        arrays_of(path, "abc")
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(80))
    with pytest.raises(ValueError, match=r"a\.npy says it is larger than it is"):
        arrays_of(path, "a")
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        arrays_of(path, "a")


def test_columns_are_of_their_kind():
    assert column_of("a", np.array(["x", "ü"]), "U").tolist() == ["x", "ü"]
    with pytest.raises(ValueError, match="a holds values of another kind"):
        column_of("a", np.arange(3), "U")
    for letter in (0x110000, 0xD800):
        with pytest.raises(ValueError, match="a holds text that cannot be written"):
            column_of("a", np.array([letter, 65], dtype=np.uint32).view("<U1"), "U")


def test_text_is_no_longer_than_names_are():
    assert text_of("leads", ["a" * 2000, "ü"]).tolist() == ["a" * 2000, "ü"]
    for values in (["a" * 2001, "b"], ["a", None], [1], [b"a"]):
        with pytest.raises(ValueError, match="leads holds what is no text, or more than 2,000 letters of it"):
            text_of("leads", values)
    assert text_of("records", ["a" * 256]).tolist() == ["a" * 256]
    with pytest.raises(ValueError, match="records holds what is no text, or more than 256 letters of it"):
        text_of("records", ["a" * 257])


def test_a_table_of_one_long_name_is_refused(tmp_path):
    import pyarrow.parquet as pq

    rows = Rows(make_beats(), np.full(30, -1), np.full(30, ""))
    table = to_table(rows)
    write_parquet(rows, tmp_path / "a.parquet")
    assert len(read_parquet([tmp_path / "a.parquet"])) == 30
    place = table.column_names.index("record")
    for letters, message in ((257, "records holds what is no text, or more than 256 letters of it"), (10**6, "it says it holds 121,")):
        pq.write_table(table.set_column(place, table.schema.field(place), [["x" * letters, *[""] * 29]]), tmp_path / "a.parquet")
        with pytest.raises(EcgsynthError, match=message):
            read_parquet([tmp_path / "a.parquet"])


@pytest.mark.parametrize("dictionary", [True, False])
def test_text_that_many_rows_have_is_counted_for_each_before_it_takes_memory(tmp_path, dictionary):
    """Whatever way it is coded: 21,600,000 bytes of four columns as arrays, and as many letters in their pages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 6000
    one = Rows(make_beats(each=1), np.full(5, -1), np.full(5, ""))
    table = to_table(one).take(np.zeros(rows, dtype=np.int64))
    for column in ("symbol", "lead", "record", "class"):
        place = table.column_names.index(column)
        table = table.set_column(place, table.schema.field(place), pa.array(["N" * 225] * rows))
    signals = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * rows, np.float32)), 4)
    table = table.set_column(table.column_names.index("signal"), "signal", signals)
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=dictionary)
    assert (tmp_path / "a.parquet").stat().st_size < 10**5
    with pytest.raises(EcgsynthError, match=r"it says it holds 2\d,\d\d\d,\d\d\d bytes, and has \d\d,\d\d\d\)"):
        read_parquet([tmp_path / "a.parquet"])


def test_the_longest_name_counts_for_the_rows_of_all_row_groups(beats, tmp_path):
    few = beats.take(np.zeros(1000, dtype=int))
    parts = [replace(few, patients=np.array(["x" * (256 if number == 0 else 1)] * 1000)) for number in range(13)]
    folders = []
    for name, groups in (("a", parts[1:]), ("b", parts)):
        (tmp_path / name).mkdir()
        folders.append(seal(tmp_path / name, [write_part(tmp_path / name / part_name(0), groups)], source="real", info={}))
    assert len(folders[0].load()) == 12_000
    with pytest.raises(EcgsynthError, match="it says it holds 17,100,000 bytes"):
        folders[1].load()


@pytest.mark.parametrize(
    ("name", "value"), [("fs", float("nan")), ("fs", "a"), ("fs", 0), ("r_sample", 256), ("r_sample", 1.5), ("info", 1)]
)
def test_heads_of_beats_that_cannot_be(tmp_path, beats, name, value):
    head = {"fs": 360.0, "r_sample": 108, "source": "real", "info": {}}
    assert of_beats(head, (3, 256)) == head
    with pytest.raises(ValueError, match="cannot be"):
        of_beats(head | {name: value}, (3, 256))
    with pytest.raises(ValueError, match="cannot be"):
        of_beats(head, (3, 2, 10**6))
    beats.take(np.arange(5)).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "b.npz", **(arrays | {"head": np.array(json.dumps({**json.loads(str(arrays["head"])), name: value}))}))
    assert len(Beats.load(tmp_path / "a.npz")) == 5
    with pytest.raises(EcgsynthError, match="no beats file, or it is damaged"):
        Beats.load(tmp_path / "b.npz")


def test_networks_are_no_larger_than_their_weights():
    made = network_of(lambda: torch.nn.Linear(3, 2), {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)})
    assert made(torch.ones(1, 3)).tolist() == [[3, 3]]
    begun = time.monotonic()
    for make in (lambda: torch.nn.Linear(10**9, 10**9), lambda: torch.nn.Sequential(*(torch.nn.Linear(9, 9) for _ in range(10**9)))):
        with pytest.raises(ValueError, match="a larger network than it has weights for"):
            network_of(make, {"weight": np.ones((2, 3), np.float32)})
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("change", [{"hidden": 10**9}, {"depth": 10**9}, {"style": 10**9}])
def test_a_model_whose_settings_are_gigantic_is_refused_at_once(split, tmp_path, change):
    GENERATORS["flow"](steps=2, validations=1, hidden=8, depth=1).fit(split.train).save(tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["ecgsynth"])
    head["params"] |= change
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {"ecgsynth": json.dumps(head)})
    assert load_generator(tmp_path / "a.safetensors").sample({"N": 1})
    begun = time.monotonic()
    with pytest.raises(EcgsynthError, match="a larger network than it has weights for"):
        load_generator(tmp_path / "b.safetensors")
    assert time.monotonic() - begun < 10


def spoilt(path, tensors=(), **shape):
    """Write a model anew with other arrays, and another shape."""
    with safe_open(path, "numpy") as file:
        head, arrays = json.loads(file.metadata()["ecgsynth"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    head["shape"] |= shape
    save_file(arrays | dict(tensors), path, metadata={"ecgsynth": json.dumps(head)})
    return path


@pytest.mark.parametrize(
    ("name", "value"), [("kept", 4e8), ("samples", 1e8), ("leads", 1e6), ("rhythm", 1e9), ("kept", np.inf), ("kept", np.nan)]
)
def test_a_model_of_more_frequencies_than_a_beat_has_is_refused_at_once(split, tmp_path, name, value):
    path = tmp_path / "model.safetensors"
    settings = {"space": "frequencies", "steps": 2, "batch": 8, "hidden": 8, "depth": 1, "validations": 1, "mode_size": 0, "blend": 0.0}
    GENERATORS["flow"](**settings).fit(split.train).save(path)
    load_generator(path)
    begun = tracemalloc_of(lambda: refused(spoilt(path, {f"space.{name}": np.array([value], dtype=np.float32)})))
    assert begun < 50e6


@pytest.mark.parametrize(
    "shape", [{"fs": 1e7}, {"fs": 1e-9}, {"n_samples": 131072, "cells": [["N", f"L{lead}", 1] for lead in range(1000)]}]
)
def test_a_small_model_of_endless_beats_is_refused_at_once(split, tmp_path, shape):
    path = tmp_path / "model.safetensors"
    GENERATORS["ecgsyn"]().fit(split.train).save(path)
    load_generator(path)
    assert tracemalloc_of(lambda: refused(spoilt(path, **shape))) < 50e6


def refused(path):
    with pytest.raises(EcgsynthError, match="is no model of ecgsynth, or it is damaged"):
        load_generator(path)


def tracemalloc_of(call):
    """Give the most memory that Python and numpy take meanwhile."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_beats_that_are_all_alike_are_read_as_they_were_written(tmp_path):
    """Compressed, they would take so little that nobody would believe how many there are."""
    one = make_beats(each=1, classes=("N",))
    many = one.take(np.zeros(20_000, dtype=int))
    told = write_part(tmp_path / part_name(0), [many.take(np.arange(start, start + 5_000)) for start in range(0, 20_000, 5_000)])
    kept = seal(tmp_path, [told], source="real", info={})
    assert len(kept) == 20_000
    assert (kept.load().signals == one.signals).all()
    assert [path.name for path in tmp_path.glob("part*")] == [part_name(0)]


@pytest.mark.parametrize(("kind", "bits"), [("F8_E4M3", 8), ("F8_E5M2", 8), ("F4", 4), ("BF16", 16), ("U16", 16)])
def test_a_model_of_numbers_of_another_kind_is_refused(split, tmp_path, kind, bits):
    GENERATORS["gaussian"](components=8).fit(split.train).save(tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    name = next(name for name in head if name != "__metadata__")
    begin, end = head[name]["data_offsets"]
    head[name] |= {"dtype": kind, "shape": [(end - begin) * 8 // bits]}
    text = json.dumps(head).encode()
    (tmp_path / "b.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(EcgsynthError, match=r"b\.safetensors is no model of ecgsynth, or it is damaged"):
        load_generator(tmp_path / "b.safetensors")


def test_a_table_of_more_rows_than_its_bytes_can_hold_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 100_000
    column = pa.FixedSizeListArray.from_arrays(pa.nulls(256 * rows, pa.float32()), 256)
    table = {name: pa.nulls(rows, pa.string()) for name in DESCRIPTIONS} | {"signal": column}
    pq.write_table(pa.table(table), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 10**6
    with pytest.raises(EcgsynthError, match="it says it holds 109,200,000 bytes, and has"):
        read_parquet([tmp_path / "a.parquet"])
    table["signal"] = pa.nulls(rows, pa.list_(pa.float32(), 0))  # which takes nothing, but the other columns do
    pq.write_table(pa.concat_tables([pa.table(table)] * 3), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(EcgsynthError, match="it says it holds 21,600,000 bytes, and has"):
        read_parquet([tmp_path / "a.parquet"])


def test_a_part_of_more_beats_than_its_bytes_can_hold_is_refused(beats, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = write_part(tmp_path / part_name(0), [beats.take(np.zeros(3600, dtype=int))] * 4)
    stored = seal(tmp_path, [part], source="real", info={})
    assert len(stored.load()) == len(next(stored.columns("patients"))["patients"]) == 14_400
    with pq.ParquetFile(tmp_path / part_name(0)) as file:
        table, told = file.read(), file.metadata.metadata[b"ecgsynth"]
    many = pa.concat_tables([table] * 4).replace_schema_metadata({"ecgsynth": told})
    pq.write_table(many, tmp_path / part_name(0), compression="zstd")
    for read in (stored.load, lambda: list(stored.columns("patients"))):
        with pytest.raises(EcgsynthError, match=r"part-000000.parquet .*it says it holds \d\d,\d{3},\d{3} bytes, and has"):
            read()
