"""All generators side by side: same minutes of training, same beats, same classifier, one machine, one run.

    python scripts/compare_generators.py -o results/generators --minutes 2 --seeds 5 --jobs 2

Each job trains on one core. A run that was stopped goes on: what is measured is kept in DIR/work.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

import ecgsynth as es
from ecgsynth.fetch import locate_records
from ecgsynth.generators import settings_of
from ecgsynth.metrics.detection import detection_score

COLUMNS = ("TSTR macro-F1", "detection (0.5 is ideal)", "training beats/s", "sampling beats/s", "parameters")


def prepare(folder: Path, out: Path) -> None:
    """Cut and divide the beats once for all jobs."""
    if not (out / "work" / "split").is_dir():
        es.split_beats(es.extract_beats(es.read_records(folder, lead=es.LEADS)), scheme="beats", seed=0).save(out / "work" / "split")


def measure(name: str, seed: int, minutes: float, out: Path) -> dict:
    """Train one generator on one core, sample from it, and measure."""
    import torch

    torch.set_num_threads(1)
    split = es.Split.load(out / "work" / "split")
    if name == "real":
        found = es.evaluate(synthetic=_any(split), train=split.train, test=split.test, seeds=(seed,), rows=("real",))
        return found.rows["real"][0].to_dict()
    taken = settings_of(name)
    budget = {"minutes": minutes, "steps": 10**9, "validations": 1, "seed": seed} if "steps" in taken else {}
    generator = es.GENERATORS[name](**budget)
    begun = time.perf_counter()
    drawn = max((step.drawn for step in generator.fit_steps(split.train)), default=0)
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    made = generator.sample(es.class_counts(split.train), seed=seed, workers=1)
    speed = len(made) / (time.perf_counter() - begun)
    found = es.evaluate(synthetic=made, train=split.train, test=split.test, seeds=(seed,), rows=("synthetic",))
    rng = np.random.default_rng(seed)
    pick = [rng.permutation(len(beats))[:3000] for beats in (split.test, made)]
    return found.rows["synthetic"][0].to_dict() | {
        "detection": detection_score(real=split.test.take(pick[0]), synthetic=made.take(pick[1]), seed=seed),
        "training_beats_per_s": drawn / seconds or None,
        "sampling_beats_per_s": speed,
        "parameters": generator.n_parameters,
        "minutes": seconds / 60,
    }


def _any(split: es.Split) -> es.Beats:
    return es.GENERATORS["class-mean"]().fit(split.train).sample(split.train.counts())


def table(rows: dict[str, list[dict]]) -> str:
    """Set means and standard deviations over seeds in Markdown, best TSTR first."""

    def spread(seeds: list[dict], key: str, digits: int) -> str:
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
            lines.append(f"| real beats (TRTR) | {spread(seeds, 'macro_f1', 3)} | | | | |")
            continue
        speeds = [
            np.mean([seed[key] for seed in seeds if seed[key]] or [np.nan]) for key in ("training_beats_per_s", "sampling_beats_per_s")
        ]
        shown = ["" if np.isnan(speed) else f"{speed:,.0f}" for speed in speeds]
        cells = [spread(seeds, "macro_f1", 3), spread(seeds, "detection", 3), *shown, f"{seeds[0]['parameters']:,}"]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: dict[str, list[dict]], path: Path) -> None:
    """Draw TSTR of each generator, every seed a point, beside TRTR."""
    from matplotlib.figure import Figure

    ranked = sorted((name for name in rows if name != "real"), key=lambda name: np.mean([seed["macro_f1"] for seed in rows[name]]))
    figure = Figure(figsize=(7, 0.28 * len(ranked) + 1.1), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(ranked):
        values = [seed["macro_f1"] for seed in rows[name]]
        axes.barh(place, np.mean(values), color="#9db8d9", height=0.7)
        axes.plot(values, [place] * len(values), "o", color="#1b3a5c", markersize=3)
    trtr = [seed["macro_f1"] for seed in rows["real"]]
    axes.axvspan(min(trtr), max(trtr), color="#c0504d", alpha=0.5, linewidth=0)
    axes.text(np.mean(trtr), len(ranked) - 0.3, "real beats", ha="center", va="bottom", color="#8c2f2c", fontsize=8)
    axes.set_yticks(range(len(ranked)), ranked)
    axes.set_xlabel("macro-F1 on real test beats of a classifier trained on generated ones")
    axes.set_xlim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


@click.command()
@click.option("-o", "--out", default=Path("results/generators"), type=click.Path(path_type=Path))
@click.option("--minutes", default=2.0, help="Of training, for each that trains.")
@click.option("--seeds", default=5, type=click.IntRange(min=1))
@click.option("--jobs", default=2, type=click.IntRange(min=1), help="At a time, each on one core.")
@click.option("--only", help="Only these, by comma.")
def main(out: Path, minutes: float, seeds: int, jobs: int, only: str | None) -> None:
    """Measure, and write the table and the figure."""
    folder = locate_records()
    if folder is None:
        raise click.ClickException("needs the MIT-BIH records: `ecgsynth fetch DIR`, then set ECGSYNTH_MITDB=DIR")
    (out / "work").mkdir(parents=True, exist_ok=True)
    prepare(folder, out)
    names = ["real", *(only.split(",") if only else es.GENERATORS)]
    todo = [(name, seed) for seed in range(seeds) for name in names if not (out / "work" / f"{name}-{seed}.json").is_file()]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(measure, name, seed, minutes, out): (name, seed) for name, seed in todo}
        for done, task in enumerate(as_completed(tasks), start=1):
            name, seed = tasks[task]
            (out / "work" / f"{name}-{seed}.json").write_text(json.dumps(task.result()))
            click.echo(f"{done}/{len(todo)}  seed {seed}  {name:<16} macro-F1 {task.result()['macro_f1']:.3f}", err=True)
    rows = {name: [json.loads((out / "work" / f"{name}-{seed}.json").read_text()) for seed in range(seeds)] for name in names}
    (out / "generators.json").write_text(json.dumps({"ecgsynth": es.__version__, "minutes": minutes, "rows": rows}, indent=1) + "\n")
    (out / "generators.md").write_text(table(rows) + "\n")
    draw(rows, out / "generators.png")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
