"""Write the tables of results of the README: generators over several seeds, on MIT-BIH's test side.

    export ECGSYNTH_MITDB=records/mitdb
    python scripts/results.py -o results --seeds 5                 # the AAMI classes
    python scripts/results.py -o results --seeds 5 --by symbol     # the annotation symbols with 50 training beats or more

Scheme `beats`, split seed 0; the seed of a row is that of its generator, its sampling and its
classifier. Nothing is chosen here: settings are the defaults, which were chosen on the validation side.

All is done on one core, whose number of threads decides the last digits. Each part is kept in OUT/parts, each model in OUT/work, as it
is done, so a second call goes on. Several processes may share the work by `--rows`: the tables are of all rows whose parts are there.
"""

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from shared import Found, mitdb_split, one_core, part, rows_to_show, trained, versions, write

import ecgsynth as es
from ecgsynth.generators import Generator, settings_of

# Row -> what the table calls it, the generator and its settings; None learns from real beats alone.
ROWS = {
    "real": ("real beats (TRTR)", None, {}),
    "flow": ("`flow`", "flow", {}),
    "flow-short": ("`flow` of 17,500 steps", "flow", {"steps": 17_500}),
    "flow-gan": ("`flow-gan`", "flow-gan", {}),
    "cnn-gan": ("`cnn-gan`", "cnn-gan", {}),
    "real+synthetic": ("real beats and `flow`", "flow", {}),
    "drafts": ("`cnn-gan` before adversarial training: its prior alone", "cnn-gan", {"steps": 1, "validations": 1, "rate": 1e-9}),
    "gaussian": ("`gaussian`, one normal distribution a class", "gaussian", {}),
    "smote": ("`smote` (its file holds real beats)", "smote", {}),
    "memorizer": ("control: `memorizer`, copies of real beats", "memorizer", {}),
    "class-mean": ("control: `class-mean`, mean and noise", "class-mean", {}),
    "ecgsyn": ("floor: `ecgsyn`, equations without data", "ecgsyn", {}),
}
GAINS = [
    *((row, "real") for row in ("flow", "flow-short", "flow-gan", "cnn-gan", "real+synthetic")),
    ("cnn-gan", "drafts"),
]
OF = {"class": tuple(ROWS), "symbol": ("real", "flow")}
FEWEST = 50  # training beats of a symbol
TIMES = 4  # as many synthetic beats as real ones, in the same proportions
CLASSIFIER = es.BeatClassifier()


def split_by(by: str) -> es.Split:
    """Divide the beats; leaves out labels too rare to be learnt."""
    split = mitdb_split()
    frequent = [label for label, count in split.train.counts(by).items() if by == "class" or count >= FEWEST]
    sides = {side: getattr(split, side) for side in ("train", "val", "test")}
    return replace(split, **{side: beats.take(np.isin(beats.labels(by), frequent)) for side, beats in sides.items()})


def untrained(row: str, seed: int) -> Generator | None:
    """Set up the row's generator, if it has one."""
    _, name, settings = ROWS[row]
    if name is None:
        return None
    return es.GENERATORS[name](**settings, **({"seed": seed} if "seed" in settings_of(name) else {}))


def measure(row: str, seed: int, split: es.Split, by: str, work: Path) -> Found:
    """Train what the row needs, and score a classifier of it on the test side, once."""
    if row == "real":
        beats, minutes = split.train, None
    else:
        path = work / f"{'flow' if row == 'real+synthetic' else row}-{seed}.safetensors"
        model, minutes = trained(untrained(row, seed), path, split.train, split.val, by=by)
        counts = {label: TIMES * count for label, count in es.class_counts(split.train, by=by).items()}
        beats = model.sample(counts, seed=seed)
    learns = row if row in ("real", "real+synthetic") else "synthetic"
    judged = {"train": split.train, "test": split.test, "by": by, "classifier": CLASSIFIER, "classifiers": ("cnn",)}
    result = es.evaluate(synthetic=beats, rows=(learns,), seeds=(seed,), **judged)
    return {"training_minutes": minutes} | result.rows[learns][0].to_dict()


