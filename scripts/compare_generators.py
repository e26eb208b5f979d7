"""All generators side by side: same minutes of training, same beats, same classifier, one machine, one run.

    python scripts/compare_generators.py -o results/generators --minutes 2 --seeds 5 --jobs 2
    python scripts/compare_generators.py -o comparison --split split/     # of your own records, as `ecgsynth split` divided them

Each job is done on one core. The minutes are those of training steps; what goes before them (principal components, clusters)
is not among them, but it is in the time by which training beats/s are counted. Those with differential privacy take their usual
steps at most, for which their noise is set. `flow`, `ddpm` and `flow-gan` compute in
bfloat16 where the processor does, all others in float32. A run that was stopped goes on: what is measured is kept in DIR/parts,
and what fails is a row that says so.
"""

import json
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
from shared import Found, chosen, machine, mitdb_split, part, versions, write
from threadpoolctl import threadpool_limits

import ecgsynth as es
from ecgsynth.generators import Generator, settings_of
from ecgsynth.metrics.detection import detection_score

CLASSIFIER = es.BeatClassifier(steps=2000)
COLUMNS = ("TSTR macro-F1", "detection (0.5 is ideal)", "training beats/s", "passes over the beats", "sampling beats/s", "parameters")


def set_up(name: str, seed: int, minutes: float) -> Generator:
    """Make an untrained generator that has so many minutes, if it trains; with differential privacy no more than its usual steps."""
    known = settings_of(name)
    budget = {"minutes": minutes, "validations": 1, "seed": seed} if "steps" in known else {}
    return es.GENERATORS[name](**budget, **({"steps": 10**9} if "steps" in known and "epsilon" not in known else {}))


def do_job(name: str, seed: int, minutes: float, out: Path, where: Path) -> Found:
    """Measure on one core, or read what was measured."""
    import torch

    torch.set_num_threads(1)
    split = es.Split.load(where)
    params = None if name == "real" else set_up(name, seed, minutes).params
    settings = {"params": params, "classifier": vars(CLASSIFIER), "train": split.train.digest(), "machine": machine()}
    with threadpool_limits(1):
        return part(out / "parts" / f"{name}-{minutes:g}-{seed}.json", settings, lambda: measure(name, seed, minutes, split))


def measure(name: str, seed: int, minutes: float, split: es.Split) -> Found:
    """Train one generator, sample from it, and measure."""
    judged = {"train": split.train, "test": split.test, "seeds": (seed,), "classifier": CLASSIFIER, "classifiers": ("cnn",)}
    if name == "real":
        return es.evaluate(synthetic=split.train, rows=("real",), **judged).rows["real"][0].to_dict()
    generator = set_up(name, seed, minutes)
    begun = time.perf_counter()
    drawn = max((step.drawn for step in generator.fit_steps(split.train)), default=0)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    made = generator.sample(es.class_counts(split.train), seed=seed, workers=1)
    speed = len(made) / (time.perf_counter() - begun)
    found = es.evaluate(synthetic=made, rows=("synthetic",), **judged)
    rng = np.random.default_rng(seed)
    pick = [rng.permutation(len(beats))[:3000] for beats in (split.test, made)]
    return found.rows["synthetic"][0].to_dict() | {
        "detection": detection_score(real=split.test.take(pick[0]), synthetic=made.take(pick[1]), seed=seed),
        "training_beats_per_s": drawn / seconds or None,
        "sampling_beats_per_s": speed,
        "parameters": generator.n_parameters,
        "minutes": seconds / 60,
    }


