"""What synthetic beats add between patients: de Chazal's division, classes N S V F, shape and rhythm.

    python scripts/between_patients.py -o results/between-patients --seeds 5

Everything learns from the training patients of DS1. What is added to the real beats, and how much of each class, is chosen for each method
alike on the validation patients of DS1, over three seeds; then each is measured once on the patients of DS2, with the same classifier and
number of steps, its gain over real beats alone with a 95 % interval over test patients and seeds. The classifier learns means of what it
is given beside it, by which rare classes become less rare; in one row it does not. In others it varies gain, duration, place, baseline and
noise of real beats while it learns, or sees them as large as they are, neither of which the patients of DS1 chose. Means of real beats
across five patients, from which `group-flow` learns, stand beside it alone, too; in one row beats of `flow` stand in the place of the real
ones that beats of `group-flow` are added to. Of the test patients this is known here: the defaults of
`flow` were chosen on the validation side of the scheme `beats`, where they have a fifth of their beats; and that plain means of beats
drawn at random are taken, across five patients, was settled with one seed on them, among six ways of mixing: `scripts/new_patients.py` asks
the same of other divisions. Beside what a classifier answers by itself stands how much of what it is surest of is right, if it is asked for
as many S and V as Garcia and others found. Networks compute on one core, whose number of threads decides the last digits. Each part is kept
in OUT/parts, each model in OUT/work, as it is done.
"""

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from shared import Found, chosen, markdown, mitdb_beats, one_core, part, trained, versions, write
from sklearn.metrics import precision_recall_curve

import ecgsynth as es
from ecgsynth.classifiers import NEW_PATIENTS, BeatClassifier
from ecgsynth.generators import Generator
from ecgsynth.metrics.bootstrap import MACRO_F1, confusion_by_patient, macro_f1, over_patients
from ecgsynth.mixing import means_across

CLASSES = "NSVF"
ACROSS = 5  # patients of whom a mean is
TIMES = 4  # as many synthetic beats as real ones where a classifier learns from them alone
ADDED = ((0.25, 1), (0.5, 1), (0.75, 1))  # classes to this power of their count, the largest so many times; 0 and 1 were tried, and worse
CHOOSING = 3  # seeds
FOUND = {"S": 0.62, "V": 0.87}  # sensitivities of Garcia and others (2017), doi:10.1038/s41598-017-09837-3

ROWS = {
    "real": "real beats (TRTR)",
    "synthetic": "`flow` alone (TSTR)",
    "real+synthetic": "real beats and `flow`",
    "group": "`group-flow` alone (TSTR)",
    "flow+group": "`flow` and `group-flow` alone (TSTR)",
    "real+group": "real beats and `group-flow`",
    "means": "means of real beats across five patients",
    "weights": "real beats, classes weighted",
    "smote": "real beats and `smote`",
    "varied": "real beats, varied while learning",
    "unscaled": "real beats, not scaled",
    "bare": "real beats, and no means of them beside",
}
ADDING = ("real+synthetic", "flow+group", "real+group", "smote")
OURS = ("real+synthetic", "flow+group", "real+group")  # whose gains are told over every other row
MODELS = {"synthetic": "flow", "real+synthetic": "flow", "group": "group-flow", "flow+group": "group-flow", "real+group": "group-flow"}
PLACE = {"flow+group": "flow"}  # whose beats stand in the place of the real ones, to which others are added

How = tuple[float, int]  # one of `ADDED`
Models = Callable[[str, int], Generator]  # a trained generator of a name for a seed


def added(train: es.Beats, how: How) -> dict[str, int]:
    """Count what a method adds to each class."""
    power, times = how
    counts = train.counts()
    largest = max(counts.values())
    return {name: round(times * largest ** (1 - power) * count**power) - count for name, count in counts.items()}


