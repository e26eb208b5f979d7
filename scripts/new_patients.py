"""What beats teach of new patients, over several draws of who is new: real beats, their means across patients, and other generators.

    python scripts/new_patients.py -o results --draws 10

Each draw divides the 43 patients of MIT-BIH without paced beats at random, as `scripts/membership.py` does, which says of the same draws
what beats tell of those learnt from: classifiers learn from 17 patients, or from what was made of their beats, and are tested on 17
others; classes N S V F, shape and rhythm, the network for new patients, which in all rows but one learns means of whatever it is given
beside it. As many beats are made as were learnt from. That a class has beats of five patients is needed for means across five; where it
has fewer, it is left out of the means, and scored all the same; a class with fewer than ten beats to learn is left out of the draw, and of
none yet drawn. Networks compute on one core; each part is kept in OUT/parts as it is done, and several processes may share the work by
`--rows`: the table is of all rows whose parts are there.
"""

import json
from pathlib import Path

import click
import numpy as np
from shared import Found, classes_across, divided, markdown, one_core, part, rows_to_show, unpaced_beats, versions, write

import ecgsynth as es
from ecgsynth.classifiers import NEW_PATIENTS
from ecgsynth.metrics.utility import score_classes
from ecgsynth.mixing import means_across

CLASSES = "NSVF"
# Row -> what the table calls it, and across how many patients means are taken.
ROWS = {
    "real": ("real beats (TRTR)", 1),
    "means-2": ("means across 2 patients", 2),
    "means-3": ("means across 3 patients", 3),
    "means-5": ("means across 5 patients, which `group-flow` learns from", 5),
    "means-8": ("means across 8 patients", 8),
    "bare": ("real beats, and no means of them beside", 1),
    "gaussian": ("`gaussian`", 1),
    "ecgsyn": ("floor: `ecgsyn`, which learns nothing", 1),
}


def network(row: str) -> Found:
    """Give the settings of the row's classifier."""
    return NEW_PATIENTS | ({"across": 1} if row == "bare" else {})


def taught(row: str, train: es.Beats, draw: int) -> es.Beats:
    """Give the beats that the row's classifier learns from."""
    if row in es.GENERATORS:
        return es.GENERATORS[row]().fit(train).sample(es.class_counts(train), seed=draw)
    across = ROWS[row][1]
    return means_across(train.take(np.isin(train.classes, classes_across(train, across))), across, seed=draw)


def measure(row: str, draw: int, split: es.Split) -> Found:
    """Train the row's classifier, and test it on the patients who are new to it."""
    learnt = es.BeatClassifier(**network(row), seed=draw).fit(taught(row, split.train, draw))
    found = score_classes(annotated=split.test.classes, predicted=learnt.predict(split.test), classes=CLASSES)
    return {"macro_f1": found.macro_f1, "f1": found.f1, "confusion": found.confusion}


def table(rows: dict[str, list[Found]]) -> str:
    """Set macro-F1, the difference to real beats draw by draw, and F1 of each class, in Markdown."""
    lines = []
    for row, draws in rows.items():
        macro = np.array([found["macro_f1"] for found in draws])
        more = macro - [found["macro_f1"] for found in rows["real"]] if "real" in rows and row != "real" else None
        gain = "" if more is None else f"{more.mean():+z.3f} ± {more.std(ddof=1):.3f}, {(more > 0).sum()} of {len(more)} above 0"
        f1 = [f"{np.mean([found['f1'][name] for found in draws]):.2f}" for name in CLASSES]
        lines.append([ROWS[row][0], f"{macro.mean():.3f} ± {macro.std(ddof=1):.3f}", gain, *f1])
    heads = [
        "a classifier learns from",
        "macro-F1 on new patients",
        "more than real beats of the same draw",
        *(f"F1 {name}" for name in CLASSES),
    ]
    return markdown(heads, lines)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--draws", default=10, type=click.IntRange(min=2))
@click.option("--rows", "names", help="Measure only these, by comma.")
def main(out: Path, draws: int, names: str | None) -> None:
    """Measure, and write the table."""
    one_core()
    beats = unpaced_beats()
    files = {row: [out / "parts" / "new-patients" / f"{row}-{draw}.json" for draw in range(draws)] for row in ROWS}
    rows: dict[str, list[Found]] = {row: [] for row in rows_to_show(names, ROWS, files.__getitem__)}
    for draw in range(draws):
        split = divided(beats, draw)
        for row in rows:
            settings = {"row": row, "classifier": network(row), "train": split.train.digest(), "test": split.test.digest()}
            rows[row].append(part(files[row][draw], settings, lambda row=row, d=draw, s=split: measure(row, d, s)))
            click.echo(f"draw {draw}  {row:<12} macro-F1 {rows[row][-1]['macro_f1']:.3f}", err=True)
    click.echo(table(rows))
    told = {"ecgsynth": versions(file for row in rows for file in files[row]), "draws": draws, "rows": rows}
    write(out / "new-patients.json", json.dumps(told) + "\n")
    write(out / "new-patients.md", table(rows))


if __name__ == "__main__":
    main()
