"""Training and sampling speed of each generator, and neurokit2's simulator, in one run on one machine.

    python scripts/bench_generators.py --only flow,flow-gan,cnn-gan,mitdb,mitdb-gan --beats 100000 --whole flow,flow-gan -o results/speed
    python scripts/bench_generators.py --device cuda --batches 512,4096,16384 --only flow,cnn-gan

`--device` also trains on a graphics card, side by side. `--whole` also trains these with their defaults to the end, and tells
the minutes. All cores are used: the machine must be idle. Uses simulated beats; the models of the package are those of real ones.
"""

import time
from pathlib import Path
from typing import Any

import click
import neurokit2
from shared import chosen, machine, markdown, write

import ecgsynth as es
from ecgsynth.generators import Generator, settings_of
from ecgsynth.models import shipped

_WARM = 5  # steps that are not timed


def training_speed(name: str, split: es.Split, steps: int, device: str = "cpu", **settings: int) -> float | None:
    """Beats a second in training, with the start left out; None where there are no steps."""
    make = es.GENERATORS[name]
    if "steps" not in settings_of(name):
        return None
    generator = make(steps=steps, **settings)
    marks = [(time.perf_counter(), step.drawn) for step in generator.fit_steps(split.train, device=device)][_WARM:]
    return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])


def quickly_fitted(name: str, split: es.Split) -> Generator:
    """Give a generator that has learnt for one step, if it takes steps."""
    make = es.GENERATORS[name]
    return (make(steps=1) if "steps" in settings_of(name) else make()).fit(split.train)


def sampling_speed(generator: Generator, split: es.Split, beats: int) -> float:
    """Beats a second, in the proportions of the training side."""
    counts = es.class_counts(split.train, total=beats)
    generator.sample({"N": 10})
    begun = time.perf_counter()
    made = generator.sample(counts, seed=1)
    return len(made) / (time.perf_counter() - begun)


def training_minutes(name: str, split: es.Split, device: str = "cpu") -> float:
    """Minutes of a whole training with the defaults, with its looks at validation beats."""
    begun = time.perf_counter()
    es.GENERATORS[name]().fit(split.train, split.val, device=device)
    return (time.perf_counter() - begun) / 60


def neurokit_speed(seconds: int) -> float:
    """Beats a second of `ecg_simulate` (ECGSYN), 70 beats a minute at 360 Hz, N alone."""
    neurokit2.ecg_simulate(duration=10, sampling_rate=360, heart_rate=70, method="ecgsyn", random_state=0)
    begun = time.perf_counter()
    neurokit2.ecg_simulate(duration=seconds, sampling_rate=360, heart_rate=70, method="ecgsyn", random_state=1)
    return seconds * 70 / 60 / (time.perf_counter() - begun)


def speeds(
    name: str, split: es.Split, *, steps: int, beats: int, base: float, devices: list[tuple[str, dict[str, int]]]
) -> list[list[str]]:
    """Give the rows of a generator, or of a model that comes with the package."""
    if name in shipped():
        sampling = sampling_speed(es.load_generator(name), split, beats)
        return [[f"`{name}`, in the package", "", f"{sampling:,.0f}", f"{sampling / base:,.0f}"]]
    training, sampling = training_speed(name, split, steps), sampling_speed(quickly_fitted(name, split), split, beats)
    rows = [[f"`{name}`", f"{training:,.0f}" if training else "no steps", f"{sampling:,.0f}", f"{sampling / base:,.0f}"]]
    make: Any = es.GENERATORS[name]
    for device, settings in devices if training and getattr(make, "func", make).takes_cards else ():
        there = training_speed(name, split, steps, device, **settings)
        batch = f", batch {settings['batch']}" if settings else ""
        rows.append([f"`{name}` on {device}{batch}", f"{there or 0:,.0f}", "", ""])
    return rows


@click.command()
@click.option("--steps", default=60, type=click.IntRange(min=10), help="Training steps timed.")
@click.option("--beats", default=20_000, type=click.IntRange(min=10), help="Beats sampled.")
@click.option("--seconds", default=120, type=click.IntRange(min=10), help="Of ECG that neurokit2 simulates.")
@click.option("--only", help="Generators and models of the package, by comma; all if not given.")
@click.option("--device", help="Train there, too: cuda.")
@click.option("--batches", default="", help="Batches to take there, by comma, beside the default.")
@click.option("--whole", help="Generators to train to the end, by comma.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for the table: speed.md.")
def main(
    steps: int, beats: int, seconds: int, only: str | None, device: str | None, batches: str, whole: str | None, out: Path | None
) -> None:
    """Print the table."""
    split = es.split_beats(es.extract_beats(es.simulate_records(n_patients=12, minutes=10), source="simulated"))
    base = neurokit_speed(seconds)
    rows = [["neurokit2", "", f"{base:,.0f}", "1"]]
    devices: list[tuple[str, dict[str, int]]] = (
        [(device, {}), *((device, {"batch": int(of)}) for of in batches.split(",") if of)] if device else []
    )
    for name in chosen(only, [*es.GENERATORS, *shipped()]):
        rows += speeds(name, split, steps=steps, beats=beats, base=base, devices=devices)
        click.echo(" ".join(rows[-1]), err=True)
    text = markdown(["", "training beats/s", "sampling beats/s", "of neurokit2's"], rows) + f"\nOn {machine()}.\n"
    for name in chosen(whole, es.GENERATORS) if whole else ():
        took = [f"{training_minutes(name, split, where):.1f} minutes on {where}" for where in ("cpu", *([device] if device else []))]
        text += f"\nA whole training of `{name}` took {', '.join(took)}.\n"
        click.echo(text.splitlines()[-1], err=True)
    if out:
        write(out / "speed.md", text)
    click.echo(text)


if __name__ == "__main__":
    main()
