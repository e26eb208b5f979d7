"""What synthetic beats add between patients: de Chazal's division, classes N S V F, shape and rhythm.

    python scripts/between_patients.py -o results/between-patients --seeds 5

Everything learns from the training patients of DS1 alone; its validation patients are not used. Each way of getting more
out of the same real beats has the same classifier and number of steps; each gain over real beats alone has a 95 % interval
over test patients and seeds. One thing of the test patients is known here: the defaults of `flow` were chosen on the
validation side of the scheme `beats`, where they have a fifth of their beats.
"""

import json
from pathlib import Path

import click
import numpy as np
from shared import Found, mitdb_beats, part, trained, write

import ecgsynth as es
from ecgsynth.classifier import BeatClassifier
from ecgsynth.metrics.bootstrap import confusion_by_patient, gain, macro_f1

CLASSES = "NSVF"
TIMES = 4  # as many synthetic beats as real ones where a classifier learns from them alone
SHARE = 0.5  # rare classes are brought up in proportion to their count to this power

ROWS = {
    "real": "real beats (TRTR)",
    "synthetic": "`flow` alone (TSTR)",
    "real+synthetic": "real beats and `flow`",
    "weights": "real beats, classes weighted",
    "smote": "real beats and `smote`",
    "augmented": "real beats, and copies with noise, scale and shift",
}


def added(split: es.Split) -> dict[str, int]:
    """Count what each method adds: with it, classes stand in proportion to their count to the power of `SHARE`."""
    counts = split.train.counts()
    largest = max(counts.values())
    return {name: round(largest ** (1 - SHARE) * count**SHARE) - count for name, count in counts.items()}


def augmented(train: es.Beats, counts: dict[str, int], seed: int) -> es.Beats:
    """Copy real beats with noise of 0.02 mV, a scale of 0.8 to 1.2 and a shift of up to 14 ms."""
    rng = np.random.default_rng(seed)
    picked = train.take(np.concatenate([rng.choice(np.flatnonzero(train.classes == name), count) for name, count in counts.items()]))
    shifts = rng.integers(-5, 6, len(picked))
    moved = np.stack([np.roll(signal, shift) for signal, shift in zip(picked.signals, shifts, strict=True)])
    changed = moved * rng.uniform(0.8, 1.2, (len(picked), 1)) + rng.normal(0, 0.02, moved.shape)
    return es.Beats(signals=changed, classes=picked.classes, rr_before=picked.rr_before, rr_after=picked.rr_after)


def training_set(row: str, split: es.Split, seed: int, work: Path) -> es.Beats:
    """Give the beats that the row's classifier learns from."""
    train, more = split.train, added(split)
    if "synthetic" in row:
        model, _ = trained(es.GENERATORS["flow"](seed=seed), work / f"flow-{seed}.safetensors", train)
    if row == "synthetic":
        return model.sample({name: TIMES * count for name, count in es.class_counts(train).items()}, seed=seed)
    if row == "real+synthetic":
        return es.concatenate([train, model.sample(more, seed=seed)])
    if row == "smote":
        return es.concatenate([train, es.GENERATORS["smote"]().fit(train).sample(more, seed=seed)])
    return es.concatenate([train, augmented(train, more, seed)]) if row == "augmented" else train


def classifier_of(row: str, seed: int) -> BeatClassifier:
    """Set up the row's classifier."""
    return BeatClassifier(features="shape+rr", balanced=row == "weights", seed=seed)


def measure(row: str, seed: int, split: es.Split, work: Path) -> Found:
    """Train a classifier, and count what it says of each test patient."""
    classifier = classifier_of(row, seed).fit(training_set(row, split, seed, work))
    found = confusion_by_patient(
        annotated=split.test.classes, predicted=classifier.predict(split.test), patients=split.test.patients, classes=CLASSES
    )
    return {"confusion": found.tolist()}


def table(rows: dict[str, np.ndarray]) -> str:
    """Set macro-F1, its gain over real beats and the F1 of each class in Markdown."""
    lines = [
        "| a classifier learns from | macro-F1 | gain over real beats, 95 % interval | " + " | ".join(f"F1 {c}" for c in CLASSES) + " |"
    ]
    lines.append("|---" * (3 + len(CLASSES)) + "|")
    for row, confusions in rows.items():
        whole = confusions.sum(axis=1)
        scores = macro_f1(whole)
        f1 = [2 * m.diagonal() / (m.sum(axis=0) + m.sum(axis=1)) for m in whole]
        against = "" if row == "real" else str(gain(ours=confusions, base=rows["real"]))
        by_class = " | ".join(f"{value:.3f}" for value in np.mean(f1, axis=0))
        lines.append(f"| {ROWS[row]} | {scores.mean():.3f} ± {scores.std(ddof=1):.3f} | {against} | {by_class} |")
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results/between-patients"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=2))
def main(out: Path, seeds: int) -> None:
    """Measure, and print the table."""
    beats = mitdb_beats()
    split = es.split_beats(beats.take(np.isin(beats.classes, list(CLASSES))), scheme="dechazal", seed=0)
    rows: dict[str, list[list]] = {}
    for seed in range(seeds):
        for row in ROWS:
            settings = {
                "generator": es.GENERATORS["flow"](seed=seed).params if "synthetic" in row else None,
                "times": TIMES,
                "share": SHARE,
                "classifier": vars(classifier_of(row, seed)),
                "train": split.train.digest(),
            }
            work = out / "work"
            found = part(work / f"{row}-{seed}.json", settings, lambda row=row, seed=seed, work=work: measure(row, seed, split, work))
            rows.setdefault(row, []).append(found["confusion"])
            click.echo(f"seed {seed}  {row:<15} macro-F1 {macro_f1(np.sum(rows[row][-1], axis=0)):.3f}", err=True)
    write(out / "between-patients.json", json.dumps({"ecgsynth": es.__version__, "rows": rows}) + "\n")
    text = table({row: np.array(confusions) for row, confusions in rows.items()})
    write(out / "between-patients.md", text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