def table(rows: dict[str, list[Found]]) -> str:
    """Set the mean and standard deviation over seeds in a Markdown table."""
    labels = list(next(iter(rows.values()))[0]["f1"])
    lines = ["| a classifier learns from | macro-F1 | accuracy | " + " | ".join(f"F1 {label}" for label in labels) + " |"]
    lines.append("|---" * (3 + len(labels)) + "|")
    for row, seeds in rows.items():
        macro, accuracy = ([seed[key] for seed in seeds] for key in ("macro_f1", "accuracy"))
        by_class = " | ".join(f"{np.mean([seed['f1'][name] for seed in seeds]):.3f}" for name in labels)
        lines.append(f"| {ROWS[row][0]} | {np.mean(macro):.3f} ± {np.std(macro, ddof=1):.3f} | {np.mean(accuracy):.3f} | {by_class} |")
    return "\n".join(lines)


def differences(rows: dict[str, list[Found]]) -> str:
    """Set out what one row gains on another, seed by seed, and how long training took."""
    lines = []
    for better, base in GAINS:
        if base not in rows or better not in rows:
            continue
        gain = [one["macro_f1"] - other["macro_f1"] for one, other in zip(rows[better], rows[base], strict=True)]
        share = np.mean([seed["macro_f1"] for seed in rows[better]]) / np.mean([seed["macro_f1"] for seed in rows[base]])
        lines.append(f"{better} over {base}: {np.mean(gain):+.3f} ± {np.std(gain, ddof=1):.3f}, {share:.3f} of it")
    f1 = {row: {name: np.mean([seed["f1"][name] for seed in seeds]) for name in seeds[0]["f1"]} for row, seeds in rows.items()}
    for row in [name for name in ("flow", "flow-short", "flow-gan", "cnn-gan") if {name, "real"} <= set(rows)]:
        ratios = ", ".join(f"{name} {value / f1['real'][name]:.3f}" for name, value in f1[row].items())
        lines.append(f"F1 of {row} over that of real: {ratios}")
        if minutes := [seed["training_minutes"] for seed in rows[row] if seed["training_minutes"] is not None]:
            lines.append(f"{row}: {np.median(minutes):.1f} minutes of training (median)")
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=2))
@click.option("--by", default="class", type=click.Choice(list(OF)))
@click.option("--rows", "names", help="Measure only these, by comma.")
def main(out: Path, seeds: int, by: str, names: str | None) -> None:
    """Measure, and write the table."""
    one_core()
    name = {"class": "mitdb-beats", "symbol": "mitdb-symbols"}[by]
    work, parts = (out / kind / name for kind in ("work", "parts"))
    files = {row: [parts / f"{row}-{seed}.json" for seed in range(seeds)] for row in OF[by]}
    done: dict[str, list[Found]] = {row: [] for row in rows_to_show(names, OF[by], files.__getitem__)}
    split = split_by(by)
    for seed in range(seeds):
        for row in done:
            model = untrained(row, seed)
            settings = {
                "generator": model and model.params,
                "times": TIMES,
                "classifier": vars(CLASSIFIER) | {"seed": seed},
                "train": split.train.digest(),
            }
            found = part(files[row][seed], settings, lambda row=row, seed=seed: measure(row, seed, split, by, work))
            done[row].append(found)
            click.echo(f"seed {seed}  {row:<15} macro-F1 {found['macro_f1']:.4f}", err=True)
    told = {"ecgsynth": versions(file for row in done for file in files[row]), "seeds": seeds, "times": TIMES, "rows": done}
    write(out / f"{name}.json", json.dumps(told) + "\n")
    write(out / f"{name}.md", table(done) + "\n")
    click.echo(f"{table(done)}\n\n{differences(done)}")


if __name__ == "__main__":
    main()
