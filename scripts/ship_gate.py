"""Learn the gate for the models that come with the package, and put it in its place with its card.

    python scripts/ship_gate.py

Limits are of the train side of the scheme `beats`, split seed 0, from which those models learnt; its classifier learns from
the val side, with the default settings and seed 0. How many real beats pass is measured once on the test side.
"""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from shared import mitdb_split, one_core, write

import ecgsynth as es
from ecgsynth.gate import MEASURES, REASONS, Gate

CARD = """# {name}

The gate that `ecgsynth build` asks about beats of the models that come with ecgsynth: what a beat of each class must hold.

| | |
|---|---|
| Limits learnt from | {train:,} beats of MIT-BIH, the train side of `ecgsynth split --scheme beats --seed 0` |
| Data SHA-256 | `{data}` |
| Classifier learnt from | {held_back:,} beats of the val side, from which no model has learnt |
| Made by | `python scripts/ship_gate.py` |

## What is asked

A beat is finite, not flat, within the limits of its class, and its class is not unlikely to the classifier.

| | {heads} |
|---|{rules}|
{limits}

{measures}

Likely: how likely the classifier must at least take the beat's own class to be. It is low for classes that are hard to tell:
the gate keeps back what contradicts its label, not what is hard to label.

## How many real beats pass

Beats of the test side, from which nothing was learnt.

| | {heads} |
|---|{rules}|
{passing}

## How many mislabelled beats pass

Beats of the test side (row) under the label of another class (column), %.

| | {heads} |
|---|{rules}|
{mislabelled}

Data: MIT-BIH Arrhythmia Database, Open Data Commons Attribution License v1.0.
"""


def line(title: str, cells: list[str]) -> str:
    """Set a line of a table."""
    return f"| {title} | " + " | ".join(cells) + " |"


def mislabelled(gate: Gate, beats: es.Beats, labels: list[str]) -> list[str]:
    """Say how many of these beats pass under each label but their own, %."""
    own = beats.classes[0]
    shares = [1 - gate.check(replace(beats, classes=np.full(len(beats), label))).any(axis=1).mean() for label in labels]
    return ["" if label == own else f"{100 * share:.1f}" for label, share in zip(labels, shares, strict=True)]


@click.command()
@click.option(
    "-o", "--output", default=Path(es.__file__).parent / "models" / "gates" / "mitdb.safetensors", type=click.Path(path_type=Path)
)
def main(output: Path) -> None:
    """Learn, measure and write."""
    one_core()
    split = mitdb_split()
    gate = Gate.learn(split.train, split.val)
    gate.save(output, force=True)
    labels = list(gate.limits)
    against = {label: gate.check(split.test.take(split.test.classes == label)) for label in labels}
    rows = [
        line(name, [f"{gate.limits[label][name].low:.3g} to {gate.limits[label][name].high:.3g}" for label in labels]) for name in MEASURES
    ]
    rows.append(line("likely", [f"{gate.likely[label]:.2g}" for label in labels]))
    passing = [line("pass, %", [f"{100 * (1 - against[label].any(axis=1).mean()):.1f}" for label in labels])]
    passing += [
        line(f"{name}, %", [f"{100 * against[label][:, number].mean():.1f}" for label in labels])
        for number, name in enumerate(REASONS)
        if np.concatenate(list(against.values()))[:, number].any()
    ]
    card = CARD.format(
        name=output.stem,
        train=len(split.train),
        held_back=len(split.val),
        data=gate.data_sha256,
        heads=" | ".join(labels),
        rules="|".join(["---"] * len(labels)),
        limits="\n".join(rows),
        measures="; ".join(f"{name}: {text}" for name, text in MEASURES.items()) + ".",
        passing="\n".join(passing),
        mislabelled="\n".join(line(label, mislabelled(gate, split.test.take(split.test.classes == label), labels)) for label in labels),
    )
    write(output.with_suffix(".md"), card)
    click.echo(card)


if __name__ == "__main__":
    main()
