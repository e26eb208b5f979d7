"""Builds that meet others in their folder: their own from before they were stopped, those of other recipes, and what strangers left."""

import errno
import json
import os
from dataclasses import replace

import pytest
from built import contents

from ecgsynth import build as building
from ecgsynth import shards
from ecgsynth.build import build, build_steps
from ecgsynth.errors import EcgsynthError
from ecgsynth.recipe import Quota
from ecgsynth.source import Source
from ecgsynth.steps import drain


@pytest.mark.parametrize("name", ["beats.npz", "part.csv", "counts.json", "train-00000-of-00003.parquet", "wfdb/train_00000_00.dat"])
def test_what_a_loss_of_power_left_in_pieces_is_made_again(recipe, tmp_path, name):
    build(recipe, tmp_path / "whole")
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    steps.close()
    os.truncate(tmp_path / "set.part" / "shards" / "00000" / name, 0)
    build(recipe, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    os.truncate(tmp_path / "set" / "csv" / "train.csv", 0)
    assert not build(recipe, tmp_path / "set")
    assert build(recipe, tmp_path / "set", force=True)  # which mends it
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    head = tmp_path / "late.part" / "build.json"
    head.parent.mkdir()
    head.write_text("")
    build(recipe, tmp_path / "late")
    assert contents(tmp_path / "late") == contents(tmp_path / "whole")


def test_what_is_done_is_not_done_again(recipe, tmp_path, monkeypatch):
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    steps.close()
    made: list[int] = []
    original = building.make_shard
    monkeypatch.setattr(building, "make_shard", lambda source, shard, place: made.append(shard.number) or original(source, shard, place))
    build(recipe, tmp_path / "set")
    assert made == [1, 2, 3]
    before = (tmp_path / "set" / "build.json").stat().st_mtime_ns
    build(recipe, tmp_path / "set")  # is there already
    assert (tmp_path / "set" / "build.json").stat().st_mtime_ns == before
    assert made == [1, 2, 3]


@pytest.mark.parametrize("put", [False, True], ids=["before its upload", "after its upload"])
def test_what_was_made_for_an_address_is_neither_made_again_nor_left_if_it_is_stopped(recipe, tmp_path, monkeypatch, put):
    pytest.importorskip("upath", reason="needs the extra scale")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address, upload = f"memory://{tmp_path.name}/set", building.upload

    def stopped(*args, **how):
        if put:
            upload(*args, **how)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "upload", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(recipe, address)
    monkeypatch.setattr(building, "make_shard", lambda *_: pytest.fail("it is made again"))
    assert build(recipe, address) != put
    assert not build(recipe, address)
    assert list((tmp_path / "cache" / "ecgsynth" / "builds").iterdir()) == []


def test_two_recipes_are_not_mixed(recipe, tmp_path):
    other = replace(recipe, seed=9)
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    while not (tmp_path / "set.part" / "shards" / "00000").is_dir():
        next(steps)
    with pytest.raises(EcgsynthError, match="another process is building"):
        build(recipe, tmp_path / "set")
    steps.close()
    with pytest.raises(EcgsynthError, match="build of another recipe"):
        build(other, tmp_path / "set")
    build(recipe, tmp_path / "set")
    with pytest.raises(EcgsynthError, match="dataset of another recipe"):
        build(other, tmp_path / "set")
    build(other, tmp_path / "set", force=True)
    assert json.loads((tmp_path / "set" / "build.json").read_text())["recipe"]["seed"] == 9
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(EcgsynthError, match="holds other things"):
        build(recipe, tmp_path / "mine", force=True)
    (tmp_path / "mine").rename(tmp_path / "yours.part")
    with pytest.raises(EcgsynthError, match="holds other things"):
        build(recipe, tmp_path / "yours", force=True)
    assert [path.name for path in (tmp_path / "yours.part").iterdir()] == ["thesis.tex"]
    (tmp_path / "yours.part").rename(tmp_path / "set.part")
    assert not build(other, tmp_path / "set")  # is there already, and what is beside it is left alone
    assert (tmp_path / "set.part" / "thesis.tex").is_file()


def late(recipe, folder, monkeypatch, name):
    """Let a process of a build that was killed put a shard of its own into a folder, before a step of the build there."""
    original = getattr(building, name)

    def step(*given, **how):
        made = folder.with_name(f"{folder.name}.part") / "shards" / "00001"
        other = Source.of(replace(recipe, seed=4))
        drain(shards.make_shard(other, shards.plan(other.recipe)[1], made))
        return original(*given, **how)

    monkeypatch.setattr(building, name, step)


@pytest.mark.parametrize("step", ["read_tallies", "write_checksums"])
def test_a_shard_that_a_killed_build_of_another_recipe_still_puts_there_is_made_anew(recipe, tmp_path, monkeypatch, step):
    build(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        late(recipe, tmp_path / "set", patch, step)
        with pytest.raises(EcgsynthError, match=r"processes of a build that was killed still wrote into .*: give the same command again"):
            build(recipe, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    build(recipe, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_a_shard_that_another_recipe_left_is_made_anew(recipe, tmp_path):
    """As by a process of a build that was killed, which goes on for a while."""
    build(recipe, tmp_path / "whole")
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    next(steps)
    other = Source.of(replace(recipe, seed=4))
    for shard in shards.plan(other.recipe):
        drain(shards.make_shard(other, shard, tmp_path / "set.part" / "shards" / f"{shard.number:05d}"))
    drain(steps)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["thesis", "another recipe", "the same"])
def test_what_takes_the_name_of_a_dataset_meanwhile_stays(recipe, tmp_path, kind):
    recipe = replace(recipe, formats=["npz"])
    other = tmp_path / "other"
    if kind == "thesis":
        other.mkdir()
        (other / "thesis.tex").write_text("years of work")
    else:
        build(recipe if kind == "the same" else replace(recipe, seed=4), other)
    before = contents(other)
    steps = build_steps(Source.of(recipe), tmp_path / "set")
    next(steps)
    other.rename(tmp_path / "set")
    if kind == "the same":
        inode = (tmp_path / "set").stat().st_ino
        assert not drain(steps)
        assert (tmp_path / "set").stat().st_ino == inode
        assert not (tmp_path / "set.part").exists()
    else:
        with pytest.raises(EcgsynthError, match="holds other things" if kind == "thesis" else "is a dataset of another recipe"):
            drain(steps)
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("seed", [3, 4])
def test_what_another_build_has_made_by_the_time_this_one_begins_stays(recipe, tmp_path, monkeypatch, seed):
    recipe = replace(recipe, formats=["npz"])
    build(replace(recipe, seed=seed), tmp_path / "other")
    monkeypatch.setattr(building, "_refuse_others", lambda work: (tmp_path / "other").rename(tmp_path / "set"))
    monkeypatch.setattr(building, "make_shard", lambda *_: pytest.fail("it is made again"))
    if seed == 3:
        assert not build(recipe, tmp_path / "set")
        assert not (tmp_path / "set.part").exists()
    else:
        with pytest.raises(EcgsynthError, match="is a dataset of another recipe"):
            build(recipe, tmp_path / "set")
    assert [path.name for path in (tmp_path / "set" / "npz").iterdir()]


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_without_locks_takes_datasets_all_the_same(recipe, tmp_path, monkeypatch, name):
    def refuse(*_):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(building.fcntl, "flock", refuse)
    assert build(replace(recipe, quotas=[Quota("N", 20)], formats=["npz"]), tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(tmp_path, monkeypatch, moment):
    """As whoever had it removes it with the folder when all is done."""
    work, locked, opened, done = tmp_path / "set.part", building.fcntl.flock, building.open_itself, []

    def remove():
        if not done:
            done.append((work / "lock").unlink(missing_ok=True))
            work.rmdir()

    def lock(*given):
        locked(*given)
        remove()

    if moment == "before":
        monkeypatch.setattr(building, "open_itself", lambda *given: remove() or opened(*given))
    else:
        monkeypatch.setattr(building.fcntl, "flock", lock)
    with building._alone_in(work):
        assert done
        with pytest.raises(EcgsynthError, match="another process is building"), building._alone_in(work):
            pass
        assert [path.name for path in work.iterdir()] == ["lock"]
    with building._alone_in(work):
        pass


@pytest.mark.parametrize("name", ["lock", "shards", "shards/00000"])
def test_nothing_is_written_through_a_link_in_what_a_stranger_left(recipe, tmp_path, name):
    """Beside a new dataset, where it would be gone on with, and beside one that is there, where it would be cleared away."""
    folder, mine = tmp_path / "set.part", tmp_path / "mine" / "0" / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    (folder / name).parent.mkdir(parents=True)
    (folder / "build.json").write_text(json.dumps(Source.of(recipe).head()))
    (folder / name).symlink_to(mine if name == "lock" else mine.parent.parent)
    with pytest.raises(EcgsynthError, match=rf"{name} is a link, of which no build makes any: remove .*set\.part"):
        build(recipe, tmp_path / "set")
    folder.rename(tmp_path / "other.part")
    build(recipe, tmp_path / "set")
    (tmp_path / "other.part").rename(folder)
    assert not build(recipe, tmp_path / "set")
    assert {path.name for path in tmp_path.joinpath("mine").rglob("*")} == {"0", "thesis.tex"}
    assert mine.read_text() == "years of work"
