"""Read spoilt files of every kind: each must give a result or one clear error, in time and in little memory.

    python scripts/fuzz.py --mutations 12000 --seed 0 -o results/reliability
    python scripts/fuzz.py --only headers,models

Every target is read in a process of its own, whose address space may grow by 1 GiB beyond what it has once the sound input is
read, and which may neither open files outside of its folder, nor start programs, nor ask the network. What C libraries open there is
known by the access times of files that lie there as bait, where the file system keeps these. Same seed, same mutations.
The exit code is 1 if anything else came than a result or an `EcgsynthError`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before what reads it is imported: processes are forked

import json
import tempfile
import time
from pathlib import Path

import click
import torch
from shared import chosen, markdown, write
from shared.fuzzing import ERROR, RESULT, attack, reading_shows
from shared.targets import make_targets

import ecgsynth as es
from ecgsynth.cli.console import table

SHOWN = 10  # findings of a target
HEADS = ("target", "mutations", "results", "clear errors", "findings", "slowest, s", "most memory, MiB")


@click.command()
@click.option("--mutations", default=12000, show_default=True, type=click.IntRange(min=1), help="In all; slow targets get fewer.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--only", help="Only these targets, by comma.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for what was found: fuzz.json and fuzz.md.")
def main(mutations: int, seed: int, only: str | None, out: Path | None) -> None:
    """Spoil, read, and say what came of it."""
    torch.set_num_threads(1)
    begun, rows, findings = time.monotonic(), [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MPLCONFIGDIR"] = folder
        targets, outside = make_targets(Path(folder) / "inputs"), Path(folder) / "outside"
        outside.mkdir()
        for path in list((Path(folder) / "inputs").rglob("*.*")):  # sound files, which hostile names and links lead to
            if path.is_file():
                (outside / f"bait{path.suffix}").write_bytes(path.read_bytes())
        names = chosen(only, targets)
        if not reading_shows(outside):
            click.echo("this file system keeps no access times: what C libraries open is not watched", err=True)
        share = mutations / sum(targets[name].weight for name in names)
        for number, name in enumerate(names, start=1):
            count = max(1, round(share * targets[name].weight))
            found = attack(targets[name], count, [seed, list(targets).index(name)], outside)
            outcomes = [found.outcomes[RESULT], found.outcomes[ERROR], len(found.findings)]
            row = (name, count, *outcomes, round(found.seconds, 2), round(found.memory / 2**20))
            rows.append(dict(zip(HEADS, row, strict=True)))
            findings += [f"{name}, {finding:.300}" for finding in found.findings[:SHOWN]]
            click.echo(f"{number} of {len(names)}: {name}, {time.monotonic() - begun:.0f} s", err=True)
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row.values()] for row in rows]
    if out:
        found = {"ecgsynth": es.__version__, "seed": seed, "targets": rows, "findings": findings}
        write(out / "fuzz.json", json.dumps(found, indent=1) + "\n")
        write(out / "fuzz.md", markdown(HEADS, cells))
    click.echo(table(cells, list(HEADS)))
    click.echo("\n".join(findings) or f"nothing found in {sum(row['mutations'] for row in rows):,} mutations")
    if findings:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
