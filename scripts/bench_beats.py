"""Time `extract_beats` over a folder of records against a plain loop of wfdb and scipy, in one run.

Run: python scripts/bench_beats.py records/mitdb --repeats 3
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import wfdb
from scipy.signal import butter, sosfiltfilt

import ecgsynth as es
from ecgsynth.labels import SYMBOL_TO_CLASS
from ecgsynth.records import find_records


def plain_loop(folder: Path) -> np.ndarray:
    """Read, filter and cut as one would in a notebook: (n_beats, 256)."""
    sections = butter(4, (0.5, 40), "bandpass", fs=360, output="sos")
    windows = []
    for path in find_records(folder):
        record, annotation = wfdb.rdrecord(str(path)), wfdb.rdann(str(path), "atr")
        channel = record.sig_name.index("MLII") if "MLII" in record.sig_name else 0
        signal = sosfiltfilt(sections, record.p_signal[:, channel])
        for sample, symbol in zip(annotation.sample, annotation.symbol, strict=True):
            if symbol in SYMBOL_TO_CLASS and 108 <= sample <= len(signal) - 148:
                windows.append(signal[sample - 108 : sample + 148])
    return np.array(windows, dtype=np.float32)


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Give the seconds and the result."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--repeats", default=3, type=click.IntRange(min=1))
def main(folder: Path, repeats: int) -> None:
    """Print both times and their ratio: the medians of runs taken in turn."""
    ours, plain = [], []
    for _ in range(repeats + 1):
        plain.append(timed(lambda: plain_loop(folder)))
        ours.append(timed(lambda: es.extract_beats(es.read_records(folder, lead=es.LEADS)).signals))
    difference = np.abs(ours[0][1] - plain[0][1]).max()
    seconds = [float(np.median([time for time, _ in runs[1:]])) for runs in (ours, plain)]  # the first run warms up
    click.echo(f"{len(ours[0][1]):,} beats; largest difference {difference:.1e} mV")
    click.echo(f"ecgsynth {seconds[0]:.2f} s, plain loop {seconds[1]:.2f} s: {seconds[1] / seconds[0]:.2f} times as fast")


if __name__ == "__main__":
    main()
