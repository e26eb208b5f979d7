import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgsynth import mitdb as facts
from ecgsynth.errors import EcgsynthError
from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.records import Record, choose_leads, find_records, read_record, read_records, write_record


def test_the_division_covers_the_48_records_of_47_patients():
    assert len(facts.RECORDS) == 48 == len(set(facts.RECORDS))
    assert len(facts.DS1) == len(facts.DS2) == 22
    assert len({facts.SAME_PATIENT.get(name, name) for name in facts.RECORDS}) == 47


def test_reading_is_lazy_and_sorted(records_folder, monkeypatch):
    import ecgsynth.records as module

    opened = []
    original = module.read_record
    monkeypatch.setattr(module, "read_record", lambda path, **k: opened.append(path.name) or original(path, **k))
    reader = read_records(records_folder)
    assert opened == []
    assert next(reader).name == "sim01"
    assert opened == ["sim01"]


def test_a_record_can_be_named_by_path_or_header(records_folder):
    by_name = read_record(find_records(records_folder / "sim02")[0])
    by_header = read_record(find_records([records_folder / "sim02.hea"])[0])
    assert by_name.name == by_header.name == "sim02"
    assert (by_name.samples == by_header.samples).all()


def test_a_record_named_twice_is_read_once_and_hidden_files_are_passed_over(records_folder, tmp_path):
    found = find_records([records_folder, records_folder / "sim01"])
    assert [path.name for path in found] == [f"sim{n:02}" for n in range(1, 13)]
    shutil.copy(records_folder / "sim01.hea", tmp_path / "._sim01.hea")
    shutil.copy(records_folder / "sim01.hea", tmp_path / "sim01.hea")
    assert [path.name for path in find_records(tmp_path)] == ["sim01"]
    with pytest.raises(EcgsynthError, match="several records are called sim01"):
        find_records([records_folder, tmp_path])


