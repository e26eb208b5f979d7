"""Time what grows with an archive, and measure its memory, on archives of 50, 500 and 5,000 simulated records of half an hour.

    python scripts/bench_scale.py --work scale/ -o results/scale

50 records are simulated; those of an archive are these with noise of their own, so that no two files are alike, and they are brought to
the disk and dropped from memory before each command that reads them. Memory is that of a command and all of its processes, looked at
five times a second, or the most of the first one that the system tells of until then, if that is more. The model is a `cnn-gan` of few
steps: what it learns is nothing to the measure, and it samples fast. `evaluate` and `build` are asked for a part of what they do; with
all of it, and a gate, they are measured on one archive. Then an archive is cut by Ray with one worker and with two, in turn.

Some commands keep up to 200,000 beats of a side in memory, and an archive that holds fewer says nothing of what grows beyond. So the
smallest that is compared is the first with 400,000 beats. The exit code is 1 if a record takes a command more than a fifth longer in
the largest archive than there, if a command takes a fifth more memory, or if two workers are less than 1.6 times as fast as one.

The disk holds 1.3 MB a record of each archive, and for the one that is measured its beats and their split, 1.9 MB each: 29 GB for 5,000
records beside the smaller archives.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import numpy as np
from shared import Found, memory, part, versions, write

import ecgsynth as es
from ecgsynth.records import write_record
from ecgsynth.simulate import simulate_records
from ecgsynth.stored import HEAD, MOST, StoredBeats

COMMAND = [sys.executable, "-m", "ecgsynth"]
DISTINCT = 50
MINUTES = 30.0
NOISE = 0.005  # mV, by which records differ that are of the same simulated one
LOOK_S = 0.2  # from one look at the memory to the next
MOST_GROWTH = 1.2  # of seconds a record, and of memory, from the smallest archive to the largest
LEAST_GAIN = 1.6  # of two workers over one
EACH = ("beats", "split", "sample", "build")  # commands that handle every beat; the others read so many and no more
ALL = ("evaluate", "gate", "build")  # measured whole
ICENTIA = 2_698_993_472
"""Beats of Icentia11k: Tan S et al. (2019), doi:10.48550/arXiv.1910.09570."""

TRAINED = ["-g", "cnn-gan", "--steps", "500", "--set", "validations=1"]
BUILT = ["--format", "parquet", "--no-gate"]
JUDGED = ["--classifiers", "cnn", "--steps", "200", "--rows", "real,synthetic", "--families", "none", "--workers", "1", "--no-cache"]
WHOLE = ["--workers", "1", "--no-cache"]


def archive(work: Path, count: int) -> Path:
    """Give a folder of so many records, no two alike, which is made if it is not there; nothing of it is in memory afterwards."""
    folder = work / f"records-{count}"
    if not (folder / "whole").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        simulated = list(simulate_records(n_patients=min(count, DISTINCT), minutes=MINUTES))
        for number in range(count):
            record = simulated[number % DISTINCT]
            noise = np.random.default_rng([count, number]).normal(scale=NOISE, size=record.signals.shape)
            write_record(replace(record, name=f"r{number:05d}", signals=record.signals + noise), folder)
        (folder / "whole").touch()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return folder


def largest(process: int) -> int:
    """Give the most memory that a process has had, in kB; what its parent held before it began is none of it."""
    try:
        return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):  # it has ended
        return 0


def run(*arguments: object) -> Found:
    """Run a command of ecgsynth; gives its seconds and the most memory of it and its workers together, in MB."""
    begun, most = time.monotonic(), 0
    command = [*COMMAND, *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            most = max(most, memory(process.pid), largest(process.pid))
            time.sleep(LOOK_S)
        if process.returncode:
            said.seek(0)
            raise click.ClickException(f"{' '.join(command)}: {said.read()}")
    return {"seconds": time.monotonic() - begun, "peak_mb": most / 1024}


def commands(work: Path, count: int, *, whole: bool = False) -> Found:
    """Measure every command on an archive of so many records; `evaluate` and `build` do all that they do by default if `whole`."""
    records, out = archive(work, count), work / f"out-{count}"
    shutil.rmtree(out, ignore_errors=True)
    beats, split, model, made = out / "beats", out / "split", out / "model.safetensors", out / "made"
    found = {"beats": run("beats", records, "-o", beats, "--workers", "1")}
    total = len(StoredBeats.open(beats))
    found["split"] = run("split", beats, "-o", split, "--scheme", "patients")
    shutil.rmtree(beats)
    found["train"] = run("train", split, "-o", model, *TRAINED)
    found["sample"] = run("sample", model, "-o", made, "--like", split / "train")
    found["evaluate"] = run("evaluate", made, "--split", split, "-o", out / "run", *(WHOLE if whole else JUDGED))
    shutil.rmtree(made)
    counts = [f"--count={label}={count}" for label, count in es.load_generator(model).counts.items()]
    if whole:
        found["gate"] = run("gate", split, "-o", out / "gate.safetensors")
    built = ["--gate", out / "gate.safetensors"] if whole else BUILT
    found["build"] = run("build", "-m", model, *counts, *built, "-o", out / "set", "--workers", "1")
    size = sum(path.stat().st_size for side in ("train", "val", "test") for path in (split / side).iterdir())
    shutil.rmtree(out)
    return {"beats": total, "bytes": size, "commands": found}


def workers(work: Path, count: int, repeats: int) -> Found:
    """Cut an archive by Ray with one worker and with two, in turn; gives the seconds of each run."""
    seconds = {"1": list[float](), "2": list[float]()}
    for _ in range(repeats):
        for of, times in seconds.items():
            out = work / f"ray-{of}"
            shutil.rmtree(out, ignore_errors=True)
            times.append(run("beats", archive(work, count), "-o", out, "--engine", "ray", "--workers", of)["seconds"])
    heads = {(work / f"ray-{of}" / HEAD).read_text() for of in seconds}
    if len(heads) > 1:
        raise click.ClickException("two workers gave other beats than one")
    return {"records": count, "seconds": seconds}


def of_workers(ray: Found) -> tuple[float, float]:
    """Give the seconds of one worker and of two, the median of each."""
    return median(ray["seconds"]["1"]), median(ray["seconds"]["2"])


def verdict(sizes: dict[int, Found], ray: Found) -> list[str]:
    """Say what grows with the archive that should not, and whether two workers gain too little."""
    most = max(sizes)
    least = min((count for count, found in sizes.items() if found["beats"] >= 2 * MOST), default=most)
    failures = [] if least < most else [f"nothing is compared: {2 * MOST:,} beats are needed in two archives"]
    for name, small in sizes[least]["commands"].items():
        large = sizes[most]["commands"][name]
        slower = large["seconds"] / most / (small["seconds"] / least)
        larger = large["peak_mb"] / small["peak_mb"]
        failures += [f"{name}: a record takes {slower:.2f} times as long among {most:,} as among {least:,}"] if slower > MOST_GROWTH else []
        failures += [f"{name}: {most:,} records take {larger:.2f} times the memory of {least:,}"] if larger > MOST_GROWTH else []
    one, two = of_workers(ray)
    return failures + ([f"two workers of Ray are {one / two:.2f} times as fast as one"] if one / two < LEAST_GAIN else [])


def table(sizes: dict[int, Found], whole: Found, ray: Found) -> str:
    """Set it all in tables."""
    largest = sizes[max(sizes)]
    names = list(next(iter(sizes.values()))["commands"])
    lines = ["| records | beats | " + " | ".join(f"`{name}`, ms a record" for name in names) + " |", "|" + "---:|" * (2 + len(names))]
    for count, found in sizes.items():
        times = [f"{1000 * found['commands'][name]['seconds'] / count:,.0f}" for name in names]
        lines.append(f"| {count:,} | {found['beats']:,} | {' | '.join(times)} |")
    lines += ["", "| records | " + " | ".join(f"`{name}`, MB" for name in names) + " |", "|" + "---:|" * (1 + len(names))]
    for count, found in sizes.items():
        lines.append(f"| {count:,} | " + " | ".join(f"{found['commands'][name]['peak_mb']:,.0f}" for name in names) + " |")
    before = sizes[sorted(sizes)[-2]] if len(sizes) > 1 else largest
    growth = largest["beats"] / before["beats"]
    longer = {name: largest["commands"][name]["seconds"] / before["commands"][name]["seconds"] for name in names if name not in EACH}
    asked = [
        f"`{name}` {whole['commands'][name]['seconds'] / 60:,.0f} minutes and {whole['commands'][name]['peak_mb']:,.0f} MB" for name in ALL
    ]
    one, two = of_workers(ray)
    hours = {name: largest["commands"][name]["seconds"] / largest["beats"] * ICENTIA / 3600 for name in EACH}
    size = largest["bytes"] / largest["beats"]
    lines += [
        "",
        f"With all that they do by default, of {whole['beats']:,} beats: {', '.join(asked)}.",
        "",
        f"Ray, {ray['records']:,} records, its start included: one worker {one:.1f} s, two {two:.1f} s, {one / two:.2f} times as fast "
        f"(medians of {len(ray['seconds']['1'])} runs in turn).",
        "",
        f"The {ICENTIA:,} beats of Icentia11k (Tan 2019, doi:10.48550/arXiv.1910.09570) by the measure of the largest archive, in hours of "
        f"one core: {', '.join(f'`{name}` {took:,.0f}' for name, took in hours.items())}. The other commands learn from, and look at, no "
        f"more than {MOST:,} beats, but read the archive to draw them: from the last archive but one to the largest, of {growth:.0f} "
        f"times the beats, {', '.join(f'`{name}` took {times:.1f}' for name, times in longer.items())} times as long. "
        f"Their disk: {size * ICENTIA / 1e12:.2f} TB for beats, and as much again for each of split, sample and build.",
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="A folder for records and beats: 29 GB for 5,000.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("results/scale"), show_default=True)
@click.option("--sizes", default="50,500,5000", show_default=True)
@click.option(
    "--whole", default=500, show_default=True, type=click.IntRange(min=1), help="Records for evaluate and build as they are by default."
)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--ray-records", default=1500, show_default=True, type=click.IntRange(min=1))
def main(work: Path, out: Path, sizes: str, whole: int, repeats: int, ray_records: int) -> None:
    """Measure, part by part; what was measured is kept in OUT/parts."""
    counts = [int(size) for size in sizes.split(",")]
    found = {
        count: part(
            out / "parts" / f"size-{count}.json",
            {"train": TRAINED, "build": BUILT, "judged": JUDGED},
            lambda count=count: commands(work, count),
        )
        for count in counts
    }
    settings = {"train": TRAINED, "judged": WHOLE}
    asked = part(out / "parts" / f"whole-{whole}.json", settings, lambda: commands(work, whole, whole=True))
    ray = part(out / "parts" / f"ray-{ray_records}.json", {"repeats": repeats}, lambda: workers(work, ray_records, repeats))
    text = table(found, asked, ray)
    write(out / "scale.md", text)
    failures = verdict(found, ray)
    told = {"ecgsynth": versions((out / "parts").glob("*.json")), "sizes": found, "whole": asked, "ray": ray, "failures": failures}
    write(out / "scale.json", json.dumps(told, indent=1) + "\n")
    click.echo(text)
    if failures:
        raise click.ClickException("\n".join(failures))
    click.echo("Neither the time of a record nor the memory grows with the archive, and two workers gain what they should.")


if __name__ == "__main__":
    main()
