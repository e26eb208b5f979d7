"""Whether an attacker who holds whole records can tell which of them a generator learnt from, over several draws of patients.

    python scripts/membership.py -o results --draws 10

Each draw divides the 43 patients of MIT-BIH without paced beats at random: 17 are learnt from, 17 are not, and 9 are known to the
attacker. Who is learnt from is thus chance alone, and an area of 0.5 is guessing; the sides of the schemes `patients` and `dechazal`
are not drawn so. The attack is that of `ecgsynth evaluate`: how much nearer synthetic beats come to a patient's than beats of patients
whom the attacker knows do. The interval is over patients, the same in all draws, and over draws. Some 1,600 beats of patients
never learnt from, in the place of 20,000 synthetic ones, and copies are the controls. What `group-flow` learns from, means of one beat
each of several patients, is released as it is, too: the more patients, the less it tells. `cnn-gan` is attacked besides by how much more
real its critic finds a patient's beats: who trains a GAN has one, but no model file holds it. Networks compute on one core; each part is
kept in OUT/parts as it is done, and several processes may share the work by `--rows`: the table is of all rows whose parts are there.
"""

import json
from pathlib import Path

import click
import numpy as np
from shared import Found, divided, one_core, part, rows_to_show, trained, unpaced_beats, versions, write

import ecgsynth as es
from ecgsynth.attacks import RELEASED, set_up
from ecgsynth.generators import Generator, settings_of
from ecgsynth.generators.gan import Gan
from ecgsynth.metrics.privacy import membership_auc
from ecgsynth.mixing import means_across

METHOD = 3
"""Raised when the attack is another, so that numbers of both kinds are not mixed."""

SIDES = ("members", "others")
BY_CRITIC = "by critic"
LEARNT = {"gaussian-8": 8, "gaussian-4": 4}
"""Rows of which so many patients are learnt from; of others all 17."""
ACROSS = {"group-flow": 5, "means-2": 2, "means-3": 3, "means-5": 5, "means-8": 8}
"""Rows of means across so many patients; classes that fewer have are left out of them."""
# Row -> what the table calls it, the generator and its settings; None where beats are released as they are.
ROWS = {
    "flow": ("`flow`", "flow", {}),
    "group-flow": ("`group-flow`", "group-flow", {}),
    "means-2": ("means across 2 patients", None, {}),
    "means-3": ("means across 3 patients", None, {}),
    "means-5": ("means across 5 patients, which `group-flow` learns from", None, {}),
    "means-8": ("means across 8 patients", None, {}),
    "cnn-gan": ("`cnn-gan`", "cnn-gan", {}),
    "gaussian": ("`gaussian`", "gaussian", {}),
    "gaussian-8": ("`gaussian`, of 8 patients", "gaussian", {}),
    "gaussian-4": ("`gaussian`, of 4 patients", "gaussian", {}),
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
    new, released, more = untrained(row, draw), attackers.strangers, dict[str, Found]()
    if isinstance(new, Gan):  # its critic is not in the file
        released = new.fit(split.train, device=device).sample(es.class_counts(new.counts, total=RELEASED), seed=draw)
        more = {BY_CRITIC: dict(zip(SIDES, attackers.membership_by_critic(new.judge), strict=True))}
    elif new is not None:
        model, _ = trained(new, work / f"{row}-{draw}.safetensors", split.train, device=device)
        released = model.sample(es.class_counts(model.counts, total=RELEASED), seed=draw)
    elif row in ACROSS:
        released = means_across(split.train, ACROSS[row], seed=draw)
        released = released.take(np.random.default_rng(draw).permutation(len(released))[:RELEASED])
    return dict(zip(SIDES, attackers.membership(released), strict=True)) | more


def table(rows: dict[str, list[Found]]) -> str:
    """Set the area under the curve, with its interval and that of each draw, in Markdown."""
    lines = ["| released | area, 95 % interval | of each draw |", "|---|---|---|"]
    for row, draws in rows.items():
        attacks = [(ROWS[row][0], draws)]
        if BY_CRITIC in draws[0]:
            attacks.append((f"{ROWS[row][0]}, by its critic", [found[BY_CRITIC] for found in draws]))
        for name, attack in attacks:
            scores = [[found[side] for found in attack] for side in SIDES]
            each = ", ".join(f"{membership_auc([one], [other], draws=1).value:.2f}" for one, other in zip(*scores, strict=True))
            lines.append(f"| {name} | {membership_auc(*scores)} | {each} |")
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--draws", default=10, type=click.IntRange(min=1))
@click.option("--rows", "names", help="Measure only these, by comma.")
@click.option("--device", default="cpu", help="Where networks are trained.")
def main(out: Path, draws: int, names: str | None, device: str) -> None:
    """Measure, and write the table."""
    one_core()
    work, parts = (out / kind / "membership" for kind in ("work", "parts"))
    beats = unpaced_beats()
    files = {row: [parts / f"{row}-{draw}.json" for draw in range(draws)] for row in ROWS}
    rows: dict[str, list[Found]] = {row: [] for row in rows_to_show(names, ROWS, files.__getitem__)}
    for draw in range(draws):
        for row in rows:
            split = divided(beats, draw, LEARNT.get(row), ACROSS.get(row, 1))
            model = untrained(row, draw)
            settings = {
                "method": METHOD,
                "row": row,
                "generator": model and model.params,
                "train": split.train.digest(),
                "test": split.test.digest(),
            }
            rows[row].append(part(files[row][draw], settings, lambda row=row, d=draw, s=split: measure(row, d, s, work, device)))
            click.echo(f"draw {draw}  {row}", err=True)
    click.echo(table(rows))
    told = {"ecgsynth": versions(file for row in rows for file in files[row]), "draws": draws, "rows": rows}
    write(out / "membership.json", json.dumps(told) + "\n")
    write(out / "membership.md", table(rows) + "\n")


if __name__ == "__main__":
    main()