def table(rows: dict[str, list[Found]], failed: dict[str, str], beats: int) -> str:
    """Set means and standard deviations over seeds in Markdown, best TSTR first, then what failed; there are so many training beats."""

    def spread(seeds: list[Found], key: str, digits: int) -> str:
        values = [seed[key] for seed in seeds if seed.get(key) is not None]
        return (
            f"{np.mean(values):,.{digits}f} ± {np.std(values, ddof=1):,.{digits}f}"
            if len(values) > 1
            else "".join(f"{v:,.{digits}f}" for v in values)
        )

    lines = ["| generator | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    ranked = sorted(rows.items(), key=lambda item: -np.mean([seed["macro_f1"] for seed in item[1]]))
    for name, seeds in ranked:
        if name == "real":
            lines.append(f"| real beats (TRTR) | {spread(seeds, 'macro_f1', 3)}" + " |" * len(COLUMNS))
            continue
        training, sampling = (
            np.mean([seed[key] for seed in seeds if seed[key]] or [np.nan]) for key in ("training_beats_per_s", "sampling_beats_per_s")
        )
        passes = np.mean([(seed["training_beats_per_s"] or np.nan) * 60 * seed["minutes"] / beats for seed in seeds])
        shown = ["" if np.isnan(number) else f"{number:,.{digits}f}" for number, digits in ((training, 0), (passes, 1), (sampling, 0))]
        cells = [spread(seeds, "macro_f1", 3), spread(seeds, "detection", 3), *shown, f"{seeds[0]['parameters']:,}"]
        partly = f" (failed after {len(seeds)} of the seeds: {failed[name]})" if name in failed else ""
        lines.append(f"| `{name}`{partly} | " + " | ".join(cells) + " |")
    lines += [f"| `{name}` | failed: {why} |" + " |" * (len(COLUMNS) - 1) for name, why in failed.items() if name not in rows]
    return "\n".join(lines)


def draw(rows: dict[str, list[Found]], path: Path) -> None:
    """Draw TSTR of each generator, every seed a point, beside TRTR; grey are those whose files hold real beats."""
    from matplotlib.figure import Figure

    ranked = sorted((name for name in rows if name != "real"), key=lambda name: np.mean([seed["macro_f1"] for seed in rows[name]]))
    figure = Figure(figsize=(7, 0.28 * len(ranked) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(ranked):
        values = [seed["macro_f1"] for seed in rows[name]]
        color = "#cccccc" if getattr(es.GENERATORS[name], "holds_real_beats", False) else "#9db8d9"
        axes.barh(place, np.mean(values), color=color, height=0.7)
        axes.plot(values, [place] * len(values), "o", color="#1b3a5c", markersize=3)
    trtr = [seed["macro_f1"] for seed in rows.get("real", [])] or [np.nan]
    axes.axvspan(min(trtr), max(trtr), color="#c0504d", alpha=0.5, linewidth=0)
    axes.text(np.mean(trtr), len(ranked) - 0.5, "real beats", ha="center", va="bottom", color="#8c2f2c", fontsize=8)
    axes.set_yticks(range(len(ranked)), ranked)
    axes.set_xlabel("macro-F1 on real test beats of a classifier trained on generated ones")
    axes.set(xlim=(0, 1), ylim=(-0.6, len(ranked) + 0.1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


@click.command()
@click.option("-o", "--out", default=Path("results/generators"), type=click.Path(path_type=Path))
@click.option("--minutes", default=2.0, help="Of training, for each that trains.")
@click.option("--seeds", default=5, type=click.IntRange(min=1))
@click.option("--jobs", default=2, type=click.IntRange(min=1), help="At a time, each on one core.")
@click.option("--only", help="Only these, by comma; nothing is written but the parts.")
@click.option(
    "--split", "own", type=click.Path(path_type=Path, exists=True, file_okay=False), help="In the place of MIT-BIH, scheme beats."
)
def main(out: Path, minutes: float, seeds: int, jobs: int, only: str | None, own: Path | None) -> None:
    """Measure, and write the table and the figure."""
    names = ["real", *chosen(only, es.GENERATORS)]
    where = own or out / "work" / "split"
    if not where.is_dir():
        mitdb_split().save(where)
    beats = len(es.Split.load(where).train)
    rows: dict[str, list[Found]] = {}
    failed: dict[str, str] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(do_job, name, seed, minutes, out, where): (name, seed) for seed in range(seeds) for name in names}
        for done, task in enumerate(as_completed(tasks), start=1):
            name, seed = tasks[task]
            error = task.exception()
            if isinstance(error, click.ClickException):
                pool.shutdown(wait=False, cancel_futures=True)
                raise error
            if isinstance(error, BrokenProcessPool):
                raise click.ClickException("a job was killed, as by want of memory: the same command goes on, --jobs 1 needs less")
            if error:  # whatever it is, the others are measured
                failed[name] = traceback.format_exception_only(error)[-1].strip().replace("|", " ")
            else:
                rows.setdefault(name, []).append(task.result())
            said = failed[name] if error else f"macro-F1 {task.result()['macro_f1']:.3f}"
            click.echo(f"{done}/{len(tasks)}  seed {seed}  {name:<16} {said}", err=True)
    facts = {"ecgsynth": versions((out / "parts").glob("*.json")), "minutes": minutes, "classifier": vars(CLASSIFIER), "machine": machine()}
    if only:
        return click.echo(table(rows, failed, beats))
    write(out / "generators.json", json.dumps(facts | {"rows": rows, "failed": failed}) + "\n")
    write(out / "generators.md", table(rows, failed, beats) + "\n")
    draw(rows, out / "generators.png")
    click.echo(table(rows, failed, beats))


if __name__ == "__main__":
    main()