def test_what_is_no_file_is_no_record(records_folder, tmp_path):
    """Deep in an archive as at its top: a pipe would be waited for."""
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        os.mkfifo(folder / "pipe.hea")
        (folder / "folder.hea").mkdir()
        shutil.copy(records_folder / "sim01.hea", folder / ".hidden.hea")

    def waited(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(20)
    try:
        shutil.copy(records_folder / "sim01.hea", tmp_path / "sub")
        assert [path.name for path in find_records(tmp_path)] == ["sim01"]
        shutil.copy(records_folder / "sim02.hea", tmp_path)
        assert [path.name for path in find_records(tmp_path)] == ["sim02"]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_segment_hides_no_record_of_its_name_in_another_folder(records_folder, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(records_folder / "sim01.hea", tmp_path / folder)
    n_samples = int((tmp_path / "one" / "sim01.hea").read_text().split()[3])
    (tmp_path / "one" / "whole.hea").write_text(f"whole/1 1 360 {n_samples}\nsim01 {n_samples}\n")
    assert find_records(tmp_path) == [tmp_path / "two" / "sim01", tmp_path / "one" / "whole"]


def test_folders_that_are_links_are_looked_into_once(records_folder, tmp_path):
    for record in ("sim01", "sim02"):
        (tmp_path / record).mkdir()
        for part in records_folder.glob(f"{record}.*"):
            shutil.copy(part, tmp_path / record)
    (tmp_path / "archive" / "a").mkdir(parents=True)
    (tmp_path / "archive" / "b").symlink_to(tmp_path / "sim01")
    (tmp_path / "archive" / "a" / "c").symlink_to(tmp_path / "sim02")
    (tmp_path / "archive" / "a" / "round").symlink_to(tmp_path / "archive")
    assert [path.name for path in find_records(tmp_path / "archive")] == ["sim01", "sim02"]


def test_more_beats_than_a_heart_has_are_refused(records, tmp_path):
    record = records[0]
    for every, message in ((record.fs // 15, ""), (record.fs // 40, "more than 20 a second: no heart beats so")):
        samples = np.arange(0, len(record.signals), int(every))
        write_record(replace(record, samples=samples, symbols=np.full(len(samples), "N")), tmp_path)
        if message:
            with pytest.raises(EcgsynthError, match=message):
                read_record(tmp_path / record.name)
        else:
            assert len(read_record(tmp_path / record.name).samples) == len(samples)


def test_a_record_without_beats_is_written_and_read(records, tmp_path):
    import wfdb

    record = records[0]
    none = Record("none", record.signals, record.leads, record.fs, record.symbols[:0], record.samples[:0])
    write_record(none, tmp_path)
    read = read_record(tmp_path / "none")
    assert (len(read.samples), len(read.symbols)) == (0, 0)
    assert read.signals.shape == record.signals.shape
    assert len(wfdb.rdann(str(tmp_path / "none"), "atr").sample) == 0


def test_annotations_with_a_clock_of_their_own_are_brought_to_the_record(records, tmp_path):
    import wfdb

    record = records[0]
    write_record(record, tmp_path)
    wfdb.wrann(record.name, "fast", record.samples * 2, record.symbols.tolist(), fs=720, write_dir=str(tmp_path))
    assert np.array_equal(read_record(tmp_path / record.name, annotator="fast").samples, record.samples)


def test_lead_preference():
    assert choose_leads(["V5", "MLII"], "MLII") == [1]
    assert choose_leads(["V5", "V2"], ["MLII", "V2"]) == [1]
    assert choose_leads(["V5", "V2"], ["MLII", "first"]) == [0]
    with pytest.raises(EcgsynthError, match=r"no lead II; there are V5, V2"):
        choose_leads(["V5", "V2"], "II")


def test_patients_can_be_given(records_folder):
    record = read_record(records_folder / "sim01", patients={"sim01": "someone"})
    assert record.patient == "someone"


def test_201_and_202_are_one_patient_only_in_mitbih(records, tmp_path):
    record = records[0]
    renamed = Record("202", record.signals, record.leads, record.fs, record.symbols, record.samples)
    write_record(renamed, tmp_path)
    assert read_record(tmp_path / "202").patient == "202"  # another database's 202 is somebody else


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "sim01.atr").unlink(), r"sim01: no annotations \(sim01.atr is not there\)"),
        (lambda f: (f / "sim01.atr").write_bytes((f / "sim01.atr").read_bytes()[:101]), "cut short"),
        (lambda f: (f / "sim01.dat").unlink(), "its header names sim01.dat, which is not there"),
        (lambda f: (f / "sim01.dat").write_bytes(b"\0" * 99), "sim01: sim01.dat is cut short: it holds 99 bytes of "),
        (lambda f: (f / "sim01.hea").write_text("nonsense"), "sim01: sim01.hea cannot be read"),
        (lambda f: (f / "sim01.hea").write_text((f / "sim01.hea").read_text().replace("mV", "mmHg")), "no voltage"),
    ],
    ids=["no annotations", "annotations cut", "no signal", "signal cut", "bad header", "no voltage"],
)
def test_damaged_records_are_refused_with_the_reason(records_folder, tmp_path, damage, message):
    for suffix in ("hea", "dat", "atr"):
        shutil.copy(records_folder / f"sim01.{suffix}", tmp_path)
    damage(tmp_path)
    with pytest.raises(EcgsynthError, match=message):
        list(read_records(tmp_path))


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(EcgsynthError, match="no WFDB record"):
        find_records(tmp_path)
    with pytest.raises(EcgsynthError, match="no folder and no WFDB record"):
        find_records(tmp_path / "nothing")


def test_mitbih_headers_and_annotations(mitdb: Path):
    one = read_record(mitdb / "100", lead="MLII")
    assert (one.age, one.sex, one.patient, one.leads) == (69.0, "M", "100", ("MLII",))
    assert one.signals.shape == (650_000, 1)
    assert one.signals.dtype == np.float32
    assert len(one.symbols) == 2273
    assert set(one.symbols) <= set(SYMBOL_TO_CLASS)
    assert read_record(mitdb / "202", lead="MLII").patient == "201"
    assert read_record(mitdb / "114", lead="MLII").leads == ("MLII",)  # its second lead
    with pytest.raises(EcgsynthError, match="102: no lead MLII; there are V5, V2"):
        read_record(mitdb / "102", lead="MLII")


def test_a_lead_read_alone_equals_the_lead_read_with_others(mitdb: Path):
    both = read_record(mitdb / "114")
    alone = read_record(mitdb / "114", lead="MLII")
    assert both.leads == ("V5", "MLII")
    assert np.array_equal(both.signals[:, 1], alone.signals[:, 0])
