import os
import resource
import socket
import subprocess
import sys
import time

import pytest
from server import FILES, SUMS, assert_all_right, ranges_of, steps

from ecgsynth import fetch as module
from ecgsynth import mitdb
from ecgsynth.errors import EcgsynthError
from ecgsynth.fetch import default_folder, fetch, is_complete, iter_fetch, locate_records, network_is_there, published_sums


@pytest.fixture
def silent_url(monkeypatch):
    """Give the address of a port that takes connections and never answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def closed_url():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"


def test_all_files_come(server, tmp_path):
    done = steps(server, tmp_path / "new" / "mitdb")
    assert_all_right(tmp_path / "new" / "mitdb")
    assert sorted(step.name for step in done) == sorted(FILES)
    assert [step.done for step in done] == [1, 2, 3, 4, 5]
    assert {step.total for step in done} == {5}
    assert done[-1].n_bytes == sum(map(len, FILES.values()))
    assert not any(step.kept for step in done)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(server, tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def note_fsync(handle):
        fsync(handle)
        done.append(("on the disk", os.fstat(handle).st_ino))

    def note_replace(part, path):
        number = part.stat().st_ino
        assert ("on the disk", number) in done
        replace(part, path)
        done.append(("named", number))

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    steps(server, tmp_path)
    names = [number for number, (what, _) in enumerate(done) if what == "named"]
    assert len(names) == len(FILES)
    assert ("on the disk", tmp_path.stat().st_ino) in done[names[-1] :]


def test_a_second_call_asks_for_nothing(server, tmp_path):
    assert fetch(tmp_path, base_url=server.url.rstrip("/"), sums=SUMS) == tmp_path
    assert len(server.requests) == len(FILES)
    again = steps(server, tmp_path)
    assert len(server.requests) == len(FILES)
    assert all(step.kept for step in again)
    assert again[-1].n_bytes == sum(map(len, FILES.values()))


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_half_file_is_continued(server, tmp_path, honours_range):
    server.honours_range = honours_range
    (tmp_path / "a.dat.part").write_bytes(FILES["a.dat"][:1234])
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    assert ranges_of(server, "a.dat") == ["bytes=1234-"]


@pytest.mark.parametrize("left", [b"nonsense", FILES["a.dat"] + b"more"])
def test_a_wrong_half_file_is_begun_anew(server, tmp_path, left):
    (tmp_path / "a.dat.part").write_bytes(left)
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    assert ranges_of(server, "a.dat") == [f"bytes={len(left)}-", None]


def test_a_whole_file_without_its_name_is_not_asked_for(server, tmp_path):
    (tmp_path / "a.dat.part").write_bytes(FILES["a.dat"])
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    assert ranges_of(server, "a.dat") == []


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_dropped_connection_is_resumed(server, tmp_path, honours_range):
    server.honours_range = honours_range
    server.faults["a.dat"] = ["drop"]
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    first, second = ranges_of(server, "a.dat")
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_connections_that_always_drop_are_given_up(server, tmp_path):
    server.faults["a.dat"] = ["drop"] * 3
    with pytest.raises(EcgsynthError, match=r"a\.dat: no connection, or it broke"):
        steps(server, tmp_path)
    assert len(ranges_of(server, "a.dat")) == 3
    assert not (tmp_path / "a.dat").exists()
    assert (tmp_path / "a.dat.part").stat().st_size > 100_000  # the next call goes on from here
    steps(server, tmp_path)
    assert_all_right(tmp_path)


def test_altered_once_is_asked_for_again(server, tmp_path):
    server.faults["a.dat"] = ["altered"]
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    assert ranges_of(server, "a.dat") == [None, None]


@pytest.mark.parametrize("there_before", [False, True])
def test_altered_twice_is_refused(server, tmp_path, there_before):
    server.faults["a.dat"] = ["altered"] * 2
    if there_before:
        (tmp_path / "a.dat").write_bytes(b"wrong")
    with pytest.raises(EcgsynthError, match=r"^a\.dat: .* other content than published"):
        steps(server, tmp_path)
    assert len(ranges_of(server, "a.dat")) == 2
    assert not (tmp_path / "a.dat").exists()
    assert not (tmp_path / "a.dat.part").exists()


def test_a_content_length_too_long_does_no_harm(server, tmp_path):
    server.faults["a.hea"] = ["long"]
    steps(server, tmp_path)
    assert_all_right(tmp_path)


@pytest.mark.parametrize(("times", "recovers"), [(1, True), (2, False)])
def test_a_content_length_too_short_is_noticed(server, tmp_path, times, recovers):
    server.faults["a.hea"] = ["short"] * times
    if recovers:
        steps(server, tmp_path)
        assert_all_right(tmp_path)
    else:
        with pytest.raises(EcgsynthError, match=r"^a\.hea: "):
            steps(server, tmp_path)
        assert not (tmp_path / "a.hea").exists()


def test_an_altered_file_on_disk_is_replaced(server, tmp_path):
    steps(server, tmp_path)
    (tmp_path / "b.dat").write_bytes(b"X" + FILES["b.dat"][1:])
    assert not is_complete(tmp_path, sums=SUMS)
    assert [step.name for step in steps(server, tmp_path) if not step.kept] == ["b.dat"]
    assert_all_right(tmp_path)
    assert is_complete(tmp_path, sums=SUMS)


def test_a_stopped_download_continues(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    server.faults["a.dat"] = ["slow"]
    running = iter_fetch(tmp_path, base_url=server.url, sums=SUMS)
    assert next(running).name == "a.hea"
    while not ((part := tmp_path / "a.dat.part").exists() and part.stat().st_size):
        time.sleep(0.01)
    running.close()
    assert [name for name, _ in server.requests] == ["a.hea", "a.dat"]  # nothing goes on behind the caller's back
    size = part.stat().st_size
    assert 0 < size < len(FILES["a.dat"])
    assert [step.name for step in steps(server, tmp_path) if step.kept] == ["a.hea"]
    assert_all_right(tmp_path)
    assert ranges_of(server, "a.dat") == [None, f"bytes={size}-"]


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(EcgsynthError, match=r"c\.dat: the server answers 404\. Is the address"):
        steps(server, tmp_path, {"c.dat": "0" * 64})
    assert server.requests == [("c.dat", None)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    server.faults["a.dat"] = [status, status]
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    server.faults["a.dat"] = [status] * 3
    with pytest.raises(EcgsynthError, match=rf"a\.dat: the server answers {status}\. Try later"):
        steps(server, tmp_path / "other")


def test_no_server(server, tmp_path):
    with pytest.raises(EcgsynthError, match="no connection"):
        fetch(tmp_path, base_url=closed_url(), sums=SUMS)
    with pytest.raises(EcgsynthError, match="no web address"):
        fetch(tmp_path, base_url="physionet", sums=SUMS)


def test_a_server_that_falls_silent(server, silent_url, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUTS", (0.1, 0.1))
    with pytest.raises(EcgsynthError, match=r"no connection, or it broke \(ReadTimeout\)"):
        fetch(tmp_path, base_url=silent_url, sums=SUMS)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("here")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EcgsynthError, match="cannot make the folder"):
            fetch(folder, base_url=server.url, sums=SUMS)
    (tmp_path / "a.dat.part").mkdir()
    with pytest.raises(EcgsynthError, match=r"cannot write .*a\.dat: Is a directory"):
        fetch(tmp_path, base_url=server.url, sums=SUMS)


def test_a_full_disk(server, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # which a write then ends as a full disk does
    try:
        with pytest.raises(EcgsynthError, match=r"cannot write .*a\.dat: File too large\. Make room"):
            fetch(tmp_path, base_url=server.url, sums=SUMS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "a.dat").exists()


@pytest.mark.parametrize("begun", [0, 4])
def test_nothing_is_written_through_a_link(server, tmp_path, begun):
    mine, folder = tmp_path / "mine.txt", tmp_path / "records"
    mine.write_bytes(b"mine"[:begun])
    folder.mkdir()
    (folder / "a.dat.part").symlink_to(mine)
    with pytest.raises(EcgsynthError, match=r"a\.dat\.part is a link, and nothing is written through one: remove it"):
        steps(server, folder)
    assert mine.read_bytes() == b"mine"[:begun]


def test_network_is_there(server):
    assert network_is_there(server.url, 2.0)
    server.faults[""] = [500]
    assert not network_is_there(server.url, 2.0)


def test_network_is_not_there(silent_url):
    start = time.monotonic()
    assert not network_is_there(closed_url(), 1.0)
    assert not network_is_there("nowhere", 1.0)
    assert not network_is_there(silent_url, 0.3)
    assert time.monotonic() - start < 10


def test_a_hanging_name_look_up_delays_neither_answer_nor_exit():
    code = """
