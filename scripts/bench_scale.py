"""Time what grows with an archive, and measure its memory, on archives of 50, 500 and 5,000 simulated records of half an hour.

    python scripts/bench_scale.py --work scale/ -o results

Records are simulated once, 50 of them; larger archives hold the same under other names. Each command runs in a process of its own,
whose largest memory the system tells. Time a record should not grow with their number, memory should be the same. Then the largest
archive that two workers can share is cut by Ray with one worker and with two, in turn.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click
from shared import Found, part, write

from ecgsynth.records import write_record
from ecgsynth.simulate import simulate_records
from ecgsynth.stored import HEAD, StoredBeats

DISTINCT = 50
MINUTES = 30.0
ICENTIA = 2_698_993_472
"""Beats of Icentia11k: Tan S et al. (2019), doi:10.48550/arXiv.1910.09570."""

TRAINED = ["-g", "flow", "--steps", "1000", "--set", "validations=1"]
JUDGED = ["--classifiers", "cnn", "--steps", "200", "--rows", "real,synthetic", "--families", "none", "--workers", "1", "--no-cache"]


def archive(work: Path, count: int) -> Path:
    """Give a folder of so many records, which is made if it is not there."""
    source, folder = work / "simulated", work / f"records-{count}"
    if not (source / "whole").is_file():
        for record in simulate_records(n_patients=DISTINCT, minutes=MINUTES):
            write_record(record, source)
        (source / "whole").touch()
    if len(list(folder.glob("*.hea"))) < count:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        headers = sorted(source.glob("*.hea"))
        for number in range(count):
            header = headers[number % DISTINCT]
            name = f"r{number:05d}"
            for suffix in (".dat", ".atr"):
                os.link(header.with_suffix(suffix), folder / f"{name}{suffix}")
            (folder / f"{name}.hea").write_text(header.read_text().replace(header.stem, name))
    return folder


def run(*arguments: object) -> Found:
    """Run a command of ecgsynth; gives its seconds and the largest memory of one of its processes in MB."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "ecgsynth", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)}: {said}")
    return {"seconds": time.monotonic() - begun, "peak_mb": used.ru_maxrss / 1024}


def commands(work: Path, count: int) -> Found:
    """Measure every command on an archive of so many records."""
    records, out = archive(work, count), work / f"out-{count}"
    shutil.rmtree(out, ignore_errors=True)
    beats, split, model, made = out / "beats", out / "split", out / "model", out / "made"
    found = {"beats": run("beats", records, "-o", beats, "--workers", "1")}
    total = len(StoredBeats.open(beats))
    found["split"] = run("split", beats, "-o", split, "--scheme", "patients")
    shutil.rmtree(beats)
    found["train"] = run("train", split, "-o", model, *TRAINED)
    found["sample"] = run("sample", model, "-o", made, "--like", split / "train")
    found["evaluate"] = run("evaluate", made, "--split", split, "-o", out / "run", *JUDGED)
    size = sum(path.stat().st_size for side in ("train", "val", "test") for path in (split / side).iterdir())
    shutil.rmtree(out)
    return {"beats": total, "bytes": size, "commands": found}


def workers(work: Path, count: int, repeats: int) -> Found:
    """Cut an archive by Ray with one worker and with two, in turn; gives the seconds of each run."""
    records, seconds = archive(work, count), {"1": list[float](), "2": list[float]()}
    for _ in range(repeats):
        for of, times in seconds.items():
            out = work / f"ray-{of}"
            shutil.rmtree(out, ignore_errors=True)
            times.append(run("beats", records, "-o", out, "--engine", "ray", "--workers", of)["seconds"])
    heads = {(work / f"ray-{of}" / HEAD).read_text() for of in seconds}
    if len(heads) > 1:
        raise click.ClickException("two workers gave other beats than one")
    return {"records": count, "seconds": seconds}


def table(sizes: dict[int, Found], ray: Found) -> str:
    """Set it all in tables."""
    names = list(next(iter(sizes.values()))["commands"])
    lines = ["| records | beats | " + " | ".join(f"`{name}`, ms a record" for name in names) + " |", "|" + "---:|" * (2 + len(names))]
    for count, found in sizes.items():
        times = [f"{1000 * found['commands'][name]['seconds'] / count:,.0f}" for name in names]
        lines.append(f"| {count:,} | {found['beats']:,} | {' | '.join(times)} |")
    lines += ["", "| records | " + " | ".join(f"`{name}`, MB" for name in names) + " |", "|" + "---:|" * (1 + len(names))]
    for count, found in sizes.items():
        lines.append(f"| {count:,} | " + " | ".join(f"{found['commands'][name]['peak_mb']:,.0f}" for name in names) + " |")
    one, two = (median(ray["seconds"][of]) for of in ("1", "2"))
    largest = sizes[max(sizes)]
    cut = largest["commands"]["beats"]["seconds"] / largest["beats"]
    size = largest["bytes"] / largest["beats"]
    lines += [
        "",
        f"Ray, {ray['records']:,} records, its start included: one worker {one:.1f} s, two {two:.1f} s, {one / two:.2f} times as fast "
        f"(medians of {len(ray['seconds']['1'])} runs in turn).",
        "",
        f"{ICENTIA:,} beats by the measure of the largest archive: {cut * ICENTIA / 3600:,.0f} hours of one core to cut them, "
        f"{size * ICENTIA / 1e12:.2f} TB for the beats, and as much again for their split.",
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="A folder for records and beats: 25 GB for 5,000.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--sizes", default="50,500,5000", show_default=True)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--ray-records", default=5000, show_default=True, type=click.IntRange(min=1))
def main(work: Path, out: Path, sizes: str, repeats: int, ray_records: int) -> None:
    """Measure, part by part; what was measured is kept in the work folder."""
    counts = [int(size) for size in sizes.split(",")]
    found = {count: part(work / f"size-{count}.json", {"train": TRAINED}, lambda count=count: commands(work, count)) for count in counts}
    ray = part(work / f"ray-{ray_records}.json", {"repeats": repeats}, lambda: workers(work, ray_records, repeats))
    text = table(found, ray)
    write(out / "scale.md", text)
    write(out / "scale.json", json.dumps({"sizes": found, "ray": ray}, indent=1))
    click.echo(text)


if __name__ == "__main__":
    main()
