"""How many principal components of a class teach most of new patients, found among the patients of DS1 alone.

    python scripts/choose_outline.py --seeds 3

One normal distribution a class, in so many components, learns from three of four folds of patients; a classifier of its beats
alone, four times as many as those learnt from, judges the patients of the fourth. DS2 is not touched.
"""

import click
import numpy as np
import torch
from shared import chosen, ds1_beats, judged

import ecgsynth as es
from ecgsynth.classifiers import NEW_PATIENTS

CLASSES = "NSVF"
TIMES = 4
COMPONENTS = ("real", "4", "6", "8", "12", "16", "32", "64")


def taught(beats: es.Beats, components: str, seed: int) -> es.BeatClassifier:
    """Train a classifier by beats of such a distribution, or by the beats themselves."""
    if components != "real":
        model = es.GENERATORS["gaussian"](components=int(components)).fit(beats)
        beats = model.sample({label: TIMES * count for label, count in es.class_counts(beats).items()}, seed=seed)
    return es.BeatClassifier(**NEW_PATIENTS | {"seed": seed}).fit(beats)


@click.command()
@click.option("--seeds", default=3, type=click.IntRange(min=1))
@click.option("--only", help=f"Only these, by comma: {', '.join(COMPONENTS)}.")
def main(seeds: int, only: str | None) -> None:
    """Measure, and print the table."""
    torch.set_num_threads(1)
    beats = ds1_beats(CLASSES)
    click.echo("| components | macro-F1 | " + " | ".join(f"F1 {name}" for name in CLASSES) + " |\n" + "|---" * 6 + "|")
    for components in chosen(only, COMPONENTS):
        found = [judged(beats, lambda own, c=components, s=seed: taught(own, c, s), CLASSES) for seed in range(seeds)]
        macro = [scores.macro_f1 for scores in found]
        spread = f" ± {np.std(macro, ddof=1):.3f}" if seeds > 1 else ""
        by_class = " | ".join(f"{np.mean([scores.f1[name] for scores in found]):.3f}" for name in CLASSES)
        click.echo(f"| {components} | {np.mean(macro):.3f}{spread} | {by_class} |")


if __name__ == "__main__":
    main()
