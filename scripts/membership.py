"""Whether an attacker who holds whole records can tell which of them a generator learnt from, over several draws of patients.

    python scripts/membership.py -o results --draws 5

Each draw divides the patients of MIT-BIH anew (scheme `patients`, classes N S V F); generators learn from the training patients
alone. The attack is that of `ecgsynth evaluate`: how much nearer synthetic beats come to a patient's than beats of patients
of the validation side do. An area of 0.5 is guessing; the interval is over patients within each draw. Beats of patients who were
never learnt from, in the place of synthetic ones, and copies are the controls. All is done on one core; each part is kept in
OUT/work as it is done, and several processes may share the work by `--rows`.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from shared import Found, chosen, mitdb_beats, part, trained, write

import ecgsynth as es
from ecgsynth.attacks import RELEASED, set_up
from ecgsynth.generators import Generator, settings_of
from ecgsynth.metrics.privacy import membership_auc

CLASSES = "NSVF"
# Row -> what the table calls it, the generator and its settings; None for the beats of strangers.
ROWS = {
    "flow": ("`flow`", "flow", {}),
    "flow-unblended": ("`flow` that learns beats as they are, `blend=0`", "flow", {"blend": 0.0}),
    "gaussian": ("`gaussian`", "gaussian", {}),
    "outline": ("`outline`", "outline", {}),
    "dp-flow-patient": ("`dp-flow`, epsilon 8 for a patient", "dp-flow", {"unit": "patient", "steps": 300}),
    "class-mean": ("control: `class-mean`", "class-mean", {}),
    "ecgsyn": ("floor: `ecgsyn`, which learns nothing", "ecgsyn", {}),
    "strangers": ("control: beats of patients not learnt from", None, {}),
    "memorizer": ("control: copies", "memorizer", {}),
}


def untrained(row: str, draw: int) -> Generator | None:
    """Set up the row's generator, if it has one."""
    _, name, settings = ROWS[row]
    if name is None:
        return None
    return es.GENERATORS[name](**settings, **({"seed": draw} if "seed" in settings_of(name) else {}))


def measure(row: str, draw: int, split: es.Split, work: Path, device: str) -> Found:
    """Train what the row needs, and attack it."""
    attackers = set_up(train=split.train, val=split.val, test=split.test, seed=draw)
    assert attackers is not None  # no patient stands on two sides
    new, released = untrained(row, draw), attackers.strangers
    if new is not None:
        model, _ = trained(new, work / f"{row}-{draw}.safetensors", split.train, device=device)
        released = model.sample(es.class_counts(split.train, total=RELEASED), seed=draw)
    members, others = attackers.membership(released)
    return {"members": members.tolist(), "others": others.tolist()}


def table(rows: dict[str, list[Found]]) -> str:
    """Set the area under the curve, with its interval and that of each draw, in Markdown."""
    lines = ["| released | area, 95 % interval | of each draw |", "|---|---|---|"]
    for row, draws in rows.items():
        scores = [[np.array(found[side]) for found in draws] for side in ("members", "others")]
        each = ", ".join(f"{membership_auc([one], [other], draws=1).value:.2f}" for one, other in zip(*scores, strict=True))
        lines.append(f"| {ROWS[row][0]} | {membership_auc(*scores)} | {each} |")
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--draws", default=5, type=click.IntRange(min=1))
@click.option("--rows", "names", help="Only these, by comma; nothing is written but the parts.")
@click.option("--device", default="cpu", help="Where networks are trained.")
def main(out: Path, draws: int, names: str | None, device: str) -> None:
    """Measure, and write the table."""
    torch.set_num_threads(1)
    work = out / "work" / "membership"
    beats = mitdb_beats()
    beats = beats.take(np.isin(beats.classes, list(CLASSES)))
    rows: dict[str, list[Found]] = {row: [] for row in chosen(names, ROWS)}
    for draw in range(draws):
        split = es.split_beats(beats, scheme="patients", seed=draw)
        for row in rows:
            model = untrained(row, draw)
            settings = {"row": row, "generator": model and model.params, "train": split.train.digest(), "test": split.test.digest()}
            rows[row].append(part(work / f"{row}-{draw}.json", settings, lambda row=row, d=draw, s=split: measure(row, d, s, work, device)))
            click.echo(f"draw {draw}  {row}", err=True)
    click.echo(table(rows))
    if not names:
        write(out / "membership.json", json.dumps({"ecgsynth": es.__version__, "draws": draws, "rows": rows}) + "\n")
        write(out / "membership.md", table(rows) + "\n")


if __name__ == "__main__":
    main()
