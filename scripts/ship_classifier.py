"""Train the classifier in whose features Fréchet distances are measured, and put it in its place with its card.

    python scripts/ship_classifier.py

It learns from the train side of the scheme `beats`, with the default settings and seed 0, and is scored on the val side.
"""

from pathlib import Path

import click
from shared import mitdb_split, one_core, write

import ecgsynth as es
from ecgsynth.classifiers.frozen import FROZEN, PATH
from ecgsynth.metrics.utility import score_classes

CARD = """# {name}

The classifier in whose features `ecgsynth evaluate` measures the Fréchet distance: the mean over the beat of what the last
of its four convolutions sees, {features} numbers.

| | |
|---|---|
| Learnt from | {beats:,} beats of MIT-BIH, the train side of `ecgsynth split --scheme beats --seed 0` |
| Data SHA-256 | `{data}` |
| Beats it knows | one lead, {n_samples} samples at {fs:g} Hz, R peak at sample {r_sample} |
| Settings | {settings} |
| Scores on the val side | macro-F1 {macro:.3f}; {f1} |
| Made by | `python scripts/ship_classifier.py` |

Its weights are fixed, so that distances can be compared between papers; other weights would have another name. It is not for
diagnosis. Data: MIT-BIH Arrhythmia Database, Open Data Commons Attribution License v1.0.
"""


@click.command()
@click.option("-o", "--output", default=PATH, type=click.Path(path_type=Path))
def main(output: Path) -> None:
    """Train, score and write."""
    one_core()
    split = mitdb_split()
    classifier = es.BeatClassifier().fit(split.train)
    scores = score_classes(annotated=split.val.classes, predicted=classifier.predict(split.val), classes=classifier.classes_)
    classifier.save(output, force=True)
    card = CARD.format(
        name=FROZEN,
        features=4 * classifier.width,
        beats=len(split.train),
        data=split.train.digest(),
        settings=", ".join(f"{name} {value}" for name, value in classifier.settings.items()),
        macro=scores.macro_f1,
        f1=", ".join(f"F1 {name} {value:.3f}" for name, value in scores.f1.items()),
        **{name: classifier.shape_[name] for name in ("n_samples", "fs", "r_sample")},
    )
    write(output.with_suffix(".md"), card)
    click.echo(card)


if __name__ == "__main__":
    main()