def training_set(row: str, how: How | None, train: es.Beats, seed: int, models: Models) -> es.Beats:
    """Give the beats that the row's classifier learns from."""
    if row == "means":
        return es.concatenate([means_across(train, ACROSS, seed=TIMES * seed + draw) for draw in range(TIMES)])
    if row in MODELS and how is None:
        return models(MODELS[row], seed).sample({name: TIMES * count for name, count in es.class_counts(train).items()}, seed=seed)
    if how is None:
        return train
    source = models(MODELS[row], seed) if row in MODELS else es.GENERATORS["smote"]().fit(train)
    base = models(PLACE[row], seed).sample(es.class_counts(train), seed=seed) if row in PLACE else train
    return es.concatenate([base, source.sample(added(train, how), seed=seed)])


def measured(side: str, row: str, how: How | None, seed: int, split: es.Split, models: Models, parts: Path) -> Found:
    """Train a classifier, and count what it says of each patient of a side; or read what was counted."""
    asked_for = {"balanced": row == "weights", "augment": row == "varied", "scaled": row != "unscaled"}
    across = 1 if row == "bare" else NEW_PATIENTS["across"]
    classifier = BeatClassifier(**NEW_PATIENTS | asked_for | {"across": across}, seed=seed)
    asked: es.Beats = getattr(split, side)
    settings = {
        "generator": es.GENERATORS[MODELS[row]](seed=seed).params if row in MODELS else None,
        "times": TIMES if row in ("synthetic", "group", "means") else None,
        "added": how,
        "classifier": vars(classifier),
        "train": split.train.digest(),
        "asked": asked.digest(),
    } | ({"place": es.GENERATORS[PLACE[row]](seed=seed).params} if row in PLACE else {})

    def measure() -> Found:
        odds = classifier.fit(training_set(row, how, split.train, seed, models)).probabilities(asked)
        predicted = np.array(classifier.classes_)[odds.argmax(axis=1)]
        found = confusion_by_patient(annotated=asked.classes, predicted=predicted, patients=asked.patients, classes=CLASSES)
        of = {name: predictivity(odds[:, classifier.classes_.index(name)], asked.classes == name, share) for name, share in FOUND.items()}
        return {"confusion": found.tolist(), "predictivity": of}

    name = f"{side}-{row}-{seed}" if how is None else f"{side}-{row}-{how[0]:g}-{how[1]}-{seed}"
    found = part(parts / f"{name}.json", settings, measure)
    click.echo(f"{name:<40} macro-F1 {macro_f1(np.sum(found['confusion'], axis=0)):.3f}", err=True)
    return found


def predictivity(odds: np.ndarray, right: np.ndarray, share: float) -> float:
    """Say how much of what is likeliest is right, if so much of it is taken that this share of what there is is found."""
    precision, recall, _ = precision_recall_curve(right, odds)
    return float(precision[recall >= share][-1])


def choose(rows: list[str], split: es.Split, models: Models, parts: Path) -> dict[str, dict[How, np.ndarray]]:
    """Give the macro-F1 on the validation patients of each of these methods with each way of adding, a value a seed."""

    def score(row: str, how: How, seed: int) -> float:
        return float(macro_f1(np.sum(measured("val", row, how, seed, split, models, parts)["confusion"], axis=0)))

    return {row: {how: np.array([score(row, how, seed) for seed in range(CHOOSING)]) for how in ADDED} for row in rows}


def best(scores: dict[How, np.ndarray]) -> How:
    """Give the way of adding with the best mean over seeds."""
    return max(scores, key=lambda how: float(scores[how].mean()))


