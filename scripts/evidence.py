"""What is measured of eight generators: what their beats are worth, how like real ones they are, and what they tell of patients.

    python scripts/evidence.py -o results --scheme beats --seeds 5
    python scripts/evidence.py -o results --scheme dechazal --seeds 5     # between patients, N S V F, shape and rhythm

As many synthetic beats as the training side has, in its proportions. Classifiers are trained for every seed of the generator (TRTR,
TSTR, TRTS; on the scheme `beats` also by the published protocol of TTS-CGAN); fidelity, physiology and privacy are measured of seed
0, in classes with at least 20 beats on every side. Models are those of `scripts/results.py` and of `scripts/between_patients.py`,
which also tell what synthetic beats add to real ones; they are trained here where these have not done so. Networks compute on one
core, whose number of threads decides the last digits; each part is kept in OUT/parts as it is done, and several processes may share
the work by `--rows`: the tables are of all rows whose parts are there.
"""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from shared import Found, mitdb_beats, one_core, part, rows_to_show, trained, versions, write

import ecgsynth as es
from ecgsynth.audit import Policy, audit
from ecgsynth.cache import Cache
from ecgsynth.classifiers import CLASSIFIERS, network_for
from ecgsynth.engine import Local
from ecgsynth.generators import Generator, settings_of
from ecgsynth.measures import measure
from ecgsynth.metrics.bootstrap import over_patients
from ecgsynth.metrics.utility import Scores, rates
from ecgsynth.scores import BETTER, Score

ROWS = ("flow", "group-flow", "flow-gan", "gaussian", "smote", "ecgsyn", "memorizer", "class-mean")
CLASSES = {"beats": "NSVFQ", "dechazal": "NSVF"}
METHOD = 5
"""Raised when the package measures fidelity, physiology or privacy otherwise, so that numbers of both kinds are not mixed."""

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


def made_by(row: str, seed: int, split: es.Split, out: Path, device: str) -> es.Beats:
    """Train what the row needs, and make its beats."""
    validation = split.val if split.scheme == "beats" else None  # whose patients are kept for choosing what is added to real beats
    path = out / MODELS[split.scheme] / f"{row}-{seed}.safetensors"
    model, _ = trained(untrained(row, seed), path, split.train, validation, device=device)
    return model.sample(es.class_counts(split.train), seed=seed)


def judged(made: es.Beats, seed: int, split: es.Split, out: Path, **asked: Any) -> es.Evaluation:
    """Have classifiers judge beats."""
    return es.evaluate(
        synthetic=made,
        train=split.train,
        test=split.test,
        seeds=(seed,),
        classifier=network_for(split.scheme, made),
        cache=Cache(out / "work" / "scores"),
        engine=Local(1),
        **asked,
    )


def scored(made: Callable[[], es.Beats], seed: int, split: es.Split, out: Path) -> Found:
    """Train classifiers on beats, and test them."""
    found = judged(made(), seed, split, out, rows=LEARNT)
    return {"classifiers": {name: {row: of[0].to_dict() for row, of in rows.items()} for name, rows in found.classifiers.items()}}


def published(made: Callable[[], es.Beats], seed: int, split: es.Split, out: Path) -> Found:
    """Do the same by the protocol of TTS-CGAN."""
    found = judged(made(), seed, split, out, rows=("real", "synthetic"), classifiers=("cnn",), protocol="tts-cgan")
    return {row: of[0].to_dict() for row, of in found.rows.items()}


def measured(made: Callable[[], es.Beats], split: es.Split, out: Path) -> Found:
    """Measure fidelity, physiology and privacy."""
    found = measure(synthetic=made(), train=split.train, val=split.val, test=split.test, cache=Cache(out / "work" / "scores"))
    return {"measured": [score.to_dict() for score in found]}


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


