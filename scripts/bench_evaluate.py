"""Time an evaluation with all that it measures, and the memory of all its processes together.

    python scripts/bench_evaluate.py --beats 70000 -o results/speed

The beats are those of the model `mitdb`, the divisions those of MIT-BIH by the scheme `beats`, and by `dechazal`, where patients are
attacked too and the network is that for new patients; nothing is taken from the cache. What several processes share is counted once. All
cores are used: the machine must be idle.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from shared import machine, markdown, memory, mitdb_beats, write

import ecgsynth as es


@click.command()
@click.option("--beats", default=70_000, show_default=True, type=click.IntRange(min=100))
@click.option("--scheme", "schemes", multiple=True, default=("beats", "dechazal"), show_default=True)
@click.option("--workers", help="As for `ecgsynth evaluate`.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for what is printed: evaluate.md.")
def main(beats: int, schemes: tuple[str, ...], workers: str | None, out: Path | None) -> None:
    """Print minutes and memory."""
    real = mitdb_beats()
    rows = [[scheme, f"{beats:,}", *timed(es.split_beats(real, scheme=scheme, seed=0), beats, workers)] for scheme in schemes]
    text = f"{markdown(['scheme', 'beats', 'minutes', 'most memory, GB'], rows)}\nOn {machine()}.\n"
    if out:
        write(out / "evaluate.md", text)
    click.echo(text)


def timed(split: es.Split, beats: int, workers: str | None) -> tuple[str, str]:
    """Evaluate so many beats; give minutes, and the most memory in GB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split.save(folder / "split")
        es.load_generator("mitdb").sample(es.class_counts(split.train, total=beats)).save(folder / "made.npz")
        asked = [folder / "made.npz", "--split", folder / "split", "-o", folder / "run", "--no-cache"]
        begun, most = time.perf_counter(), 0
        command = [sys.executable, "-m", "ecgsynth", "evaluate", *asked, *(["--workers", workers] if workers else [])]
        process = subprocess.Popen(command)
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(0.5)
        minutes = (time.perf_counter() - begun) / 60
        if process.returncode:
            raise click.ClickException(f"evaluate ended with {process.returncode}")
    return f"{minutes:.1f}", f"{most / 1e6:.2f}"


if __name__ == "__main__":
    main()
