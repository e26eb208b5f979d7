"""What more synthetic beats are worth to a classifier that learns for longer, where real ones are all there are.

    python scripts/longer.py -o results --seeds 5

MIT-BIH by the scheme `beats`, split seed 0; a classifier learns from real beats, or from so many more synthetic ones as it has more steps:
four times as many as the training side has for the usual 4,000. The seed of a row is that of its generator, its sampling and its
classifier. Which length suits each is chosen on the validation side, and said of the test side. All is done on one core; models are
those of `scripts/results.py`, in OUT/work; each part is kept in OUT/parts.
"""

import json
from pathlib import Path

import click
import numpy as np
from shared import Found, markdown, mitdb_split, one_core, part, trained, versions, write

import ecgsynth as es
from ecgsynth.metrics.utility import score_classes

ROWS = {"real": "real beats (TRTR)", "flow": "`flow` (TSTR)"}
STEPS = (4000, 12_000, 24_000)
FOR_ONCE = 1000  # steps, as many synthetic beats as the training side has


def measure(row: str, steps: int, seed: int, split: es.Split, work: Path) -> Found:
    """Have a classifier learn, and score it on both sides that it has not seen."""
    beats = split.train
    if row != "real":
        model, _ = trained(es.GENERATORS[row](seed=seed), work / f"{row}-{seed}.safetensors", split.train, split.val)
        beats = model.sample({name: steps // FOR_ONCE * count for name, count in es.class_counts(split.train).items()}, seed=seed)
    classifier = es.BeatClassifier(steps=steps, seed=seed).fit(beats)
    classes = list(es.class_counts(split.train))
    found = {}
    for side in ("val", "test"):
        asked: es.Beats = getattr(split, side)
        scores = score_classes(annotated=asked.classes, predicted=classifier.predict(asked), classes=classes)
        found[side] = {"macro_f1": scores.macro_f1, "f1": scores.f1}
    return found


def table(rows: dict[str, dict[int, list[Found]]]) -> str:
    """Set mean and standard deviation over seeds of both sides, and what is taken by the validation side, in Markdown."""
    lines = []
    for row, each in rows.items():
        scores = {side: {steps: [seed[side]["macro_f1"] for seed in seeds] for steps, seeds in each.items()} for side in ("val", "test")}
        taken = max(each, key=lambda steps, of=scores["val"]: float(np.mean(of[steps])))
        for steps in each:
            real = [seed["test"]["macro_f1"] for seed in rows["real"][steps]]
            gain = "" if row == "real" else spread(np.subtract(scores["test"][steps], real), "+")
            beats = "all" if row == "real" else f"{steps // FOR_ONCE} x as many"
            said = f"{ROWS[row]}{' (taken)' * (steps == taken)}"
            lines.append([said, f"{steps:,}", beats, spread(scores["val"][steps]), spread(scores["test"][steps]), gain])
    heads = ["a classifier learns from", "steps", "beats", "macro-F1, val side", "macro-F1, test side", "more than real beats"]
    return markdown(heads, lines)


def spread(values: list[float], sign: str = "") -> str:
    """Set mean and standard deviation."""
    return f"{np.mean(values):{sign}.3f} ± {np.std(values, ddof=1):.3f}"


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=2))
def main(out: Path, seeds: int) -> None:
    """Measure, and write the table."""
    one_core()
    split = mitdb_split()
    work, parts = out / "work" / "mitdb-beats", out / "parts" / "longer"
    rows: dict[str, dict[int, list[Found]]] = {row: {steps: [] for steps in STEPS} for row in ROWS}
    files = []
    for seed, row, steps in ((seed, row, steps) for seed in range(seeds) for row in rows for steps in STEPS):
        settings = {
            "generator": None if row == "real" else es.GENERATORS[row](seed=seed).params,
            "for_once": FOR_ONCE,
            "classifier": vars(es.BeatClassifier(steps=steps, seed=seed)),
            "train": split.train.digest(),
        }
        files.append(parts / f"{row}-{steps}-{seed}.json")
        rows[row][steps].append(part(files[-1], settings, lambda r=row, n=steps, s=seed: measure(r, n, s, split, work)))
        click.echo(f"seed {seed}  {row:<6} {steps:>6}  val {rows[row][steps][-1]['val']['macro_f1']:.4f}", err=True)
    write(out / "longer.json", json.dumps({"ecgsynth": versions(files), "seeds": seeds, "rows": rows}) + "\n")
    write(out / "longer.md", table(rows))
    click.echo(table(rows))


if __name__ == "__main__":
    main()
