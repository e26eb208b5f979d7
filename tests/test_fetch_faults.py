"""What servers do wrong, and that `fetch` ends well or in a line whatever they do."""

import fcntl
import time

import pytest
from server import FILES, assert_all_right, ranges_of, steps

from ecgsynth import fetch as module
from ecgsynth.errors import EcgsynthError


def test_another_part_than_was_asked_for_is_not_taken(server, tmp_path):
    (tmp_path / "a.dat.part").write_bytes(FILES["a.dat"][:1234])
    server.faults["a.dat"] = ["other part", "drop"]  # the second would be taken for the rest of the first
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    first, second, third = ranges_of(server, "a.dat")
    assert (first, second) == ("bytes=1234-", None)
    assert third.startswith("bytes=")


@pytest.mark.parametrize("begun", [False, True])
def test_a_body_packed_unasked_is_unpacked_but_never_added_to_a_part(server, tmp_path, begun):
    if begun:
        (tmp_path / "a.dat.part").write_bytes(FILES["a.dat"][:1234])
    server.faults["a.dat"] = ["gzip"]
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    assert len(ranges_of(server, "a.dat")) == 1 + begun


def test_a_body_without_end_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 300_000)
    server.faults["a.hea"] = ["endless"]
    with pytest.raises(EcgsynthError, match=r"a\.hea: what comes is longer than any file"):
        steps(server, tmp_path)
    assert not (tmp_path / "a.hea").exists()
    assert (tmp_path / "a.hea.part").stat().st_size == 0
    steps(server, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_a_server_that_drips_is_left_and_one_that_is_slow_is_not(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    server.faults["a.dat"] = ["slow"]
    steps(server, tmp_path / "slow")
    assert_all_right(tmp_path / "slow")
    server.faults["a.dat"] = ["drip"] * 3
    begun = time.monotonic()
    with pytest.raises(EcgsynthError, match=r"a\.dat: no connection, or it broke"):
        steps(server, tmp_path / "drip")
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "drip" / "a.dat").exists()


@pytest.mark.parametrize("fault", ["drip header", "trickle"])
def test_a_header_that_drips_and_a_body_that_trickles_are_not_waited_for(server, tmp_path, monkeypatch, fault):
    """Both are right, and would come in some seconds here, and in hours elsewhere."""
    server.faults["a.dat"] = [fault]
    steps(server, tmp_path / "patient")
    assert_all_right(tmp_path / "patient")
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    server.faults["a.dat"] = [fault] * 3
    with pytest.raises(EcgsynthError, match=r"a\.dat: no connection, or it broke \(ConnectionError\)"):
        steps(server, tmp_path / "hasty")
    assert not (tmp_path / "hasty" / "a.dat").exists()


def test_redirects_are_followed_but_not_for_ever(server, tmp_path):
    server.faults["a.hea"] = ["elsewhere"]
    steps(server, tmp_path)
    assert_all_right(tmp_path)
    server.faults["a.hea"] = ["round"]
    with pytest.raises(EcgsynthError, match=r"a\.hea: the server sends from address to address"):
        steps(server, tmp_path / "other")


def test_two_do_not_write_the_same_file(server, tmp_path):
    with open(tmp_path / "a.dat.part", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EcgsynthError, match="another process is fetching into"):
            steps(server, tmp_path)
    steps(server, tmp_path)
    assert_all_right(tmp_path)
