"""Commands that train generators, and list the models that come with ecgsynth."""

import inspect
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import MODEL_OUTPUT, PLACE, SEED, emit, force_option, json_option, note, progress, soft_interrupt
from ecgsynth.errors import EcgsynthError


@click.command()
@click.argument("split_folder", metavar="SPLIT", required=False, type=PLACE)
@click.option("-g", "--generator", "name", default="flow", show_default=True, help="Which; `--list` names them.")
@click.option("-o", "--output", type=MODEL_OUTPUT, help="The model to write (.safetensors).")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after so many minutes of training.")
@click.option("--steps", type=click.IntRange(min=1), help="Train so many steps: the budget that can be repeated exactly.")
@click.option("--seed", type=SEED, help="Same beats, seed, steps and machine: same model.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any other setting of the generator; repeatable.")
@click.option("--by", type=click.Choice(["class", "symbol"]), default="class", show_default=True, help="What beats are told apart by.")
@click.option("--at-least", default=2, show_default=True, help="Leave out labels with fewer training beats.")
@click.option("--dp", is_flag=True, help="Train with differential privacy: dp-flow in the place of flow, dp-gan in that of cgan.")
@click.option("--epsilon", type=click.FloatRange(min=0, min_open=True), help="With --dp: the odds that one beat may change.")
@click.option("--delta", type=click.FloatRange(min=0, max=1, min_open=True, max_open=True), help="With --dp: how often that may fail.")
@click.option("--dp-unit", type=click.Choice(["beat", "patient"]), help="With --dp: what is hidden.")
@click.option("--device", default="cpu", show_default=True, help="Where: cpu, cuda, cuda:1; auto takes a graphics card if there is one.")
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped, if one was.")
@click.option("--list", "list_them", is_flag=True, help="Name the generators and their settings, and stop.")
@force_option
@json_option
def train(
    split_folder: Path | None,
    name: str,
    output: Path | None,
    by: str,
    at_least: int,
    device: str,
    resume: bool,
    list_them: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a generator on the train side of SPLIT; its val side chooses the weights kept.

    Ctrl-C stops, writes the best model so far, leaves OUTPUT.checkpoint for --resume, and ends with exit
    code 130. Losses and scores go to OUTPUT.csv.

    \b
    Examples:
      ecgsynth train split/ -g flow -o model.safetensors --minutes 10
      ecgsynth train split/ -g cnn-gan -o model.safetensors --set objective=hinge --steps 2000
      ecgsynth train split/ -g flow -o model.safetensors --by symbol --at-least 50
      ecgsynth train split/ -g flow -o model.safetensors --resume
      torchrun --nproc-per-node 4 -m ecgsynth train split/ -g flow -o model.safetensors
      ecgsynth train split/ --dp --epsilon 8 --delta 1e-5 -o private.safetensors
    """
    from ecgsynth.distributed import joined
    from ecgsynth.files import discard
    from ecgsynth.generators import GENERATORS, without_rare
    from ecgsynth.splits import load_side, open_side

    if list_them:
        return _list_generators(GENERATORS, as_json)
    if split_folder is None or output is None:
        raise click.UsageError("Missing argument 'SPLIT'." if split_folder is None else "Missing option '-o' / '--output'.")
    if name not in GENERATORS:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(GENERATORS)}", param_hint="-g")
    name = _private(name, options)
    checkpoint = output.with_name(output.name + ".checkpoint")
    _check_begin(output, checkpoint, resume=resume, force=options["force"])
    generator = GENERATORS[name](**_settings(GENERATORS[name], options))
    train_beats, notes = without_rare(open_side(split_folder, "train"), by, at_least)
    validation = load_side(split_folder, "val")
    force = options["force"] or resume
    with joined() as first:
        if first:
            _tell(notes)
            if not resume:
                discard(checkpoint)
            finished = show_training(generator, train_beats, validation, output, by=by, device=device, checkpoint=checkpoint, force=force)
            _tell_of_model(generator, output, finished=finished, checkpoint=checkpoint, as_json=as_json)
        else:
            finished = _learn_beside(generator, train_beats, validation, by=by, device=device, checkpoint=checkpoint if resume else None)
    if not finished:
        raise click.exceptions.Exit(130)


def _tell_of_model(generator: Any, output: Path, *, finished: bool, checkpoint: Path, as_json: bool) -> None:
    """Say what came of a training, and what is to be known of the model."""
    from ecgsynth.generators import fall_of

    kept = next((step.validation_score for step in reversed(generator.history_) if step.best), None)
    data = {"output": str(output), "generator": generator.name, "params": generator.params, "finished": finished, "validation_score": kept}
    data["sha256"] = generator.fingerprint()
    if not finished:
        goes_on = f"; the same command with --resume goes on ({checkpoint})" if checkpoint.is_file() else ""
        note(f"stopped early: the best weights so far are kept{goes_on}")
    _tell(fall_of(generator.history_))
    if generator.holds_real_beats:
        note("note: this model holds the real training beats; guard it as you guard them")
    if promise := generator.shape_.get("privacy"):
        data["privacy"] = promise
        note(_promised(promise))
    elif generator.learns and not generator.holds_real_beats:
        note("note: its beats can tell which patients it learnt from: ask `ecgsynth audit` before you share any")
    score = f", validation macro-F1 {kept:.3f}" if kept is not None else ""
    labels = "classes" if generator.by == "class" else "symbols"
    emit(data, f"Wrote {output}: {generator.name}, {labels} {' '.join(generator.classes)}{score}", as_json=as_json)


def _check_begin(output: Path, checkpoint: Path, *, resume: bool, force: bool) -> None:
    """Raise if a training may not begin, or go on, as what is there would be lost."""
    from ecgsynth.files import refuse_existing

    if resume and not checkpoint.is_file():
        if output.exists():
            raise EcgsynthError(f"nothing to resume: {output} is there, and no {checkpoint}; --force instead of --resume begins anew")
        note(f"note: no {checkpoint} to go on from: the training begins anew")
    for path in (output, _curve_of(output)):
        refuse_existing(path, force=force or resume)
    if checkpoint.is_file() and not (resume or force):
        raise EcgsynthError(f"{checkpoint} is of a training that was stopped: --resume goes on with it, --force begins anew")


def _private(name: str, options: dict[str, Any]) -> str:
    """Give the generator that trains with differential privacy, if that is asked for; its options become settings."""
    given = {"epsilon": options.pop("epsilon"), "delta": options.pop("delta"), "unit": options.pop("dp_unit")}
    if not options.pop("dp"):
        if any(value is not None for value in given.values()):
            raise click.UsageError("--epsilon, --delta and --dp-unit go with --dp")
        return name
    private = {"flow": "dp-flow", "dp-flow": "dp-flow", "cgan": "dp-gan", "dp-gan": "dp-gan"}
    if name not in private:
        raise click.UsageError(f"{name} cannot be trained with differential privacy; flow and cgan can")
    options["settings"] = (*options["settings"], *(f"{setting}={value}" for setting, value in given.items() if value is not None))
    return private[name]


def _promised(promise: dict[str, Any]) -> str:
    """Put a guarantee in words, with what it was reached by."""
    if promise["epsilon"] is None:
        return "differential privacy: epsilon is infinite, so that nothing is promised"
    return (
        f"differential privacy: epsilon {promise['epsilon']:g} at delta {promise['delta']:g} for each {promise['unit']}; "
        f"sampling rate {promise['sampling_rate']:.4g}, noise {promise['noise']:.4g}, {promise['steps']} steps, {promise['accountant']}; "
        f"{promise['beforehand']}"
    )


def show_training(
    generator: Any, train_beats: Any, validation: Any, output: Path, *, by: str, device: str, checkpoint: Path, force: bool
) -> bool:
    """Train, showing progress; save the model and its curve. Gives whether it was not interrupted."""
    from ecgsynth.cli.curve import Curve
    from ecgsynth.distributed import any_of, wait_for_all
    from ecgsynth.files import discard

    interrupted, said, latest, step = False, 0, "", None
    with progress("train") as show, soft_interrupt() as asked, closing(Curve(_curve_of(output), checkpoint)) as curve:
        generator.before_saving = curve.sync
        with closing(generator.fit_steps(train_beats, validation, checkpoint, by=by, device=device)) as steps:
            for step in steps:
                if generator.tells_of_training:  # the losses are of the training beats
                    curve.add(step)
                said = _tell(generator.notes_, said)
                latest = step.scores_text() or latest
                if step.step % 10 == 1 or step.share >= 1:
                    show(step.share, step.losses_text() + latest if generator.tells_of_training else "")
                if any_of(asked()) and step.share < 1:
                    interrupted = True
                    break
        _tell(generator.notes_, said)
        if asked() and step is None:  # a generator without steps has nothing to keep half-way
            raise KeyboardInterrupt
        wait_for_all()  # while there is a checkpoint to go on from
        generator.save(output, force=force)
        curve.finish(force=force)
    if not interrupted:
        discard(checkpoint)
    return not interrupted


def _learn_beside(generator: Any, train_beats: Any, validation: Any, *, by: str, device: str, checkpoint: Path | None) -> bool:
    """Train in a process beside the first, which tells of it and writes files. Gives whether none was interrupted."""
    from ecgsynth.distributed import any_of, wait_for_all

    with soft_interrupt() as asked, closing(generator.fit_steps(train_beats, validation, checkpoint, by=by, device=device)) as steps:
        interrupted = any(any_of(asked()) and step.share < 1 for step in steps)
    wait_for_all()
    return not interrupted


def _tell(notes: list[str], said: int = 0) -> int:
    """Say what has not been said yet; gives how many are."""
    for text in notes[said:]:
        note(f"note: {text}")
    return len(notes)


def _curve_of(output: Path) -> Path:
    return output.with_name(output.name + ".csv")


_KINDS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": float,
    "str": str,
}
"""How what is written of a setting is read, by its annotation."""


def _settings(make: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Read ``--set`` and its shorthands by the constructor's own annotations."""
    known = {name: p for name, p in inspect.signature(make).parameters.items() if name != "name"}
    given = {name: options[name] for name in ("minutes", "steps", "seed") if options[name] is not None}
    for item in options["settings"]:
        name, equals, text = item.partition("=")
        if not equals:
            raise click.BadParameter(f"{item!r}: write NAME=VALUE", param_hint="--set")
        given[name] = text
    for name, value in given.items():
        if name not in known:
            has = f"its settings are {', '.join(known)}" if known else "it has no settings"
            by = "--set" if isinstance(value, str) else f"--{name}"
            raise click.BadParameter(f"this generator has no {name!r}; {has}", param_hint=by)
        if isinstance(value, str):
            taken = next((kind for kind in _KINDS if kind in str(known[name].annotation)), "str")
            try:
                given[name] = _KINDS[taken](value)
            except (ValueError, KeyError) as error:
                raise click.BadParameter(f"{name} takes {taken}, not {value!r}", param_hint="--set") from error
    return given


def _list_generators(generators: dict[str, Any], as_json: bool) -> None:
    from ecgsynth.generators import settings_of

    listed = {}
    for name in generators:
        try:
            listed[name] = settings_of(name)
        except EcgsynthError as error:  # of another package
            note(f"note: {error}")
    text = "\n".join(f"{name:<15} {', '.join(f'{key}={value}' for key, value in kept.items())}" for name, kept in listed.items())
    emit(listed, text, as_json=as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def models(name: str | None, as_json: bool) -> None:
    """List the models that come with ecgsynth, or show the card of one, or of a model file.

    \b
    Examples:
      ecgsynth models
      ecgsynth models mitdb
      ecgsynth models model.safetensors
    """
    from ecgsynth.models import card, shipped

    if name is not None:
        text = card(name) if name in shipped() else _card_of(name)
        emit({"name": name, "card": text}, text, as_json=as_json)
        return
    found = shipped()
    lines = [f"{key:<12} {path.stat().st_size / 1e6:4.1f} MB  {card(key).splitlines()[2]}" for key, path in found.items()]
    emit({key: str(path) for key, path in found.items()}, "\n".join(lines), as_json=as_json)


def _card_of(path: str) -> str:
    from ecgsynth.cards import model_card
    from ecgsynth.generators import load_generator

    return model_card(load_generator(path))
