"""Which classifier knows the beats of patients it has not seen best, found among the patients of DS1 alone.

    python scripts/choose_classifier.py -o results/between-patients --seeds 3

Four-fold cross-validation over the patients of DS1, classes N S V F: each is judged by a classifier that learnt from none of
its beats. DS2 is not touched. Nearly all F are of one patient, so that none of them can be learnt from others. Each part is kept in
OUT/parts as it is done, and several processes may share the work by `--only`: the table is of all classifiers whose parts are there.
"""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from shared import chosen, ds1_beats, judged, one_core, part, write

import ecgsynth as es
from ecgsynth.classifiers import NEW_PATIENTS
from ecgsynth.metrics.utility import Scores

CLASSES = "NSVF"
# What is changed of the settings that were taken.
VARIANTS = {
    "taken": {},
    "one network": {"members": 1},
    "one unscaled network": {"members": 1, "scaled": False},
    "shape alone": {"features": "shape"},
    "as within patients": {name: getattr(es.BeatClassifier(), name) for name in ("positions", "width", "steps")},
    "varied while learning": {"augment": True},
    "all positions": {"positions": None},
    "eight positions": {"positions": 8},
    "two positions": {"positions": 2},
    "twice as long": {"steps": 2 * NEW_PATIENTS["steps"]},
    "classes weighted": {"balanced": True},
}


def line(name: str, seeds: list[Scores]) -> str:
    """Set macro-F1 with its spread, then sensitivity and positive predictivity of each class in %."""
    macro = [seed.macro_f1 for seed in seeds]
    spread = f" ± {np.std(macro, ddof=1):.3f}" if len(seeds) > 1 else ""
    by_class = [[np.mean([getattr(seed, key)[c] for seed in seeds]) for key in ("sensitivity", "positive_predictivity")] for c in CLASSES]
    return f"| {name} | {np.mean(macro):.3f}{spread} | " + " | ".join(f"{100 * se:.0f} / {100 * p:.0f}" for se, p in by_class) + " |"


@click.command()
@click.option("-o", "--out", default=Path("results/between-patients"), type=click.Path(path_type=Path))
@click.option("--seeds", default=3, type=click.IntRange(min=1))
@click.option("--only", help="Measure only these, by comma.")
def main(out: Path, seeds: int, only: str | None) -> None:
    """Measure, and write the table."""
    one_core()
    beats, asked = ds1_beats(CLASSES), chosen(only, VARIANTS)
    lines = ["| classifier | macro-F1 | " + " | ".join(f"Se / +P of {name}, %" for name in CLASSES) + " |", "|---" * 6 + "|"]
    for name in VARIANTS:
        files = [out / "parts" / f"classifier-{name.replace(' ', '-')}-{seed}.json" for seed in range(seeds)]
        if name not in asked and not all(file.is_file() for file in files):
            continue
        found = []
        for seed, file in enumerate(files):
            network = es.BeatClassifier(**NEW_PATIENTS | VARIANTS[name] | {"seed": seed})
            settings = {"classifier": network.settings, "beats": beats.digest()}
            found.append(Scores(**part(file, settings, lambda network=network: asdict(judged(beats, network.fit, CLASSES)))))
        lines.append(line(name, found))
        click.echo(lines[-1], err=True)
    write(out / "classifiers.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
