"""All that is measured of eight generators: what their beats are worth, how like real ones they are, and what they tell of patients.

    python scripts/evidence.py -o results --scheme beats --seeds 5
    python scripts/evidence.py -o results --scheme dechazal --seeds 5     # between patients, N S V F, shape and rhythm

As many synthetic beats as the training side has, in its proportions. Classifiers are trained for every seed of the generator;
fidelity, physiology and privacy are measured of seed 0. Models are those of `scripts/results.py` and of
`scripts/between_patients.py`, trained here where these have not been. All is done on one core, whose number of threads decides
the last digits; each part is kept in OUT/work as it is done, and several processes may share the work by `--rows`.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from shared import Found, chosen, mitdb_beats, part, trained, write

import ecgsynth as es
from ecgsynth.cache import Cache
from ecgsynth.classifiers import CLASSIFIERS, network_for
from ecgsynth.engine import Local
from ecgsynth.generators import Generator, settings_of
from ecgsynth.scores import Score

ROWS = ("flow", "flow-gan", "outline", "gaussian", "smote", "ecgsyn", "memorizer", "class-mean")
CLASSES = {"beats": "NSVFQ", "dechazal": "NSVF"}
MODELS = {"beats": Path("work/mitdb-beats"), "dechazal": Path("between-patients/work")}
LEARNT = ("real", "synthetic", "real-on-synthetic")
TITLES = {"real": "TRTR", "synthetic": "TSTR", "real-on-synthetic": "TRTS"}


def split_by(scheme: str) -> es.Split:
    """Divide the beats of the classes that are scored."""
    beats = mitdb_beats()
    return es.split_beats(beats.take(np.isin(beats.classes, list(CLASSES[scheme]))), scheme=scheme, seed=0)


def untrained(row: str, seed: int) -> Generator:
    """Set up the row's generator."""
    return es.GENERATORS[row](**({"seed": seed} if "seed" in settings_of(row) else {}))


def measure(row: str, seed: int, split: es.Split, out: Path, device: str) -> Found:
    """Train what the row needs, and evaluate its beats."""
    validation = split.val if split.scheme == "beats" else None  # whose patients are kept for choosing what is added to real beats
    path = out / MODELS[split.scheme] / f"{row}-{seed}.safetensors"
    model, minutes = trained(untrained(row, seed), path, split.train, validation, device=device)
    made = model.sample(es.class_counts(split.train), seed=seed)
    found = es.evaluate(
        synthetic=made,
        train=split.train,
        val=split.val,
        test=split.test,
        seeds=(seed,),
        rows=LEARNT,
        classifier=network_for(split.scheme, made),
        families=("fidelity", "physiology", "privacy") if seed == 0 else (),
        cache=Cache(out / "work" / "scores"),
        engine=Local(1),
    )
    scores = {name: {row: seeds[0].to_dict() for row, seeds in rows.items()} for name, rows in found.classifiers.items()}
    return {"minutes": minutes, "classifiers": scores, "measured": [score.to_dict() for score in found.measured]}


def utility(rows: dict[str, list[Found]]) -> str:
    """Set macro-F1 with its spread over seeds in Markdown."""
    heads = [f"{TITLES[learnt]}, {name}" for learnt in LEARNT[1:] for name in CLASSIFIERS]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]

    def spread(seeds: list[Found], classifier: str, learnt: str) -> str:
        values = [seed["classifiers"][classifier][learnt]["macro_f1"] for seed in seeds]
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"

    real = [spread(next(iter(rows.values())), name, "real") for name in CLASSIFIERS]
    lines.append("| real beats (TRTR) | " + " | ".join(real) + " |" + " |" * len(CLASSIFIERS))
    for row, seeds in rows.items():
        lines.append(f"| `{row}` | " + " | ".join(spread(seeds, name, learnt) for learnt in LEARNT[1:] for name in CLASSIFIERS) + " |")
    return "\n".join(lines)


def measures(rows: dict[str, list[Found]], label: str) -> str:
    """Set what was measured of beats of one label, with intervals, beside fresh real beats and copies, in Markdown."""
    found = {
        row: {score.measure: score for score in map(Score.from_dict, seeds[0]["measured"]) if score.label == label}
        for row, seeds in rows.items()
    }
    names = list(dict.fromkeys(name for known in found.values() for name in known))
    lines = ["| | " + " | ".join(f"`{row}`" for row in rows) + " | fresh real beats | copies |", "|---" * (len(rows) + 3) + "|"]
    for name in names:
        one = next(known[name] for known in found.values() if name in known)
        cells = [str(known[name].value) if name in known else "" for known in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {one.real:.3f} | {one.memorizer:.3f} |")
    return "\n".join(lines)


def draw(rows: dict[str, list[Found]], path: Path) -> None:
    """Draw what beats are worth over how well an attacker tells who was learnt from."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for row, seeds in rows.items():
        membership = next(score for score in map(Score.from_dict, seeds[0]["measured"]) if score.measure.startswith("membership"))
        values = [seed["classifiers"]["cnn"]["synthetic"]["macro_f1"] for seed in seeds]
        across = np.abs(np.subtract(membership.value[1:], membership.value.value))[:, None]
        axes.errorbar(membership.value.value, np.mean(values), np.std(values, ddof=1), across, fmt="o", capsize=3, label=row)
    real = [seed["classifiers"]["cnn"]["real"]["macro_f1"] for seed in next(iter(rows.values()))]
    axes.axhspan(
        np.mean(real) - np.std(real, ddof=1), np.mean(real) + np.std(real, ddof=1), color="#0072b2", alpha=0.15, label="real beats"
    )
    axes.axvline(0.5, color="grey", linewidth=0.8)
    axes.set_xlabel("membership of a patient, area under the ROC curve (0.5 is guessing)")
    axes.set_ylabel("TSTR macro-F1 on new patients")
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--scheme", type=click.Choice(list(CLASSES)), default="beats")
@click.option("--seeds", default=5, type=click.IntRange(min=2))
@click.option("--rows", "names", help="Only these, by comma; nothing is written but the parts.")
@click.option("--device", default="cpu", help="Where networks are trained.")
def main(out: Path, scheme: str, seeds: int, names: str | None, device: str) -> None:
    """Measure, and write the tables."""
    torch.set_num_threads(1)
    split = split_by(scheme)
    rows: dict[str, list[Found]] = {row: [] for row in chosen(names, ROWS)}
    for seed in range(seeds):
        for row in rows:
            settings = {
                "generator": untrained(row, seed).params,
                **{side: getattr(split, side).digest() for side in ("train", "val", "test")},
                "classifier": network_for(scheme, split.train).settings,
            }
            path = out / "work" / f"evidence-{scheme}" / f"{row}-{seed}.json"
            found = part(path, settings, lambda row=row, seed=seed: measure(row, seed, split, out, device))
            rows[row].append(found)
            macro = {name: round(of["synthetic"]["macro_f1"], 3) for name, of in found["classifiers"].items()}
            click.echo(f"{scheme}  seed {seed}  {row:<10} TSTR {macro}", err=True)
    text = f"{utility(rows)}\n\n{measures(rows, 'all')}\n"
    click.echo(text)
    if not names:
        write(out / f"evidence-{scheme}.json", json.dumps({"ecgsynth": es.__version__, "seeds": seeds, "rows": rows}) + "\n")
        write(out / f"evidence-{scheme}.md", text)
        if scheme == "dechazal":
            draw(rows, out / "membership-and-utility.png")


if __name__ == "__main__":
    main()