def choices(found: dict[str, dict[How, np.ndarray]]) -> str:
    """Set the scores that were chosen by in Markdown."""
    heads = [f"{times} x N, count to the power {power:g}" for power, times in ADDED]
    lines = ["| macro-F1 on the validation patients of DS1 | " + " | ".join(heads) + " |", "|---" * (1 + len(ADDED)) + "|"]
    for row, scores in found.items():
        cells = [f"{s.mean():.3f} ± {s.std(ddof=1):.3f}{' (taken)' * (how == best(scores))}" for how, s in scores.items()]
        lines.append(f"| {ROWS[row]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(rows: dict[str, np.ndarray], predictivities: dict[str, dict[str, list[float]]]) -> str:
    """Set macro-F1, its gain over real beats, and sensitivity and positive predictivity of each class, in Markdown."""
    heads = ["a classifier learns from", "macro-F1", "gain over real beats, 95 % interval", *(f"Se / +P of {c}, %" for c in CLASSES)]
    heads += [f"+P of {name} at Se {100 * share:.0f}, %" for name, share in FOUND.items()]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row, confusions in rows.items():
        whole = confusions.sum(axis=1)
        scores, hits = macro_f1(whole), np.diagonal(whole, axis1=1, axis2=2)
        against = "" if row == "real" or "real" not in rows else gain(confusions, rows["real"])
        rates = [(100 * hits / whole.sum(axis=axis).clip(min=1)).mean(axis=0) for axis in (2, 1)]
        by_class = " | ".join(f"{sensitivity:.0f} / {predictivity:.0f}" for sensitivity, predictivity in zip(*rates, strict=True))
        sure = (100 * np.array(predictivities[row][name]) for name in FOUND)
        by_class += "".join(f" | {seeds.mean():.0f} ({seeds.min():.0f} to {seeds.max():.0f})" for seeds in sure)
        lines.append(f"| {ROWS[row]} | {scores.mean():.3f} ± {scores.std(ddof=1):.3f} | {against} | {by_class} |")
    return "\n".join(lines)


def gain(ours: np.ndarray, base: np.ndarray) -> str:
    """Set the difference in macro-F1, with its interval over patients and seeds."""
    return str(over_patients(lambda each: {MACRO_F1: macro_f1(each)}, ours, base=base)[MACRO_F1])


def gains(rows: dict[str, np.ndarray]) -> str:
    """Set what each of our rows gains over every other one, with 95 % intervals over patients and seeds, in Markdown."""
    told = [row for row in OURS if row in rows]
    others = [[ROWS[row], *("" if row == ours else gain(rows[ours], rows[row]) for ours in told)] for row in rows]
    return markdown(["gain in macro-F1, 95 % interval, over", *(f"of {ROWS[ours]}" for ours in told)], others)


@click.command()
@click.option("-o", "--out", default=Path("results/between-patients"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=2))
@click.option("--rows", "names", help="Measure only these, by comma; the tables are then of them alone.")
@click.option("--device", default="cpu", help="Where flows are trained.")
def main(out: Path, seeds: int, names: str | None, device: str) -> None:
    """Measure, and print the table."""
    one_core()
    asked = chosen(names, ROWS)
    beats = mitdb_beats()
    split = es.split_beats(beats.take(np.isin(beats.classes, list(CLASSES))), scheme="dechazal", seed=0)
    parts = out / "parts"

    def models(name: str, seed: int) -> Generator:
        return trained(es.GENERATORS[name](seed=seed), out / "work" / f"{name}-{seed}.safetensors", split.train, device=device)[0]

    found = choose([row for row in ADDING if row in asked], split, models, parts)
    taken = {row: best(scores) for row, scores in found.items()}
    rows = {
        row: [measured("test", row, taken.get(row), seed, split, models, parts) for seed in range(seeds)] for row in ROWS if row in asked
    }
    write(out / "between-patients.json", json.dumps({"ecgsynth": versions(parts.glob("test-*.json")), "added": taken, "rows": rows}) + "\n")
    if found:
        write(out / "choice.md", choices(found) + "\n")
    arrays = {row: np.array([found["confusion"] for found in each]) for row, each in rows.items()}
    sure = {row: {name: [found["predictivity"][name] for found in each] for name in FOUND} for row, each in rows.items()}
    write(out / "between-patients.md", table(arrays, sure) + "\n")
    if set(OURS) & set(rows):
        write(out / "gains.md", gains(arrays))
    click.echo(f"{choices(found)}\n\n{table(arrays, sure)}\n\n{gains(arrays)}")


if __name__ == "__main__":
    main()
