"""How various the beats of the trained models are, and how near they come to those learnt from, on MIT-BIH's test side.

    python scripts/results.py -o results --seeds 5     # trains the models
    python scripts/diversity.py --results results

Beats are compared class by class as waveforms, mV. Held-out real beats, those of the val side, stand in the model's place
as the yardstick. Nothing is chosen here.
"""

import json
from pathlib import Path

import click
import numpy as np
from scipy.stats import bootstrap
from shared import Found, mitdb_split, part, versions, write

import ecgsynth as es
from ecgsynth.generators import Generator
from ecgsynth.metrics.diversity import manifold, nearest_distances

ROWS = ("flow", "flow-gan")
CLASSES = "NSVFQ"
MOST = 2000  # beats of a class
NEAREST = "distance to the nearest training beat, over that of test beats"


def measure(model: Generator, split: es.Split, seed: int) -> Found:
    """Compare the model's beats, and held-out real beats in their place, with the test side, class by class."""
    rng = np.random.default_rng(seed)
    found: Found = {}
    for name in CLASSES:
        test, train, held_out = (side.signals[side.classes == name] for side in (split.test, split.train, split.val))
        test = test[rng.permutation(len(test))[:MOST]]
        held_out = held_out[rng.permutation(len(held_out))[: len(test)]]
        made = model.sample({name: MOST}, seed=1000 + seed).signals
        ours, theirs = (manifold(real=test, synthetic=beats) for beats in (made[: len(test)], held_out))
        near, fresh, base = (nearest_distances(beats=beats, among=train) for beats in (made, held_out, test))
        interval = bootstrap((near, base), ratio, vectorized=False, n_resamples=999, method="percentile", rng=rng).confidence_interval
        found[name] = {
            "recall": [ours.recall, theirs.recall],
            "coverage": [ours.coverage, theirs.coverage],
            "nearest": [ratio(near, base), ratio(fresh, base)],
            "nearest_interval": list(interval),
        }
    return found


def ratio(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Give the median of one over that of the other."""
    return float(np.median(ours) / np.median(theirs))


def table(rows: dict[str, list[Found]]) -> str:
    """Set the mean over seeds, and the least and the most, in Markdown."""

    def line(title: str, by_class: dict[str, list[float]]) -> str:
        cells = [f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in by_class.values()]
        return f"| {title} | " + " | ".join(cells) + " |"

    lines = ["| | " + " | ".join(CLASSES) + " |", "|---" * (1 + len(CLASSES)) + "|"]
    for row, seeds in rows.items():
        for key in ("recall", "coverage"):
            shares = {name: [float(np.divide(*seed[name][key])) for seed in seeds] for name in CLASSES}
            lines.append(line(f"`{row}`: {key}, over that of held-out real beats", shares))
        lines.append(line(f"`{row}`: {NEAREST}", {name: [seed[name]["nearest"][0] for seed in seeds] for name in CLASSES}))
    real = {name: [seed[name]["nearest"][1] for seeds in rows.values() for seed in seeds] for name in CLASSES}
    return "\n".join([*lines, line(f"held-out real beats: {NEAREST}", real)])


@click.command()
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=1))
def main(results: Path, seeds: int) -> None:
    """Measure, and print the table."""
    split, work = mitdb_split(), results / "work" / "mitdb-beats"
    rows: dict[str, list[Found]] = {}
    models: dict[str, list[str]] = {}
    for row in ROWS:
        for seed in range(seeds):
            model = es.load_generator(work / f"{row}-{seed}.safetensors")
            models.setdefault(row, []).append(model.fingerprint())
            settings = {"model": models[row][-1], "test": split.test.digest(), "most": MOST}
            path = results / "parts" / "mitdb-diversity" / f"{row}-{seed}.json"
            rows.setdefault(row, []).append(part(path, settings, lambda model=model, seed=seed: measure(model, split, seed)))
            click.echo(f"seed {seed}  {row}", err=True)
    told = {"ecgsynth": versions((results / "parts" / "mitdb-diversity").glob("*.json")), "models": models, "rows": rows}
    write(results / "mitdb-diversity.json", json.dumps(told, indent=1) + "\n")
    write(results / "mitdb-diversity.md", table(rows) + "\n")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
