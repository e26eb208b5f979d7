"""What differential privacy costs and buys: TSTR and membership inference over epsilon, on MIT-BIH.

    python scripts/privacy_curve.py -o results/privacy --seeds 5

Scheme `beats`, split seed 0, unit of privacy: one beat, in one row one patient; delta 1e-5. Each model makes as many beats as the
training side has, in the proportions that it knows itself: those with differential privacy have counted with noise. Their settings
were once chosen on the validation side of the same beats, which no epsilon counts. TSTR: a classifier of them, on the test side.
Membership: an attacker holds single beats, some of the training and some of the test side, and orders them by how much nearer the
nearest synthetic beat is than the nearest of the validation side; the area under the ROC curve is 0.5 for guessing. `flow`, which
promises nothing, and copies stand beside. The row that promises privacy for a patient has no such area, as its promise is not about
single beats and every patient stands on both sides here: `scripts/membership.py` attacks that promise.

Each part is kept in OUT/parts as it is done. Several processes may share the work by `--only`: the table and the figure are of all rows
whose parts are there.
"""

import json
import math
from pathlib import Path

import click
import numpy as np
from shared import Found, mitdb_split, one_core, part, rows_to_show, trained, versions, write
from sklearn.metrics import roc_auc_score

import ecgsynth as es
from ecgsynth.generators import Generator
from ecgsynth.metrics.bootstrap import delete_half
from ecgsynth.metrics.privacy import membership_scores

EPSILONS = {"1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0, "16": 16.0, "infinity": math.inf}
ROWS = {"real": "real beats (TRTR)"} | {name: f"`dp-flow`, epsilon {name}" for name in EPSILONS}
ROWS |= {"patient": "`dp-flow`, epsilon 8 for a patient", "flow": "`flow`", "memorizer": "control: copies"}
HELD = 3000  # beats of either side that the attacker holds
CLASSIFIER = es.BeatClassifier()


def untrained(row: str, seed: int) -> Generator:
    """Set up the row's generator."""
    if row == "patient":
        return es.GENERATORS["dp-flow"](epsilon=8.0, delta=1e-5, unit="patient", steps=300, seed=seed)
    if row in EPSILONS:
        return es.GENERATORS["dp-flow"](epsilon=EPSILONS[row], delta=1e-5, seed=seed)
    return es.GENERATORS["flow"](seed=seed) if row == "flow" else es.GENERATORS["memorizer"]()


def membership(made: es.Beats, split: es.Split, seed: int) -> Found:
    """Attack single beats."""
    rng = np.random.default_rng(seed)
    sides = {side: getattr(split, side) for side in ("train", "test")}
    held = {side: beats.signals[rng.permutation(len(beats))[:HELD]] for side, beats in sides.items()}
    known = {"synthetic": made.signals, "reference": split.val.signals}
    scores = {side: membership_scores(beats=beats, records=np.arange(HELD).astype(str), **known) for side, beats in held.items()}

    def area(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
        return {"area": float(roc_auc_score(np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])))}

    return {"membership": list(delete_half(area, *(np.array(list(side.values())) for side in scores.values()))["area"])}


def measure(row: str, seed: int, split: es.Split, work: Path) -> Found:
    """Train what the row needs, and measure it."""
    judged = {"train": split.train, "test": split.test, "seeds": (seed,), "classifier": CLASSIFIER, "classifiers": ("cnn",)}
    if row == "real":
        return es.evaluate(synthetic=split.train, rows=("real",), **judged).rows["real"][0].to_dict()
    model, minutes = trained(untrained(row, seed), work / f"{row}-{seed}.safetensors", split.train, split.val if row == "flow" else None)
    made = model.sample(es.class_counts(model.counts, total=len(split.train)), seed=seed)
    scores = es.evaluate(synthetic=made, rows=("synthetic",), **judged).rows["synthetic"][0].to_dict()
    attacked = {} if row == "patient" else membership(made, split, seed)
    return scores | attacked | {"minutes": minutes, "privacy": model.shape_.get("privacy")}


