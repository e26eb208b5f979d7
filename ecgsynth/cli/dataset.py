"""Commands that make datasets to be shared, and check them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import MODEL_OUTPUT, PLACE, SEED, emit, engine_options, force_option, json_option, note, progress
from ecgsynth.steps import drain


@click.command()
@click.argument("split_folder", metavar="SPLIT", type=PLACE)
@click.option("-o", "--output", required=True, type=MODEL_OUTPUT, help="The gate to write (.safetensors).")
@click.option("--by", type=click.Choice(["class", "symbol"]), default="class", show_default=True, help="What beats are told apart by.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps of its classifier: 4000.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Same beats and seed: same gate.")
@force_option
@json_option
def gate(split_folder: Path, output: Path, by: str, steps: int | None, seed: int, force: bool, as_json: bool) -> None:
    """Learn from SPLIT what a beat must hold before it leaves.

    Limits are of its train side; a classifier that looks at labels learns from its val side. `ecgsynth build` asks the gate.

    \b
    Example:
      ecgsynth gate split/ -o gate.safetensors
    """
    from ecgsynth.classifiers import BeatClassifier
    from ecgsynth.files import refuse_existing
    from ecgsynth.gate import Gate
    from ecgsynth.splits import Split

    refuse_existing(output, force=force)
    sides = Split.load(split_folder)
    classifier = BeatClassifier(seed=seed, steps=steps) if steps else BeatClassifier(seed=seed)
    with progress("gate") as show:
        learnt = drain(Gate.learn_steps(sides.train, sides.val, by=by, classifier=classifier), lambda share: show(share, ""))
        learnt.save(output, force=force)
    passing = {
        label: 1 - float(learnt.check(sides.test.take(sides.test.labels(by) == label)).any(axis=1).mean()) for label in _both(learnt, sides)
    }
    lines = "\n".join(f"{label:<4} {100 * share:5.1f} % of the test side pass" for label, share in passing.items())
    emit({"output": str(output), "passing": passing, **learnt.summary()}, f"{lines}\nWrote {output}", as_json=as_json)


def _both(learnt: Any, sides: Any) -> list[str]:
    return [label for label in sides.test.counts(learnt.by) if label in learnt.limits]


def _recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("-m", "--model", help="A model file, or one that comes with ecgsynth."),
        click.option("--count", "counts", multiple=True, metavar="LABEL=N", help="So many beats of a class, or symbol; repeatable."),
        click.option("--lead", help="All of this lead."),
        click.option("--rr-before", metavar="LOW,HIGH", help="All with an RR before between these, s."),
        click.option("--rr-after", metavar="LOW,HIGH", help="All with an RR after between these, s."),
        click.option("--split", "splits", multiple=True, metavar="NAME=SHARE", help="A part of the dataset; all is train by default."),
        click.option("--format", "formats", multiple=True, help="wfdb, parquet, csv or npz; repeatable; all by default."),
        click.option("--seed", type=SEED, help="Same recipe and seed: same dataset."),
        click.option("--gate", "gate_file", help="A gate of `ecgsynth gate`; of models that come with ecgsynth it is known."),
        click.option("--mark", is_flag=True, help="Keep beats that the gate would hold back, and mark them."),
        click.option("--no-gate", is_flag=True, help="Ask no gate."),
        click.option("--run", help="A folder of `ecgsynth evaluate` for the card."),
        click.option("--name", help="What the dataset is called."),
        click.option("--licence", help="Its licence, by the SPDX name; CC-BY-4.0 for models that come with ecgsynth, else none."),
    )
    for option in reversed(options):  # which is the order in which help shows them
        command = option(command)
    return command


@click.command()
@click.argument("recipe_file", metavar="[RECIPE]", required=False, type=PLACE)
@click.option("-o", "--output", required=True, type=PLACE, help="The folder to write.")
@_recipe_options
@engine_options
@force_option
@json_option
def build(recipe_file: Path | None, output: Path, engine: Any, force: bool, as_json: bool, **options: Any) -> None:
    """Make a dataset to be shared, of a recipe or of options: beats in four formats, with cards and checksums.

    A build that was stopped goes on when the same command is given again, and ends with the same bytes.

    \b
    Examples:
      ecgsynth build recipe.toml -o dataset/
      ecgsynth build --model mitdb --count N=5000 --count S=2000 --count V=2000 -o dataset/
    A recipe:
      model = "mitdb"
      seed = 1
      [counts]
      N = 5000
      S = 2000
      [splits]
      train = 0.8
      test = 0.2
      [[quotas]]
      label = "S"
      count = 500
      rr_before = [0.3, 0.5]
    """
    from ecgsynth.build import build_steps
    from ecgsynth.recipe import load_recipe, read_recipe
    from ecgsynth.source import Source

    given = {name: value for name, value in options.items() if value is not None and value != () and value is not False}
    if (recipe_file is None) == (not given):
        raise click.UsageError("give a recipe, or say by options what to make: --model and --count")
    recipe = load_recipe(recipe_file) if recipe_file else read_recipe(_of_options(**given))
    source = Source.of(recipe)
    recipe = source.recipe
    for line in [*source.notes, *([] if recipe.licence else ["no licence is given yet: `licence` in the recipe, or --licence"])]:
        note(f"note: {line}")
    with progress("build") as show:
        try:
            made = drain(build_steps(source, output, force=force, engine=engine), lambda step: show(step.share, step.label))
        except KeyboardInterrupt:
            note(f"stopped: the same command goes on with what is done ({output}.part)")
            raise
    counts: dict[str, int] = {}
    for quota in recipe.quotas:
        counts[quota.label] = counts.get(quota.label, 0) + quota.count
    end = f"Wrote {output}" if made else f"{output} is there already, made of the same recipe (--force makes it again)"
    data = {"output": str(output), "made": made, "counts": counts, "recipe": recipe.to_dict()}
    emit(data, f"{_table(counts)}\n{end}", as_json=as_json)


def _table(counts: dict[str, int]) -> str:
    return "\n".join(f"{label:<4} {count:>12,}" for label, count in counts.items())


def _of_options(
    *, counts: tuple[str, ...] = (), splits: tuple[str, ...] = (), mark: bool = False, no_gate: bool = False, **rest: Any
) -> dict[str, Any]:
    """Write options as the recipe that says the same."""
    if no_gate and (mark or "gate_file" in rest):
        raise click.UsageError("--no-gate does not go together with --mark or --gate")
    conditions = {name: rest.pop(name) for name in ("lead", "rr_before", "rr_after") if name in rest}
    for name in ("rr_before", "rr_after"):
        if name in conditions:
            conditions[name] = [_number(part, name) for part in conditions[name].split(",")]
    quotas = [{"label": label, "count": _count(count), **conditions} for label, count in map(_pair, counts)]
    given = {"quotas": quotas, **rest}
    if splits:
        given["splits"] = {name: _number(share, "split") for name, share in map(_pair, splits)}
    if mark or no_gate:
        given["gate"] = "mark" if mark else "none"
    return given | ({"formats": list(rest["formats"])} if "formats" in rest else {})


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise click.UsageError(f"{text!r}: write NAME=NUMBER")
    return name, value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r} is no number of beats", param_hint="--count")
    return int(text)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no number", param_hint=f"--{name.replace('_', '-')}") from error


@click.command()
@click.argument("folder", metavar="DATASET", type=PLACE)
@click.option("-m", "--model", default="", help="Where its model is, if it does not come with ecgsynth.")
@click.option("--beats", default=20, show_default=True, type=click.IntRange(min=0), help="How many beats to make again.")
@json_option
def verify(folder: Path, model: str, beats: int, as_json: bool) -> None:
    """Check the files of DATASET, and make some of its beats again; the exit code is 1 if something is not as it was.

    \b
    Example:
      ecgsynth verify dataset/ --beats 100
    """
    from ecgsynth.verify import verify_steps

    with progress("verify") as show:
        found = drain(verify_steps(folder, model=model, beats=beats), lambda step: show(step.share, step.label))
    lines = list(found.problems) or [f"{found.files} files are as they were"]
    if found.same or found.near:
        lines.append(
            f"{found.same + found.near} beats made again are the same" + (f", {found.near} but for rounding" if found.near else "")
        )
    if found.note:
        lines.append(f"no beats were made again: {found.note}")
    emit({"holds": not found.problems, **found._asdict()}, "\n".join(lines), as_json=as_json)
    if found.problems:
        raise click.exceptions.Exit(1)
