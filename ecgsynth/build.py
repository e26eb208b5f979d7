"""Building a dataset from a recipe, shard by shard, so that a build that was stopped goes on."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Generator as Steps
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgsynth.cards import Told, croissant, data_card, model_card
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, sha256
from ecgsynth.formats import join_npz, join_text
from ecgsynth.recipe import Recipe
from ecgsynth.shards import Shard, Source, Tally, make_shard, plan, read_tallies
from ecgsynth.steps import Progress

HEAD = "build.json"
"""The file by which a dataset, or one that is being built, is known."""

SUMS = "SHA256SUMS"

_LAST = 0.1  # share of the time that putting everything in its place takes


def build(recipe: Recipe, folder: str | Path, *, force: bool = False) -> None:
    """Make a dataset; see `build_steps`."""
    for _ in build_steps(recipe, folder, force=force):
        pass


def build_steps(recipe: Recipe, folder: str | Path, *, force: bool = False) -> Steps[Progress, None, None]:
    """Make a dataset of synthetic beats, yielding how far it is.

    What is done is kept beside it in ``FOLDER.part`` until all is: a build that was stopped goes on there when it is asked for
    again, and ends with the same bytes. A dataset that is already there is left as it is.

    Parameters
    ----------
    recipe : Recipe
        What it is made of.
    folder : path
        Where; it appears when it is whole.
    force : bool
        Replace a dataset of another recipe.

    Raises
    ------
    EcgsynthError
        If the folder, or the one beside it, holds something else; the gate holds back too many beats; or a file cannot be read
        or written.
    """
    folder = Path(folder)
    source = Source.of(recipe)
    head = source.head()
    work = folder.with_name(folder.name + ".part")
    if _is_there(folder, head, force=force):
        shutil.rmtree(work, ignore_errors=True)
        return
    _begin(work, head, force=force)
    shards, total = plan(recipe), sum(quota.count for quota in recipe.quotas)
    done, tallies = 0, dict[str, Tally]()
    for shard in shards:
        place = work / "shards" / f"{shard.number:05d}"
        label = f"{shard.split}, part {shard.place + 1} of {shard.of}"
        if not place.is_dir():
            for share in make_shard(source, shard, place):
                yield Progress((1 - _LAST) * (done + share * sum(shard.counts)) / total, label)
        done += sum(shard.counts)
        for tally in read_tallies(place):
            tallies[tally.label] = tallies.get(tally.label, Tally(tally.label)) + tally
            tallies[tally.label].refuse_more_than(recipe.most_rejected)
    yield Progress(1 - _LAST, "files")
    _assemble(source, shards, tallies, work, folder)
    yield Progress(1.0, "")


def _is_there(folder: Path, head: dict[str, Any], *, force: bool) -> bool:
    """Say whether the dataset is there; refuses a folder of anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_head(folder)
    if found == head:
        return True
    if found is None:
        raise EcgsynthError(f"{folder} holds other things, which are not replaced: give another name")
    if not force:
        raise EcgsynthError(f"{folder} is a dataset of another recipe, model or version: give another name, or --force to replace it")
    return False


def _begin(work: Path, head: dict[str, Any], *, force: bool) -> None:
    """Make the folder of what is being built, or go on in it."""
    found = _read_head(work)
    if found == head:
        return
    if work.exists() and found is None:
        raise EcgsynthError(f"{work} holds other things: give another name for the dataset")
    if work.exists() and not force:
        raise EcgsynthError(f"{work} is a build of another recipe, model or version: remove it, or --force to begin anew")
    with atomic_path(work, force=True, marker=HEAD) as temporary:
        temporary.mkdir()
        (temporary / HEAD).write_text(json.dumps(head, indent=1) + "\n")


def _read_head(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / HEAD).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return None


def _assemble(source: Source, shards: Sequence[Shard], tallies: Mapping[str, Tally], work: Path, folder: Path) -> None:
    """Put the files of all shards in their places, add what is of the whole, and give it its name."""
    ready = work / "dataset"
    shutil.rmtree(ready, ignore_errors=True)  # of a build that was stopped here
    ready.mkdir()
    places = [work / "shards" / f"{shard.number:05d}" for shard in shards]
    for place in places:
        for path in sorted(place.glob("*.parquet")):
            _link(path, ready / "parquet" / path.name)
        for path in sorted((place / "wfdb").glob("*")):
            _link(path, ready / "wfdb" / path.name)
    for split in source.recipe.splits:
        own = [place for shard, place in zip(shards, places, strict=True) if shard.split == split]
        if own and "npz" in source.recipe.formats:
            (ready / "npz").mkdir(exist_ok=True)
            join_npz([place / "beats.npz" for place in own], ready / "npz" / f"{split}.npz")
        if own and "csv" in source.recipe.formats:
            (ready / "csv").mkdir(exist_ok=True)
            join_text([place / "part.csv" for place in own], ready / "csv" / f"{split}.csv")
    if "wfdb" in source.recipe.formats:
        names = sorted(path.stem for path in (ready / "wfdb").glob("*.hea"))
        (ready / "wfdb" / "RECORDS").write_text("".join(f"{name}\n" for name in names))
    (ready / "recipe.toml").write_text(source.recipe.to_toml(), encoding="utf-8")
    shutil.copyfile(work / HEAD, ready / HEAD)
    _write_cards(source, shards, tallies, ready)
    write_checksums(ready)
    if folder.exists():
        os.rename(folder, work / "replaced")
    os.rename(ready, folder)
    shutil.rmtree(work, ignore_errors=True)


def _write_cards(source: Source, shards: Sequence[Shard], tallies: Mapping[str, Tally], ready: Path) -> None:
    """Say what the dataset is, for people and for machines."""
    counts: dict[str, Counter[str]] = {shard.split: Counter() for shard in shards}
    for shard in shards:
        counts[shard.split].update({quota.label: count for quota, count in zip(source.recipe.quotas, shard.counts, strict=True)})
    told = Told(source, {split: dict(of) for split, of in counts.items()}, tallies)
    (ready / "README.md").write_text(data_card(told), encoding="utf-8")
    (ready / "MODEL.md").write_text(model_card(told), encoding="utf-8")
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