def table(rows: dict[str, list[Found]]) -> str:
    """Set TSTR, its share of TRTR, F1 and the attack in Markdown."""
    real = np.mean([seed["macro_f1"] for seed in rows["real"]]) if "real" in rows else np.nan
    heads = ["a classifier learns from", "macro-F1", "of TRTR", *(f"F1 {name}" for name in "NSVFQ"), "membership of a beat, area", "noise"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row, seeds in rows.items():
        macro = np.array([seed["macro_f1"] for seed in seeds])
        f1 = [f"{np.mean([seed['f1'][name] for seed in seeds]):.3f}" for name in "NSVFQ"]
        found = np.array([seed["membership"][0] for seed in seeds if "membership" in seed])
        area = f"{found.mean():.3f} ± {found.std(ddof=1):.3f}" if len(found) else ""
        noise = next((f"{seed['privacy']['noise']:.2f}" for seed in seeds if seed.get("privacy")), "")
        cells = [ROWS[row], f"{macro.mean():.3f} ± {macro.std(ddof=1):.3f}", f"{macro.mean() / real:.0%}", *f1, area, noise]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: dict[str, list[Found]], path: Path) -> None:
    """Draw both over epsilon."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names = [name for name in EPSILONS if name in rows]
    for axis, title, value in (
        (axes[0], "TSTR macro-F1", lambda seed: seed["macro_f1"]),
        (axes[1], "membership of a beat, area under the curve", lambda seed: seed["membership"][0]),
    ):
        found = np.array([[value(seed) for seed in rows[name]] for name in names])
        axis.errorbar(range(len(names)), found.mean(axis=1), found.std(axis=1, ddof=1), marker="o", capsize=3, color="#d55e00")
        for row, style in (("real", "-"), ("flow", "--"), ("memorizer", ":")):
            known = [value(seed) for seed in rows.get(row, []) if axis is axes[0] or "membership" in seed]
            if known:
                axis.axhline(float(np.mean(known)), linestyle=style, color="#0072b2", linewidth=1, label=ROWS[row].replace("`", ""))
        axis.set_xticks(range(len(names)), ["∞" if name == "infinity" else name for name in names])
        axis.set_xlabel("epsilon (one beat, delta 1e-5)")
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=8)
    axes[1].axhline(0.5, color="grey", linewidth=0.8)
    figure.savefig(path, dpi=150)


@click.command()
@click.option("-o", "--out", default=Path("results/privacy"), type=click.Path(path_type=Path))
@click.option("--seeds", default=5, type=click.IntRange(min=2))
@click.option("--only", help=f"Measure only these rows, by comma: {','.join(ROWS)}")
def main(out: Path, seeds: int, only: str | None) -> None:
    """Measure, and print the table."""
    one_core()
    split, work = mitdb_split(), out / "work"
    files = {row: [out / "parts" / f"{row}-{seed}.json" for seed in range(seeds)] for row in ROWS}
    rows: dict[str, list[Found]] = {row: [] for row in rows_to_show(only, ROWS, files.__getitem__)}
    for seed in range(seeds):
        for row in rows:
            params = None if row == "real" else untrained(row, seed).params
            settings = {"generator": params, "classifier": CLASSIFIER.settings, "train": split.train.digest(), "held": HELD}
            found = part(files[row][seed], settings, lambda row=row, seed=seed: measure(row, seed, split, work))
            rows[row].append(found)
            click.echo(f"{row:<10} seed {seed} macro-F1 {found['macro_f1']:.3f} membership {found.get('membership')}", err=True)
    write(out / "privacy.json", json.dumps({"ecgsynth": versions(file for row in rows for file in files[row]), "rows": rows}) + "\n")
    write(out / "privacy.md", table(rows) + "\n")
    if any(row in EPSILONS for row in rows):
        draw(rows, out / "privacy.png")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
