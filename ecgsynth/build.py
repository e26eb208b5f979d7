"""Building a dataset from a recipe, shard by shard, so that a build that was stopped goes on."""

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Generator as Steps
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ecgsynth.cards import Told, croissant, data_card, model_card
from ecgsynth.engine import Engine, Job
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, discard, names_in, open_itself, refuse_mount, sha256, sync, sync_name, user_cache
from ecgsynth.formats import join_npz, join_text
from ecgsynth.models import card
from ecgsynth.places import is_remote, place, upload, upload_begun
from ecgsynth.recipe import Recipe
from ecgsynth.shards import Shard, Tally, is_whole, make_shard, plan, read_tallies
from ecgsynth.source import Source
from ecgsynth.steps import Progress, drain, relabelled

HEAD = "build.json"
"""The file by which a dataset, or one that is being built, is known."""

LOCK = "lock"
SUMS = "SHA256SUMS"

_MADE = ("shards", "dataset", "replaced")  # by a build, beside the file by which it is known
_TRIES = 100  # to lock a folder whose lock others remove when they are done
_LAST = 0.1  # share of the time that putting everything in its place takes


def build(recipe: Recipe, folder: str | Path, *, force: bool = False, engine: Engine | None = None) -> bool:
    """Make a dataset of a recipe; see `build_steps`."""
    return drain(build_steps(Source.of(recipe), folder, force=force, engine=engine))


def build_steps(source: Source, folder: str | Path, *, force: bool = False, engine: Engine | None = None) -> Steps[Progress, None, bool]:
    """Make a dataset of synthetic beats, yielding how far it is.

    What is done is kept beside it in ``FOLDER.part`` until all is: a build that was stopped goes on there when it is asked for
    again, and ends with the same bytes. A dataset that is already there is left as it is.

    Parameters
    ----------
    source : Source
        What it is made of.
    folder : path
        Where; it appears when it is whole.
    force : bool
        Make it again if it is there, and replace a dataset of another recipe.
    engine : Engine, optional
        What makes the shards; this process, with all its threads, one after another if not given. The bytes are the same for any.

    Returns
    -------
    bool
        Whether it was made; it was there already if not.

    Raises
    ------
    EcgsynthError
        If the folder, or the one beside it, holds something else or is being built by another process; the gate holds back too
        many beats; or a file cannot be read or written.
    """
    folder = place(folder)
    if is_remote(folder):
        return (yield from _build_remote(source, folder, force=force, engine=engine))
    folder = folder.absolute()
    head = source.head()
    work = folder.with_name(folder.name + ".part")
    if _is_there(folder, head, force=force):
        _clear_after(head, work)
        return False
    refuse_mount(folder)
    _refuse_others(work)
    with _alone_in(work):
        if _is_there(folder, head, force=force):  # by a process that was building until now
            if _may_go(work, head):
                _take_away(work)
            return False
        _begin(work, head, force=force)
        if engine is not None:
            yield from relabelled(engine.steps(_jobs(source, work)), lambda step: step._replace(share=(1 - _LAST) * step.share))
        tallies = yield from _make_shards(source, work)
        yield Progress(1 - _LAST, "files")
        ready = _assemble(source, tallies, work)
        made = not _is_there(folder, head, force=force)  # what was put there meanwhile is not replaced
        if made:
            _put(ready, folder, aside=work / "replaced")
        _take_away(work)
    yield Progress(1.0, "")
    return made


def _build_remote(source: Source, folder: Path, *, force: bool, engine: Engine | None) -> Steps[Progress, None, bool]:
    """Make a dataset on this machine, and put it at an address; the file by which it is known comes last."""
    head = source.head()
    here = user_cache() / "builds" / hashlib.sha256(str(folder).encode()).hexdigest() / folder.name
    there, made = _is_there(folder, head, force=force), _read_head(here) == head  # by a call that was stopped when all was made
    if not there:
        yield from build_steps(source, here, force=not made, engine=engine)
        upload(here, folder, last=HEAD)
    if made or not there:
        shutil.rmtree(here.parent, ignore_errors=True)
    return not there


