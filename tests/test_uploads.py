"""Uploads that are cut short: a file is at its address whole or not at all, and a folder is put there anew."""

import asyncio
import os
import signal
from contextlib import contextmanager
from io import BytesIO

import pytest
from addressed import FEW, contents, run
from click.testing import CliRunner

from ecgsynth.cli import main
from ecgsynth.errors import EcgsynthError
from ecgsynth.places import place, upload
from ecgsynth.splits import Split

pytest.importorskip("upath", reason="needs the extra scale")


@contextmanager
def ended_in(nth: int, suffix: str = ""):
    """Let SIGTERM come in the midst of the n-th upload of a file whose name ends so."""
    from aiobotocore.client import AioBaseClient
    from fsspec.implementations.memory import MemoryFile

    left, call = [nth], AioBaseClient._make_api_call

    def end(name):
        left[0] -= name.endswith(suffix)
        if left[0] == 0 and name.endswith(suffix):
            left[0] = -1
            os.kill(os.getpid(), signal.SIGTERM)

    def write(self, data):
        BytesIO.write(self, data[: len(data) // 2])
        end(self.path)
        return BytesIO.write(self, data[len(data) // 2 :])

    async def sent(self, operation, told):
        if operation == "PutObject":
            end(told["Key"])
        return await call(self, operation, told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryFile, "write", write, raising=False)
        patch.setattr(AioBaseClient, "_make_api_call", sent)
        yield


def ended(*words, nth=1, suffix=""):
    """Run a command that is ended in an upload."""
    with ended_in(nth, suffix):
        result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 143, result.output


def test_a_file_whose_upload_is_cut_short_is_not_there_and_the_old_one_stays(tmp_path):
    file = f"memory://{tmp_path.name}/few.npz"
    ended("sample", *FEW, "-o", file)
    assert not place(file).exists()
    run("sample", *FEW, "-o", file)
    old = place(file).read_bytes()
    ended("sample", "--model", "mitdb", "--count", "N=30", "-o", file, "--force")
    assert place(file).read_bytes() == old
    run("sample", *FEW, "-o", tmp_path / "few.npz")
    assert (tmp_path / "few.npz").read_bytes() == old


def test_a_large_file_whose_upload_is_cut_short_is_not_there_in_part(bucket, tmp_path, monkeypatch):
    from aiobotocore.client import AioBaseClient

    call, told = AioBaseClient._make_api_call, []

    async def sent(self, operation, asked):
        if operation == "UploadPart" and not told:
            told.append(operation)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(2)  # until the thread that waits for the upload looks
        return await call(self, operation, asked)

    size, target = 101 << 20, place(f"{bucket}/large")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(size)
    monkeypatch.setattr(AioBaseClient, "_make_api_call", sent)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever tests before this one left
    try:
        with pytest.raises(KeyboardInterrupt):
            upload(tmp_path / "large", target)
    finally:
        signal.signal(signal.SIGINT, before)
    target.fs.invalidate_cache()
    assert told
    assert not target.exists() or target.stat().st_size == size


def test_beats_whose_upload_is_cut_short_go_on(base, records_folder, tmp_path):
    ended("beats", records_folder, "-o", f"{base}/beats", "--workers", 1, suffix=".parquet")
    run("beats", records_folder, "-o", f"{base}/beats", "--workers", 1)
    run("beats", records_folder, "-o", tmp_path / "beats", "--workers", 1)
    assert contents(f"{base}/beats") == contents(tmp_path / "beats")


@pytest.mark.parametrize("nth", [1, 3])
def test_a_split_whose_upload_is_cut_short_is_none_and_is_made_anew(base, beats, tmp_path, nth):
    beats.save(tmp_path / "beats.npz")
    asked = ("split", tmp_path / "beats.npz", "-o", f"{base}/split")
    ended(*asked, nth=nth)
    with pytest.raises(EcgsynthError, match="no split"):
        Split.load(f"{base}/split")
    run(*asked)
    run("split", tmp_path / "beats.npz", "-o", tmp_path / "split")
    assert contents(f"{base}/split") == contents(tmp_path / "split")


def test_a_split_in_the_place_of_another_is_whole_or_none(base, beats, records_folder, tmp_path):
    """The sides of the old one in parts are folders, of which none may stay beside the new one."""
    run("beats", records_folder, "-o", tmp_path / "beats", "--workers", 1)
    beats.save(tmp_path / "beats.npz")
    asked = ("split", tmp_path / "beats.npz", "-o", f"{base}/split")
    run("split", tmp_path / "beats", "-o", f"{base}/split")
    assert CliRunner().invoke(main, list(map(str, asked))).exit_code == 1
    ended(*asked, "--force", nth=3)
    with pytest.raises(EcgsynthError, match="no split"):
        Split.load(f"{base}/split")
    run(*asked, "--force")
    assert sorted(contents(f"{base}/split")) == ["split.json", "test.npz", "train.npz", "val.npz"]
    assert not place(f"{base}/split/train/beats.json").exists()


def test_a_dataset_whose_upload_is_cut_short_is_made_anew_and_other_things_are_not_replaced(base, tmp_path):
    asked = ("build", *FEW, "--format", "npz", "--no-gate", "-o")
    ended(*asked, f"{base}/set", nth=3)
    result = CliRunner().invoke(main, ["verify", f"{base}/set"])
    assert (result.exit_code, "no dataset" in result.output) == (1, True)
    run(*asked, f"{base}/set")
    run("verify", f"{base}/set")
    place(f"{base}/mine/notes.txt").write_text("mine")
    for command in (("build", *FEW, "--no-gate"), ("sample", *FEW)):
        result = CliRunner().invoke(main, [*command, "-o", f"{base}/mine", "--force"])
        assert (result.exit_code, "other things" in result.output) == (1, True)
    assert place(f"{base}/mine/notes.txt").read_text() == "mine"