def by_class(rows: dict[str, list[Found]], classes: str) -> str:
    """Set TSTR of the network class by class, with intervals over the patients tested on and seeds, in Markdown."""
    names = ["macro-F1", *(f"{rate} {name}" for name in classes for rate in ("Se", "+P", "F1"))]
    names += [f"{ectopic} {rate}" for ectopic in ("SVEB", "VEB") for rate in ("Se", "+P")]

    def found(seeds: list[Found], learnt: str) -> Found:
        confusions = np.array([seed["classifiers"]["cnn"][learnt]["by_patient"] for seed in seeds])
        return over_patients(lambda each: rates(each, classes), confusions)

    columns = {"real beats (TRTR)": found(next(iter(rows.values())), "real")}
    columns |= {f"`{row}`": found(seeds, "synthetic") for row, seeds in rows.items()}
    heads = ["TSTR, cnn; 95 % interval over test patients and seeds", *columns]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in names:
        cells = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in (column[name] for column in columns.values())]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gains(rows: dict[str, list[Found]], classes: str) -> str:
    """Set what TSTR of the network has over TRTR in Markdown, with intervals over the patients tested on and seeds, in pairs."""
    names = ["macro-F1", *(f"F1 {name}" for name in classes)]
    lines = ["| TSTR over TRTR, cnn; 95 % interval | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for row, seeds in rows.items():
        ours, real = (np.array([seed["classifiers"]["cnn"][learnt]["by_patient"] for seed in seeds]) for learnt in ("synthetic", "real"))
        found = over_patients(lambda each: rates(each, classes), ours, base=real)
        cells = [f"{value:+z.3f} ({low:+z.3f} to {high:+z.3f})" for value, low, high in (found[name] for name in names)]
        lines.append(f"| `{row}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(rows: dict[str, list[Found]], classes: str, examples: es.Beats) -> str:
    """Set by which numbers the default policy fails the beats of each row in Markdown: as they are held against its limits."""
    lines = ["| released | what the default policy fails them by | not measured |", "|---|---|---|"]
    for row, seeds in rows.items():
        of = {name: {learnt: [Scores(**seed["classifiers"][name][learnt]) for seed in seeds] for learnt in LEARNT} for name in CLASSIFIERS}
        measured = tuple(map(Score.from_dict, seeds[0]["measured"]))
        scores = es.Evaluation(tuple(classes), of, {}, {}, examples, examples, measured).scores()
        broken = [each for each in audit(scores, Policy.load(), learnt_here=True, released=tuple(classes)) if not each.holds]
        failed: dict[str, list[str]] = {}
        for verdict in broken:
            if verdict.score:
                failed.setdefault(verdict.score.measure, []).append(f"{verdict.score.label} {'; '.join(verdict.breaches)}")
        rules = [each.rule for each in broken if each.score is None]
        unmeasured = sorted({rule.measure if rule.label == "*" else rule.label for rule in rules})
        told = "<br>".join(f"{name}: {', '.join(said)}" for name, said in failed.items()) or "nothing"
        lines.append(f"| `{row}` | {told} | {'; '.join(unmeasured)} |")
    return "\n".join(lines)


def by_protocol(rows: dict[str, list[Found]]) -> str:
    """Set TSTR by the protocol of TTS-CGAN in Markdown."""
    lines = ["| 800 synthetic beats a class, 500 real test beats a class (TTS-CGAN: 0.746) | macro-F1 | accuracy |", "|---|---|---|"]

    def line(title: str, seeds: list[Found]) -> str:
        values = [np.array([seed[key] for seed in seeds]) for key in ("macro_f1", "accuracy")]
        return f"| {title} | " + " | ".join(f"{value.mean():.3f} ± {value.std(ddof=1):.3f}" for value in values) + " |"

    lines.append(line("200 real beats a class", [seed["protocol"]["real"] for seed in next(iter(rows.values()))]))
    return "\n".join(lines + [line(f"`{row}`", [seed["protocol"]["synthetic"] for seed in seeds]) for row, seeds in rows.items()])


def measures(rows: dict[str, list[Found]], label: str) -> str:
    """Set what was measured of beats of one label, with intervals, beside fresh real beats and copies, in Markdown."""
    found = {
        row: {score.measure: score for score in map(Score.from_dict, seeds[0]["measured"]) if score.label == label}
        for row, seeds in rows.items()
    }
    names = list(dict.fromkeys(name for known in found.values() for name in known))
    title = "all classes" if label == "all" else f"class {label}"
    heads = [title, "better", *(f"`{row}`" for row in rows), "fresh real beats", "copies"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in names:
        one = next(known[name] for known in found.values() if name in known)
        cells = [BETTER[one.goal], *(str(known[name].value) if name in known else "" for known in found.values())]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {one.real:z.3f} | {one.memorizer:z.3f} |")
    return "\n".join(lines)


def draw(rows: dict[str, list[Found]], path: Path) -> None:
    """Draw what beats are worth over how well an attacker tells who was learnt from."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for place, (row, seeds) in enumerate(rows.items()):
        membership = next(score for score in map(Score.from_dict, seeds[0]["measured"]) if score.measure.startswith("membership"))
        values = [seed["classifiers"]["cnn"]["synthetic"]["macro_f1"] for seed in seeds]
        across = np.abs(np.subtract(membership.value[1:], membership.value.value))[:, None]
        size = 14 - 1.4 * place  # one that lies on another leaves a ring of it
        axes.errorbar(membership.value.value, np.mean(values), np.std(values, ddof=1), across, fmt="o", ms=size, capsize=3, label=row)
    real = [seed["classifiers"]["cnn"]["real"]["macro_f1"] for seed in next(iter(rows.values()))]
    axes.axhspan(
        np.mean(real) - np.std(real, ddof=1), np.mean(real) + np.std(real, ddof=1), color="#0072b2", alpha=0.15, label="real beats"
    )
    axes.axvline(0.5, color="grey", linewidth=0.8)
    axes.set_xlabel("membership of a patient, area under the ROC curve (0.5 is guessing)")
    axes.set_ylabel("TSTR macro-F1 on new patients")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=150)


@click.command()
@click.option("-o", "--out", default=Path("results"), type=click.Path(path_type=Path))
@click.option("--scheme", type=click.Choice(list(CLASSES)), default="beats")
@click.option("--seeds", default=5, type=click.IntRange(min=2))
@click.option("--rows", "names", help="Measure only these, by comma.")
@click.option("--device", default="cpu", help="Where networks are trained.")
def main(out: Path, scheme: str, seeds: int, names: str | None, device: str) -> None:
    """Measure, and write the tables."""
    one_core()
    split = split_by(scheme)
    rows: dict[str, list[Found]] = {row: [] for row in rows_to_show(names, ROWS, lambda row: parts_of(row, scheme, seeds, out))}
    for seed, row in product(range(seeds), rows):
        rows[row].append(all_of(row, seed, split, out, device))
        macro = {name: round(of["synthetic"]["macro_f1"], 3) for name, of in rows[row][-1]["classifiers"].items()}
        click.echo(f"{scheme}  seed {seed}  {row:<10} TSTR {macro}", err=True)
    tables = [
        utility(rows),
        by_class(rows, CLASSES[scheme]),
        gains(rows, CLASSES[scheme]),
        verdicts(rows, CLASSES[scheme], split.test.take(np.arange(1))),
        *([by_protocol(rows)] if scheme == "beats" else []),
    ]
    known = {score["label"] for seeds in rows.values() for score in seeds[0]["measured"]}
    tables += [measures(rows, label) for label in ("all", *CLASSES[scheme]) if label in known]
    text = "\n\n".join(tables) + "\n"
    click.echo(text)
    told = {"ecgsynth": versions(file for row in rows for file in parts_of(row, scheme, seeds, out)), "seeds": seeds, "rows": rows}
    write(out / f"evidence-{scheme}.json", json.dumps(told) + "\n")
    write(out / f"evidence-{scheme}.md", text)
    if scheme == "dechazal":
        draw(rows, out / "membership-and-utility.png")


def parts_of(row: str, scheme: str, seeds: int, out: Path) -> list[Path]:
    """Name the files of all parts of a row."""
    ends = [f"{seed}{kind}" for seed in range(seeds) for kind in (("", "-protocol") if scheme == "beats" else ("",))]
    return [out / "parts" / f"evidence-{scheme}" / f"{row}-{end}.json" for end in (*ends, "measured")]


def all_of(row: str, seed: int, split: es.Split, out: Path, device: str) -> Found:
    """Measure one model of a row, or read what was measured."""
    settings = {
        "generator": untrained(row, seed).params,
        **{side: getattr(split, side).digest() for side in ("train", "val", "test")},
    }
    told = settings | {"classifier": network_for(split.scheme, split.train).settings}
    folder, made = out / "parts" / f"evidence-{split.scheme}", lambda: made_by(row, seed, split, out, device)
    found = part(folder / f"{row}-{seed}.json", told, lambda: scored(made, seed, split, out))
    if split.scheme == "beats":
        protocol = part(folder / f"{row}-{seed}-protocol.json", told, lambda: published(made, seed, split, out))
        found = found | {"protocol": protocol}
    if seed == 0:
        found = found | part(folder / f"{row}-measured.json", settings | {"method": METHOD}, lambda: measured(made, split, out))
    return found


if __name__ == "__main__":
    main()
