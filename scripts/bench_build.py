"""Time a build of gated beats in all formats, and measure its memory.

    python scripts/bench_build.py --beats 100000

The build is a process of its own, whose largest resident memory is what is printed; beside it stands the time that sampling
the same number of beats alone takes.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

import ecgsynth as es

MIX = {"N": 0.6, "S": 0.1, "V": 0.2, "F": 0.04, "Q": 0.06}


@click.command()
@click.option("--model", default="mitdb", show_default=True)
@click.option("--beats", default=100_000, show_default=True, type=click.IntRange(min=100))
def main(model: str, beats: int) -> None:
    """Print seconds, beats a second and memory."""
    counts = {label: round(share * beats) for label, share in MIX.items()}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "dataset"
        asked = [part for label, count in counts.items() for part in ("--count", f"{label}={count}")]
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ecgsynth", "build", "--model", model, *asked, "-o", output], check=True)
        seconds = time.perf_counter() - begun
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1e6 if sys.platform != "darwin" else 1e9)
    generator = es.load_generator(model)
    begun = time.perf_counter()
    generator.sample(counts)
    alone = time.perf_counter() - begun
    click.echo(f"{beats:,} beats in {seconds:.1f} s, {beats / seconds:,.0f} a second, {size / 1e6:.0f} MB; at most {peak:.2f} GB of memory")
    click.echo(f"sampling alone: {alone:.1f} s, {seconds / alone:.1f} times less")


if __name__ == "__main__":
    main()
