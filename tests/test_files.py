import errno
import os
import signal

import pytest

from ecgsynth import files
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, clear_all_scratch, clear_scratch, discard, names_in, refuse_existing, sha256
from ecgsynth.places import here, place


def test_the_file_appears_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "a" / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("failure", [RuntimeError("x"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path, failure):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target, force=True) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_path(target, force=True, marker="one") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_exists_is_refused_unless_forced(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(EcgsynthError, match="exists: give another name, or --force"), atomic_path(tmp_path / "x"):
        raise AssertionError("the block must not run")


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "100.dat").write_text("precious")
    for marker in (None, "split.json"):
        with pytest.raises(EcgsynthError, match="folder of other things"), atomic_path(tmp_path / "records", force=True, marker=marker):
            raise AssertionError("the block must not run")
    assert (tmp_path / "records" / "100.dat").read_text() == "precious"


def test_a_folder_survives_a_failed_replacement(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "split", force=True, marker="split.json"):
        pass  # nothing is made, so there is nothing to put there
    assert (tmp_path / "split" / "split.json").read_text() == "old"


@pytest.mark.parametrize("marker", [None, "one"], ids=["file", "folder"])
def test_what_takes_the_name_meanwhile_is_replaced_by_force_alone(tmp_path, marker):
    target = tmp_path / "out"

    def put(path, text):
        if marker:
            path.mkdir()
            path = path / marker
        path.write_text(text)

    def write(**how):
        with atomic_path(target, marker=marker, **how) as temporary:
            put(temporary, "mine")
            put(target, "theirs")

    with pytest.raises(EcgsynthError, match=r"out exists: give another name, or --force to replace it$"):
        write()
    assert (target / marker if marker else target).read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    target.rename(tmp_path / "kept")
    write(force=True)
    assert (target / marker if marker else target).read_text() == "mine"


def test_a_folder_of_other_things_that_takes_the_name_meanwhile_is_never_replaced(tmp_path):
    def write():
        with atomic_path(tmp_path / "out", force=True, marker="one") as temporary:
            temporary.mkdir()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "100.dat").write_text("precious")

    with pytest.raises(EcgsynthError, match="folder of other things"):
        write()
    assert (tmp_path / "out" / "100.dat").read_text() == "precious"


@pytest.mark.parametrize(("kind", "said"), [("file", "File exists"), ("folder", "Directory not empty")])
def test_what_takes_the_name_after_the_last_look_is_not_lost(tmp_path, monkeypatch, kind, said):
    target, looks, original = tmp_path / "out", [], files._refuse

    def look(path, **how):
        original(path, **how)
        looks.append(path)
        if len(looks) == 2:
            (target / "theirs").mkdir(parents=True) if kind == "folder" else target.write_text("theirs")

    monkeypatch.setattr(files, "_refuse", look)
    with pytest.raises(EcgsynthError, match=f"cannot write .*out: {said}"), atomic_path(target) as temporary:
        temporary.mkdir() if kind == "folder" else temporary.write_text("mine")
    assert (target / "theirs").is_dir() if kind == "folder" else target.read_text() == "theirs"


def test_a_file_system_without_links_takes_files_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    with atomic_path(tmp_path / "out") as temporary:
        temporary.write_text("mine")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(EcgsynthError, match=r"cannot write .*No space left on device"), atomic_path(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_within_a_folder_tells_of_the_folder_that_was_asked_for(tmp_path):
    with pytest.raises(EcgsynthError) as raised, atomic_path(tmp_path / "split") as folder, atomic_path(folder / "train.npz"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(raised.value) == f"cannot write {tmp_path / 'split' / 'train.npz'}: No space left on device. Nothing was left there."
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EcgsynthError, match="file is a file, not a folder"), atomic_path(tmp_path / "file" / "x"):
        pass


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def killed_within(path, *, replacing=False):
    """Leave what a process leaves that is killed while it writes a file, or between the two renames that replace a folder."""
    child = os.fork()
    if not child:
        with atomic_path(path, force=True, marker="split.json") as temporary:
            if replacing:
                temporary.mkdir()
                files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            else:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_what_a_killed_process_left_is_cleared_by_the_next(tmp_path):
    killed_within(tmp_path / "out.txt")
    assert [path.suffix for path in tmp_path.iterdir()] == [".ecgsynth"]
    refuse_existing(tmp_path / "out", force=False)  # which is another name
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(tmp_path / "out.txt") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    killed_within(tmp_path / "out.txt")
    discard(tmp_path / "out.txt")
    assert not list(tmp_path.iterdir())


def test_what_killed_processes_left_in_a_folder_is_cleared_at_once(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("old")
    killed_within(tmp_path / "split", replacing=True)
    killed_within(tmp_path / "out.txt")
    (tmp_path / ".mine").mkdir()
    with atomic_path(tmp_path / "other.txt") as temporary:
        temporary.write_text("of a living process")
        assert names_in(tmp_path) == [".mine"]
        clear_all_scratch(tmp_path)
        assert sorted(names_in(tmp_path)) == [".mine", "split"]
        assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "split" / "split.json").read_text() == "old"
    assert names_in(tmp_path / "nothing") == []


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with atomic_path(tmp_path / "out.txt") as temporary:
        temporary.write_text("mine")
        refuse_existing(tmp_path / "out.txt", force=False)
        with atomic_path(tmp_path / "out.txt") as other:
            other.write_text("yours")
        assert temporary.read_text() == "mine"
        (tmp_path / "out.txt").unlink()
    assert (tmp_path / "out.txt").read_text() == "mine"


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_an_address_of_this_machine_is_a_path_whose_file_is_whole_or_not_there(tmp_path, monkeypatch, scheme):
    target, address = tmp_path / "out.txt", f"{scheme}://{tmp_path}/out.txt"

    def copy_half(source, to, **how):
        with open(source) as file, open(to, "w") as copy:
            copy.write(file.read(2))
        raise OSError("cut short")

    monkeypatch.setattr("shutil.copyfile", copy_half)
    for content in ("old", "new"):
        killed_within(address)
        assert names_in(tmp_path) == ([] if content == "old" else ["out.txt"])
        with atomic_path(address, force=True) as temporary:
            temporary.write_text(content)
        assert target.read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert place(address) == here(address) == target


def test_folders_of_other_people_are_left_alone(tmp_path):
    for name in (".out.txt.original", ".out.txt", "out.txt.1.ecgsynth"):
        (tmp_path / name).mkdir()
    (tmp_path / ".out.txt.link.ecgsynth").symlink_to(tmp_path / ".out.txt.original")
    clear_scratch(tmp_path / "out.txt")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_was_about_to_be_replaced_is_put_back(tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "split.json").write_text("old")
    killed_within(tmp_path / "split", replacing=True)
    assert not (tmp_path / "split").exists()
    with pytest.raises(EcgsynthError, match="exists"):
        refuse_existing(tmp_path / "split", force=False, marker="split.json")
    assert (tmp_path / "split" / "split.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["split"]
