"""Commands that measure synthetic beats, show them, and do the whole job."""

from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import (
    PLACE,
    SEED,
    cache_option,
    emit,
    engine_options,
    force_option,
    json_option,
    note,
    note_drawn,
    progress,
    soft_interrupt,
)
from ecgsynth.cli.data import show_fetch
from ecgsynth.errors import EcgsynthError
from ecgsynth.steps import drain

_features_option = click.option(
    "--features", type=click.Choice(["shape", "shape+rr"]), help="What classifiers see of a beat: shape, or shape+rr for new patients."
)


def _families_option(default: str) -> Any:
    return click.option(
        "--families",
        default=default,
        show_default=True,
        callback=lambda context, option, text: "" if text == "none" else text,
        help="What else is measured, by comma: fidelity,physiology,privacy; or none.",
    )


@click.command()
@click.argument("synthetic", type=PLACE)
@click.option("--split", "split_folder", required=True, type=PLACE, help="The split the model was trained on.")
@click.option("-o", "--output", required=True, type=PLACE, help="The folder for the result.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="Classifiers a row; more give a spread.")
@click.option("--classifiers", default="cnn,trees,neighbors", show_default=True, help="What learns, by comma; most is said of the first.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps of the network, cnn: 4000, or 1200 for new patients.")
@click.option(
    "--protocol",
    type=click.Choice(["natural", "tts-cgan"]),
    default="natural",
    show_default=True,
    help="All beats as they are, or 800 synthetic, 200 real and 500 test beats a class, as published for that generator.",
)
@click.option("--rows", help="Only these, by comma, as in real,synthetic,real+synthetic,memorizer.")
@click.option("--classes", help="Score only these labels, by comma, as in N,S,V,F.")
@click.option("--by", type=click.Choice(["class", "symbol"]), default="class", show_default=True, help="What beats are told apart by.")
@_features_option
@_families_option("fidelity,physiology,privacy")
@engine_options
@cache_option
@force_option
@json_option
def evaluate(
    synthetic: Path, split_folder: Path, output: Path, seeds: int, steps: int | None, force: bool, as_json: bool, **which: Any
) -> None:
    """Train classifiers on SYNTHETIC, real and control beats, and test them on the real test side.

    Then fidelity, physiology and privacy of the beats are measured class by class, each number beside that of fresh real
    beats and that of copies of training beats.

    \b
    Example:
      ecgsynth evaluate synthetic.npz --split split/ -o run/ --seeds 5
    """
    from ecgsynth.classifiers import network_for
    from ecgsynth.evaluation import evaluate_steps
    from ecgsynth.findings import Evaluation
    from ecgsynth.rows import ROWS
    from ecgsynth.splits import Split
    from ecgsynth.stored import MOST, load_beats

    Evaluation.refuse_existing(output, force=force)
    families = _names(which["families"])
    made, sides = load_beats(synthetic, most=MOST), Split.load(split_folder)
    if not made.is_synthetic:
        raise EcgsynthError(f"{synthetic} holds real beats; what is evaluated must be synthetic")
    note_drawn(synthetic=made, train=sides.train, val=sides.val, test=sides.test)
    steps_ = evaluate_steps(
        synthetic=made,
        train=sides.train,
        test=sides.test,
        val=sides.val,
        seeds=range(seeds),
        rows=_names(which["rows"]) if which["rows"] else tuple(ROWS),
        classes=_names(which["classes"]) if which["classes"] else None,
        by=which["by"],
        classifier=network_for(sides.scheme, made, features=which["features"], steps=steps),
        classifiers=_names(which["classifiers"]),
        protocol=which["protocol"],
        families=families,
        cache=which["cache"],
        engine=which["engine"],
    )
    with progress("evaluate") as show:
        result = drain(steps_, lambda step: show(step.share, step.label))
    if families and not result.measured:
        note("note: no class has enough beats on every side of the split to measure more than its use")
    result.save(output, force=force)
    if not result.settings["learnt_from_this_train_side"]:
        note("note: these beats are not of a model that learnt from this split's train side; it may have seen the test side")
    emit(result.to_dict() | {"output": str(output)}, f"{result}\nWrote {output / 'evaluation.json'}", as_json=as_json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@click.command()
@click.argument("folder", metavar="RUN", type=PLACE)
@click.option("--model", type=PLACE, help="The model, for its training curves; RUN/model.safetensors if there.")
@click.option("--split", "split_folder", type=PLACE, help="The split, for its notes; RUN/split if there.")
@click.option("-o", "--output", type=PLACE, help="The page to write; RUN/report.html by default.")
@force_option
@json_option
def report(folder: Path, model: Path | None, split_folder: Path | None, output: Path | None, force: bool, as_json: bool) -> None:
    """Write one self-contained page about the evaluation in RUN.

    \b
    Example:
      ecgsynth report run/ --model model.safetensors --split split/
    """
    from ecgsynth.findings import Evaluation
    from ecgsynth.generators import load_generator
    from ecgsynth.report import save_report
    from ecgsynth.splits import read_summary
    from ecgsynth.untrusted import within

    result = Evaluation.load(folder)
    if model is None and (folder / "model.safetensors").is_file():
        model = within(folder / "model.safetensors", folder)
    where = split_folder or within(folder / "split", folder)
    summary = read_summary(where) if split_folder or (where / "split.json").is_file() else None
    history = load_generator(model).history_ if model is not None else ()
    path = output or folder / "report.html"
    save_report(path, result, history=history, split=summary, force=force)
    emit({"output": str(path)}, f"Wrote {path}", as_json=as_json)


@click.command()
@click.argument("records", required=False, type=PLACE)
@click.option("-o", "--output", type=PLACE, help="The run's folder; runs/ and the name of RECORDS by default.")
@click.option("--scheme", type=click.Choice(["beats", "patients", "dechazal"]), default="beats", show_default=True)
@click.option("--lead", default="MLII,first", show_default=True, help="Leads by preference; 'all' takes all of a record.")
@click.option("--by", type=click.Choice(["class", "symbol"]), default="class", show_default=True, help="What beats are told apart by.")
@_features_option
@click.option("-g", "--generator", default="flow", show_default=True, help="`ecgsynth train --list` names them.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="Training, at most.")
@click.option("--power", type=float, default=1.0, show_default=True, help="Class proportions of the synthetic beats: 1 natural, 0 equal.")
@click.option("--classifier-steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps of each classifier.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Classifiers a row.")
@_families_option("privacy")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of split, training and sampling.")
@click.option("--simulated", is_flag=True, help="Use simulated records, whatever else is there.")
@force_option
@json_option
def run(records: Path | None, output: Path | None, simulated: bool, force: bool, as_json: bool, **options: Any) -> None:
    """Do the whole job: beats, split, train, sample, evaluate, report.

    Without RECORDS: those that ECGSYNTH_MITDB names, else those fetched before, else MIT-BIH from
    PhysioNet, else, without a network, simulated ones. A second call goes on where one stopped.

    \b
    Example:
      ecgsynth run records/mitdb -o runs/first --minutes 10 --seeds 3
    """
    from ecgsynth.generators import GENERATORS
    from ecgsynth.pipeline import Settings, StageProgress, run_steps
    from ecgsynth.places import here

    if options["generator"] not in GENERATORS:
        raise click.BadParameter(f"{options['generator']!r} is not one of {', '.join(GENERATORS)}", param_hint="-g")
    if output is not None:
        here(output)  # or it is refused, before anything is fetched
    where = None if simulated else _find_or_fetch(records)
    output = output or Path("runs") / (where.resolve().name if where is not None else "simulated")
    settings = Settings(records=None if where is None else str(where.resolve()), **options)
    stage = ""
    with progress("run") as show, soft_interrupt(lambda: stage == "train") as asked:

        def on_step(step: StageProgress) -> None:
            nonlocal stage
            stage = step.stage
            if step.note:
                note(f"note: {step.note}")
            if asked():
                raise KeyboardInterrupt
            show(step.of_all, f"{step.stage}: {step.detail}")

        try:
            result = drain(run_steps(output, settings, force=force), on_step)
        except KeyboardInterrupt:
            note(f"stopped: what is done is kept in {output}, and the same command goes on")
            raise click.exceptions.Exit(130) from None
    page = output / "report.html"
    source = f"Records: {where}" if where else "Records: simulated"
    emit(result.to_dict() | {"report": str(page)}, f"{source}\n\n{result}\n\nReport: {page.resolve()}", as_json=as_json)


def _find_or_fetch(records: Path | None) -> Path | None:
    """Give the folder of records to use; None for simulated ones."""
    from ecgsynth.fetch import default_folder, locate_records, network_is_there

    if records is not None:
        return records
    found = locate_records()
    if found is not None:
        return found
    if not network_is_there():
        note("no records here and PhysioNet cannot be reached: going on with simulated records")
        return None
    folder = default_folder()
    note(f"fetching MIT-BIH (94 MB) from PhysioNet into {folder}")
    show_fetch(folder)
    return folder