def _jobs(source: Source, work: Path) -> list[Job]:
    """Give what is to be done to make those shards that are not there yet."""
    missing = [shard for shard in plan(source.recipe) if not is_whole(source, shard, _place(work, shard))]
    return [Job(_label(shard), sum(shard.counts), partial(_make_whole, source, shard, _place(work, shard))) for shard in missing]


def _make_whole(source: Source, shard: Shard, path: Path) -> None:
    """Make a shard, in the place of what a loss of power may have left of it, if nobody has made it by now."""
    if is_whole(source, shard, path):
        return
    shutil.rmtree(path, ignore_errors=True)
    for _ in make_shard(source, shard, path):
        pass


def _label(shard: Shard) -> str:
    return f"{shard.split}, part {shard.place + 1} of {shard.of}"


def _make_shards(source: Source, work: Path) -> Steps[Progress, None, dict[str, Tally]]:
    """Make those shards that are not there yet; gives what the gate said of each label."""
    shards, total = plan(source.recipe), sum(quota.count for quota in source.recipe.quotas)
    done, tallies = 0, dict[str, Tally]()
    for shard in shards:
        made = _place(work, shard)
        if not is_whole(source, shard, made):
            shutil.rmtree(made, ignore_errors=True)  # which a loss of power may have left in pieces
            for share in make_shard(source, shard, made):
                yield Progress((1 - _LAST) * (done + share * sum(shard.counts)) / total, _label(shard))
        done += sum(shard.counts)
        for tally in read_tallies(made):
            tallies[tally.label] = tallies.get(tally.label, Tally(tally.label)) + tally
            tallies[tally.label].refuse_more_than(source.recipe.most_rejected)
    return tallies


def _place(work: Path, shard: Shard) -> Path:
    return work / "shards" / f"{shard.number:05d}"


def _is_there(folder: Path, head: dict[str, Any], *, force: bool) -> bool:
    """Say whether the dataset is there; refuses a folder of anything else."""
    if not folder.exists() or upload_begun(folder, HEAD) or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_head(folder)
    if found is None:
        raise EcgsynthError(f"{folder} holds other things, which are not replaced: give another name")
    if found != head and not force:
        raise EcgsynthError(f"{folder} is a dataset of another recipe, model or version: give another name, or --force to replace it")
    return found == head and not force


def _alone_in(work: Path) -> ExitStack:
    """Make the folder of what is being built, and keep other processes out of it, where the file system has locks."""
    for _ in range(_TRIES):
        work.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # of what goes with whoever had it before
            file = stack.enter_context(open_itself(work / LOCK))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            except OSError:  # nothing can be locked there
                return stack.pop_all()
            if os.path.samestat(os.fstat(file.fileno()), os.stat(work / LOCK)):
                return stack.pop_all()
    raise EcgsynthError(f"another process is building in {work}: wait for it, or give another name")


def _refuse_others(work: Path) -> None:
    """Raise if the folder is there, and is not one of a build, all of which lies in it."""
    names = set(names_in(work))
    if names - {LOCK, HEAD, *_MADE} or ("shards" in names and HEAD not in names):
        raise EcgsynthError(f"{work} holds other things: give another name for the dataset")
    if links := [path for path in work.rglob("*") if path.is_symlink()]:
        raise EcgsynthError(f"{links[0]} is a link, of which no build makes any: remove {work}, or give another name")


def _begin(work: Path, head: dict[str, Any], *, force: bool) -> None:
    """Go on with what is being built, or begin anew."""
    found = _read_head(work)
    if found == head:
        return
    if found is not None and any((work / "shards").glob("*")) and not force:
        raise EcgsynthError(f"{work} is a build of another recipe, model or version: remove it, or --force to begin anew")
    for name in _MADE:
        shutil.rmtree(work / name, ignore_errors=True)
    with atomic_path(work / HEAD, force=True) as temporary:
        temporary.write_text(json.dumps(head, indent=1) + "\n")


def _read_head(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError, RecursionError):
        return None