import socket, time
socket.getaddrinfo = lambda *args, **kwargs: time.sleep(60)
from ecgsynth.fetch import network_is_there
start = time.monotonic()
assert not network_is_there("http://nowhere.invalid/", 0.3)
assert time.monotonic() - start < 10
"""
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20, env=clean)


def test_published_sums():
    sums = published_sums()
    assert len(sums) == 144
    assert set(sums) == {f"{record}.{suffix}" for record in mitdb.RECORDS for suffix in ("hea", "dat", "atr")}
    assert list(sums) == sorted(sums)
    assert all(len(digest) == 64 and int(digest, 16) for digest in sums.values())


@pytest.mark.skipif(not os.environ.get("ECGSYNTH_MITDB"), reason="ECGSYNTH_MITDB names no records")
def test_published_sums_are_those_of_the_records():
    assert is_complete(os.environ["ECGSYNTH_MITDB"])


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "ecgsynth" / "mitdb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == tmp_path / ".cache" / "ecgsynth" / "mitdb"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder() == tmp_path / "Library" / "Caches" / "ecgsynth" / "mitdb"


def test_locate_records(server, monkeypatch, tmp_path):
    monkeypatch.delenv("ECGSYNTH_MITDB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "published_sums", lambda: SUMS)
    assert locate_records() is None
    fetch(default_folder(), base_url=server.url)
    assert locate_records() == default_folder()
    (default_folder() / "a.atr").unlink()
    assert locate_records() is None

    monkeypatch.setenv("ECGSYNTH_MITDB", str(default_folder()))
    assert locate_records() == default_folder()
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "absent", default_folder() / "a.hea"):
        monkeypatch.setenv("ECGSYNTH_MITDB", str(wrong))
        with pytest.raises(EcgsynthError, match="ECGSYNTH_MITDB names"):
            locate_records()
