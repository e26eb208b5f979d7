"""In how many beats an upright P wave is found, by kind of beat: sinus beats have one, those in atrial fibrillation have none.

    python scripts/p_waves.py -o results

Up to 1,500 beats a kind, seed 0, of lead II of MIT-BIH (any first lead of paced beats); rhythms are those that its cardiologists annotated.
"""

from pathlib import Path

import click
import numpy as np
import wfdb
from shared import markdown, mitdb_beats, write

import ecgsynth as es
from ecgsynth import mitdb
from ecgsynth.fetch import locate_records
from ecgsynth.metrics.physiology import measure_waves, shares

MOST = 1500
KINDS = {  # symbols, and the rhythm if it is to be one
    "sinus": ("N", "N"),
    "atrial fibrillation": ("N", "AFIB"),
    "atrial premature": ("A", None),
    "junctional": ("jJ", None),
    "ventricular premature": ("V", None),
    "left bundle branch block": ("L", None),
    "right bundle branch block": ("R", None),
    "paced": ("/", None),
}


def rhythms(beats: es.Beats) -> np.ndarray:
    """Give the annotated rhythm of each beat: (n,)."""
    found = np.full(len(beats), "", dtype="U8")
    for name in np.unique(beats.records):
        notes = wfdb.rdann(str(locate_records() / name), "atr")
        marks = [(0, ""), *((at, text.strip("\x00(")) for at, text in zip(notes.sample, notes.aux_note, strict=True) if text[:1] == "(")]
        own = np.flatnonzero(beats.records == name)
        last = np.searchsorted([at for at, _ in marks], beats.samples[own], side="right") - 1
        found[own] = [marks[place][1] for place in last]
    return found


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
def main(out: Path) -> None:
    """Measure, and write the table."""
    beats, rng = mitdb_beats(), np.random.default_rng(0)
    rhythm = rhythms(beats)
    unpaced = (beats.leads == "MLII") & ~np.isin(beats.records, list(mitdb.PACED))
    rows = []
    for kind, (symbols, wanted) in KINDS.items():
        own = np.isin(beats.symbols, list(symbols)) & (unpaced | (kind == "paced")) & (True if wanted is None else rhythm == wanted)
        some = beats.take(rng.permutation(np.flatnonzero(own))[:MOST])
        rows.append([kind, f"{len(some):,}", f"{shares(measure_waves(some))['upright P']:.2f}"])
    text = markdown(["beats", "looked at", "share with an upright P wave"], rows)
    write(out / "p-waves.md", text)
    click.echo(text)


if __name__ == "__main__":
    main()
