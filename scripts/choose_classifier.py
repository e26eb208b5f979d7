"""Which classifier knows the beats of patients it has not seen best, found among the patients of DS1 alone.

    python scripts/choose_classifier.py -o results/between-patients --halves 20

The patients of DS1 are divided into two halves at random, again and again: a network learns from the patients of one, and is tested on
those of the other. DS2 is not touched. What counts is the mean F1 of N, S and V: nearly all F are of one patient, so that none of them
can be learnt from others; they are learnt and confused all the same. Each part is kept in OUT/parts as it is done, and several processes
may share the work by `--only`: the table is of all classifiers whose parts are there.
"""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from shared import Found, ds1_beats, markdown, one_core, part, rows_to_show, write

import ecgsynth as es
from ecgsynth.classifiers import NEW_PATIENTS
from ecgsynth.metrics.utility import score_classes
from ecgsynth.mixing import with_means

CLASSES = "NSVF"
COUNTED = "NSV"
FEWEST = 50  # beats of each counted class in each half
ACROSS = 5  # patients who have beats of each counted class, in the half that is learnt from
FEWER = "fewer means by the square root"
UNTOLD = "means of beats whose patients are not told"  # no choice, but what it means to learn from synthetic beats
# What is changed of the settings that were taken, of one network: more of them make what is found hang less on chance.
VARIANTS = {
    "taken": {},
    "no means beside the beats": {"across": 1},
    FEWER: {"across": 1},
    UNTOLD: {},
    "not scaled": {"scaled": False},
    "neither means nor scaled": {"across": 1, "scaled": False},
    "weighted classes and no means": {"across": 1, "balanced": True},
    "weighted classes": {"balanced": True},
    "shape alone": {"features": "shape"},
    "as within patients": {name: getattr(es.BeatClassifier(), name) for name in ("positions", "width", "steps")},
    "varied while learning": {"augment": True},
    "all positions": {"positions": None},
    "eight positions": {"positions": 8},
    "two positions": {"positions": 2},
    "twice as long": {"steps": 2 * NEW_PATIENTS["steps"]},
}


def halves(beats: es.Beats, draw: int) -> tuple[es.Beats, es.Beats]:
    """Divide the patients at random, until both halves have what is asked of them; the first is to be learnt from."""
    rng, names = np.random.default_rng(1000 + draw), np.unique(beats.patients)
    while True:
        of_first = np.isin(beats.patients, rng.permutation(names)[: len(names) // 2])
        sides = beats.take(of_first), beats.take(~of_first)
        enough = all(side.counts().get(name, 0) >= FEWEST for side in sides for name in COUNTED)
        if enough and all(len(np.unique(sides[0].patients[sides[0].classes == name])) >= ACROSS for name in COUNTED):
            return sides


def measure(name: str, network: es.BeatClassifier, learnt: es.Beats, asked: es.Beats) -> Found:
    """Have a network learn from one half, and say what it finds in the other."""
    if name == FEWER:
        learnt = with_means(learnt, NEW_PATIENTS["across"], power=0.5, seed=network.seed)
    if name == UNTOLD:
        learnt = replace(learnt, patients=None)
    found = score_classes(annotated=asked.classes, predicted=network.fit(learnt).predict(asked), classes=CLASSES)
    return {"f1": found.f1, "confusion": found.confusion}


def mean_f1(draws: list[Found]) -> np.ndarray:
    """Give the mean F1 of the counted classes of each draw."""
    return np.array([np.mean([found["f1"][name] for name in COUNTED]) for found in draws])


def table(rows: dict[str, list[Found]]) -> str:
    """Set the mean F1 of N, S and V, what it is more than that of the settings taken, draw by draw, and F1 of each class, in Markdown."""
    lines = []
    for name, draws in rows.items():
        values = mean_f1(draws)
        more = values - mean_f1(rows["taken"]) if "taken" in rows and name != "taken" else None
        against = "" if more is None else f"{more.mean():+z.3f} ± {more.std(ddof=1) / np.sqrt(len(more)):.3f}"
        by_class = [f"{np.mean([found['f1'][label] for found in draws]):.2f}" for label in CLASSES]
        lines.append([name, f"{values.mean():.3f} ± {values.std(ddof=1):.3f}", against, *by_class])
    return markdown(
        ["one network", "mean F1 of N, S and V", "more than taken, ± standard error", *(f"F1 {name}" for name in CLASSES)], lines
    )


@click.command()
@click.option("-o", "--out", default=Path("results/between-patients"), type=click.Path(path_type=Path))
@click.option("--halves", "draws", default=20, type=click.IntRange(min=2))
@click.option("--only", help="Measure only these, by comma.")
def main(out: Path, draws: int, only: str | None) -> None:
    """Measure, and write the table."""
    one_core()
    beats = ds1_beats(CLASSES)
    files = {name: [out / "parts" / f"classifier-{name.replace(' ', '-')}-{draw}.json" for draw in range(draws)] for name in VARIANTS}
    rows: dict[str, list[Found]] = {name: [] for name in rows_to_show(only, VARIANTS, files.__getitem__)}
    for draw in range(draws):
        learnt, asked = halves(beats, draw)
        for name in rows:
            network = es.BeatClassifier(**NEW_PATIENTS | {"members": 1} | VARIANTS[name] | {"seed": draw})
            settings = {"name": name, "classifier": network.settings, "learnt": learnt.digest(), "asked": asked.digest()}
            rows[name].append(part(files[name][draw], settings, lambda each=(name, network, learnt, asked): measure(*each)))
            click.echo(f"draw {draw}  {name:<31} {mean_f1(rows[name][-1:])[0]:.3f}", err=True)
    write(out / "classifiers.md", table(rows))
    click.echo(table(rows))


if __name__ == "__main__":
    main()
