"""Put the models that come with the package in their place, each with its card.

    python scripts/results.py -o results --seeds 5     # trains and measures them
    python scripts/diversity.py --results results
    python scripts/ship_models.py --results results

The models are those of seed 0: none is chosen by its score on the test side.
"""

import json
from pathlib import Path

import click
import numpy as np
from shared import Found, mitdb_split, write

import ecgsynth as es
from ecgsynth.generators import Generator

SHIPPED = {"mitdb": "flow", "mitdb-gan": "flow-gan"}
COMMANDS = (
    "scripts/results.py -o results --seeds {seeds}",
    "scripts/diversity.py --results results",
    "scripts/ship_models.py --results results",
)
MOST_BYTES = 8_000_000

CARD = """# {name}

A model of the generator `{row}`: beats of the AAMI classes N S V F Q, learnt from the MIT-BIH Arrhythmia Database.

`ecgsynth sample --model {name} -o beats.npz --count N=5000 --count V=500`

| | |
|---|---|
| Learnt from | MIT-BIH Arrhythmia Database 1.0.0, 48 records, lead MLII (V5 in records 102 and 104) |
| Beats | {beats:,} of the train side of `ecgsynth split --scheme beats --seed 0`: {counts} |
| Window | {n_samples} samples at {fs:g} Hz, R peak at sample {r_sample}; 0.5 to 40 Hz; mV; with RR before, after and its running mean, s |
| Training | {steps:,} steps{lasted} on one CPU core, seed 0; weights chosen on the val side |
| Made by | {commands} |
| SHA-256 | `{sha256}` |
| Data SHA-256 | `{data}` |

## Scores

On the test side, over {seeds} seeds of training, sampling and classifier (mean ± standard deviation): a classifier
trained on beats of such a model alone, {times} times as many as real ones and in their proportions, has macro-F1
{tstr}, one trained on the real beats {trtr}. This model is that of seed 0, {own:.3f}; those of seeds 1 to {last}
have {others}.

| | N | S | V | F | Q |
|---|---|---|---|---|---|
{rows}

Recall: share of real test beats of a class that lie as near to a beat of this model as that one's fifth neighbour
among its own; coverage: share of real test beats that have a beat of this model as near as their own fifth neighbour.
Behind the stroke, the same for real beats of the val side in place of the model's. Nearest: median distance of its
beats to the nearest training beat, over that of real test beats, with a bootstrap interval over beats; the line below
it, the same for real beats of the val side, and the last one, models of the other seeds, one by one. Below 1 they lie
nearer to what was learnt than fresh real beats do.{alone}

## Limits

- For research, teaching and development, not for diagnosis.
- The split is within patients: scores say nothing about new patients, whose beats this model does not know.
- 47 people recorded at one hospital from 1975 to 1979; 25 of the 48 records were chosen for uncommon arrhythmias.
  Fusion beats (F) come from few of them.
- A model learnt from people can remember them; the distances above are a check, not a proof.

## Licence

Model and code: Apache-2.0. Data: Open Data Commons Attribution License v1.0; cite Moody GB, Mark RG, IEEE Eng Med
Biol 20(3):45-50 (2001), doi:10.1109/51.932724, and Goldberger AL et al., Circulation 101(23):e215-e220 (2000),
doi:10.1161/01.CIR.101.23.e215.
"""


def spread(seeds: list[Found]) -> str:
    """Set mean and standard deviation of macro-F1 over seeds."""
    values = [seed["macro_f1"] for seed in seeds]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def f1_line(title: str, seeds: list[Found]) -> str:
    """Set the mean F1 of each class in a table's line."""
    return f"| {title} | " + " | ".join(f"{np.mean([seed['f1'][name] for seed in seeds]):.3f}" for name in "NSVFQ") + " |"


def diversity_lines(found: Found) -> list[str]:
    """Set how various the model's beats are, and how near to those learnt from, in lines of the table."""

    def line(title: str, key: str, form: str) -> str:
        return f"| {title} | " + " | ".join(form.format(*found[name][key], *found[name]["nearest_interval"]) for name in "NSVFQ") + " |"

    return [
        line("recall / of real beats", "recall", "{:.2f} / {:.2f}"),
        line("coverage / of real beats", "coverage", "{:.2f} / {:.2f}"),
        line("nearest, 95 % interval", "nearest", "{0:.2f} ({2:.2f} to {3:.2f})"),
        line("nearest, of real beats", "nearest", "{1:.2f}"),
    ]


def others_line(seeds: list[Found]) -> str:
    """Set how near the beats of models of the other seeds come to those learnt from, in a line of the table."""
    cells = [" / ".join(f"{found[name]['nearest'][0]:.2f}" for found in seeds[1:]) for name in "NSVFQ"]
    return f"| nearest, seeds 1 to {len(seeds) - 1} | " + " | ".join(cells) + " |"


def alone(seeds: list[Found]) -> str:
    """Say of which classes the beats of this model alone do not lie nearer to those learnt from than test beats do."""
    names = [name for name in "NSVFQ" if [seed[name]["nearest"][0] >= 1 for seed in seeds] == [True] + [False] * (len(seeds) - 1)]
    return f" Of class {' and '.join(names)} this model alone is above 1." if names else ""


def card(name: str, model: Generator, measured: Found, various: Found) -> str:
    """Write what is to be known of a model."""
    row, rows = SHIPPED[name], measured["rows"]
    own, *others = rows[row]
    lines = [f1_line("F1, trained on its beats", rows[row]), f1_line("F1, trained on real beats", rows["real"])]
    return CARD.format(
        name=name,
        row=row,
        beats=sum(model.counts.values()),
        counts=", ".join(f"{label} {count:,}" for label, count in model.counts.items()),
        **{key: model.shape_[key] for key in ("n_samples", "fs", "r_sample")},
        steps=model.params["steps"],
        # Of a training that was stopped and went on nobody knows.
        lasted="" if own["training_minutes"] is None else f" in {own['training_minutes']:.0f} minutes",
        commands=", ".join(f"`python {command}`" for command in COMMANDS).format(seeds=measured["seeds"]),
        sha256=model.fingerprint(),
        data=model.shape_["data_sha256"],
        seeds=measured["seeds"],
        times=measured["times"],
        tstr=spread(rows[row]),
        own=own["macro_f1"],
        last=len(others),
        others=", ".join(f"{seed['macro_f1']:.3f}" for seed in others),
        trtr=spread(rows["real"]),
        rows="\n".join([*lines, *diversity_lines(various["rows"][row][0]), others_line(various["rows"][row])]),
        alone=alone(various["rows"][row]),
    )


@click.command()
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path))
@click.option("-o", "--out", default=Path(es.__file__).parent / "models", type=click.Path(path_type=Path))
def main(results: Path, out: Path) -> None:
    """Copy each model and write its card."""
    split = mitdb_split()
    measured, various = (json.loads((results / f"mitdb-{name}.json").read_text()) for name in ("beats", "diversity"))
    for name, row in SHIPPED.items():
        path = results / "work" / "mitdb-beats" / f"{row}-0.safetensors"
        model, size = es.load_generator(path), path.stat().st_size
        if model.shape_["data_sha256"] != split.train.digest():
            raise click.ClickException(f"{path} did not learn from this train side")
        if size > MOST_BYTES:
            raise click.ClickException(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}")
        if model.fingerprint() != various["models"][row][0]:
            raise click.ClickException(f"{path} is not the model that scripts/diversity.py measured: run it again")
        text = card(name, model, measured, various)
        model.save(out / f"{name}.safetensors", force=True)
        write(out / f"{name}.md", text)
        click.echo(f"{name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