def _assemble(source: Source, tallies: Mapping[str, Tally], work: Path) -> Path:
    """Put the files of all shards in their places, and add what is of the whole; gives the folder that is to have the dataset's name."""
    ready = work / "dataset"
    shutil.rmtree(ready, ignore_errors=True)  # of a build that was stopped here
    ready.mkdir()
    shards = plan(source.recipe)
    places = [_place(work, shard) for shard in shards]
    for own_place in places:
        for path in sorted(own_place.glob("*.parquet")):
            _link(path, ready / "parquet" / path.name)
        for path in sorted((own_place / "wfdb").glob("*")):
            _link(path, ready / "wfdb" / path.name)
    for split in source.recipe.splits:
        own = [made for shard, made in zip(shards, places, strict=True) if shard.split == split]
        if own and "npz" in source.recipe.formats:
            (ready / "npz").mkdir(exist_ok=True)
            join_npz([made / "beats.npz" for made in own], ready / "npz" / f"{split}.npz")
        if own and "csv" in source.recipe.formats:
            (ready / "csv").mkdir(exist_ok=True)
            join_text([made / "part.csv" for made in own], ready / "csv" / f"{split}.csv")
    if "wfdb" in source.recipe.formats:
        names = sorted(path.stem for path in (ready / "wfdb").glob("*.hea"))
        (ready / "wfdb" / "RECORDS").write_text("".join(f"{name}\n" for name in names))
    (ready / "recipe.toml").write_text(source.recipe.to_toml(), encoding="utf-8")
    shutil.copyfile(work / HEAD, ready / HEAD)
    _write_cards(source, shards, tallies, ready)
    write_checksums(ready)
    if not all(is_whole(source, shard, made) for shard, made in zip(shards, places, strict=True)):
        raise EcgsynthError(f"processes of a build that was killed still wrote into {work}: give the same command again, which goes on")
    sync(ready)
    return ready


def _put(ready: Path, folder: Path, aside: Path) -> None:
    """Give a dataset its name, in the place of what has it."""
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)  # of a build that was stopped after this
        os.rename(folder, aside)
    os.rename(ready, folder)
    sync_name(folder)


def _take_away(work: Path) -> None:
    """Remove what a build needed, last the file by which it is known: if this is stopped, the same call makes it good."""
    with suppress(OSError):
        for name in _MADE:
            if (work / name).exists():
                shutil.rmtree(work / name)
        for name in (HEAD, LOCK):
            discard(work / name)
        work.rmdir()


def _clear_after(head: Mapping[str, Any], work: Path) -> None:
    """Take away what a build left that was killed when all was done but this; what another process builds in stays."""
    if work.is_dir() and _may_go(work, head):
        with suppress(EcgsynthError), _alone_in(work):
            if _may_go(work, head):
                _take_away(work)


def _may_go(work: Path, head: Mapping[str, Any]) -> bool:
    """Say whether a folder holds nothing but what a build of this dataset needed."""
    return _read_head(work) == head or not {*names_in(work)} - {LOCK}


def _write_cards(source: Source, shards: Sequence[Shard], tallies: Mapping[str, Tally], ready: Path) -> None:
    """Say what the dataset is, for people and for machines."""
    counts: dict[str, Counter[str]] = {shard.split: Counter() for shard in shards}
    for shard in shards:
        for quota, count in zip(source.recipe.quotas, shard.counts, strict=True):
            counts[shard.split][quota.label] += count
    told = Told(source, {split: dict(of) for split, of in counts.items()}, tallies)
    (ready / "README.md").write_text(data_card(told), encoding="utf-8")
    about = card(source.recipe.model) if source.is_shipped else model_card(source.model)
    (ready / "MODEL.md").write_text(about, encoding="utf-8")
    text = json.dumps(croissant(told, ready, [path for path in files_of(ready) if "/" in path]), indent=1, ensure_ascii=False)
    (ready / "croissant.json").write_text(text + "\n", encoding="utf-8")


def _link(path: Path, to: Path) -> None:
    """Give a file a second name, or copy it where that cannot be."""
    to.parent.mkdir(exist_ok=True)
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)


def files_of(folder: Path) -> list[str]:
    """List the files of a dataset, but its checksums."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != SUMS)


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder, as `sha256sum --check` reads it."""
    (folder / SUMS).write_text("".join(f"{sha256(folder / path)}  {path}\n" for path in files_of(folder)))
