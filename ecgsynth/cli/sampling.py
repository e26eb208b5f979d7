"""The command that samples from a model."""

from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import BEATS_OUTPUT, PLACE, SEED, counts_table, emit, force_option, json_option, note, progress
from ecgsynth.errors import EcgsynthError

_MOST_BYTES = 4 * 2**30  # of the waveforms of a beats file, which is made in memory


@click.command()
@click.argument("file", metavar="[MODEL]", required=False, type=PLACE)
@click.option("-m", "--model", help="A model file, or one that comes with ecgsynth: `ecgsynth models` names them.")
@click.option("-o", "--output", required=True, type=BEATS_OUTPUT, help="The beats file to write (.npz), or a folder for any number.")
@click.option("--count", "counts", multiple=True, metavar="LABEL=N", help="So many beats of a class, or symbol; repeatable.")
@click.option("--like", type=PLACE, help="In the class proportions of this beats file.")
@click.option("--balance", type=PLACE, help="As many beats as this file has, the same number of each class.")
@click.option(
    "--power", type=float, default=1.0, show_default=True, help="Class proportions to this power; 0 makes all equal, 0.5 is between."
)
@click.option("--total", type=click.IntRange(min=1), help="Beats in all; without --like, in the proportions the model learnt.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Same model, counts and seed, same beats.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0, 2**53 - 1), help="Number of the first beat of each class.")
@click.option("--lead", help="Beats of this lead only.")
@click.option("--patient", type=int, help="All beats of one synthetic patient, by number; for models trained with --set style=8.")
@click.option("--rr-before", metavar="LOW,HIGH", help="Only beats whose RR before lies between these, s.")
@click.option("--rr-after", metavar="LOW,HIGH", help="Only beats whose RR after lies between these, s.")
@click.option("--dataset", type=PLACE, help="With --index: make a beat of this dataset again, by its model or that of --model.")
@click.option("--index", type=click.IntRange(min=0), help="Number of the beat in the dataset.")
@force_option
@json_option
def sample(
    file: Path | None,
    model: str | None,
    output: Path,
    patient: int | None,
    dataset: Path | None,
    index: int | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make synthetic beats with a model: one of your own, or one that comes with ecgsynth.

    \b
    Examples:
      ecgsynth sample --model mitdb -o beats.npz --count N=5000 --count V=500
      ecgsynth sample model.safetensors -o v.npz --count V=2000 --count S=500
      ecgsynth sample model.safetensors -o synthetic.npz --like split/train.npz --seed 1
      ecgsynth sample model.safetensors -o balanced.npz --balance split/train.npz --total 10000
      ecgsynth sample --dataset dataset/ --index 12345 -o beat.npz
    """
    from ecgsynth.files import refuse_existing
    from ecgsynth.generators import Request, load_generator, sample_stored_steps
    from ecgsynth.steps import drain
    from ecgsynth.stored import HEAD

    if dataset is not None or index is not None:
        context = click.get_current_context()
        default = click.core.ParameterSource.DEFAULT
        given = [name for name in (*options, "patient") if context.get_parameter_source(name) is not default]
        if given:
            raise click.UsageError(f"--dataset says all of a beat: leave out --{given[0].replace('_', '-').removesuffix('s')}")
        return _sample_again(dataset, index, model or file, output, force=force, as_json=as_json)
    chosen = model or (str(file) if file else None)
    if chosen is None or (model and file):
        raise click.UsageError("say which model: a file, or --model and a name")
    refuse_existing(output, force=force, marker=HEAD)
    conditions = {name: options.pop(name) for name in ("seed", "first", "lead")}
    conditions |= {name: _interval(name, options.pop(name)) for name in ("rr_before", "rr_after")}
    _check_request(**options)
    generator: Any = load_generator(chosen)
    if patient is not None:
        if not hasattr(generator, "of_patient"):
            raise EcgsynthError(f"{generator.name} knows no patients: train flow with --set style=8")
        generator = generator.of_patient(patient)
    counts = _request(generator, lead=conditions["lead"], **options)
    request = Request(counts, **conditions)
    _refuse_too_large(output, sum(generator.wanted(request).values()) * generator.layout.size * 4)
    with progress("sample") as show:
        if output.suffix == ".npz":
            made: Any = drain(generator.sample_steps(request), lambda share: show(share, ""))
            made.save(output, force=force)
        else:
            made = drain(sample_stored_steps(generator, request, output, force=force), lambda share: show(share, ""))
    if generator.holds_real_beats:
        note("note: these beats are, or lie close to, real training beats; guard them as you guard those")
    data = {"output": str(output), "classes": made.counts(), "seed": conditions["seed"], "model_sha256": made.info["model_sha256"]}
    emit(data, f"{counts_table({'synthetic': made.counts()})}\nWrote {output}", as_json=as_json)


def _sample_again(dataset: Path | None, index: int | None, model: Any, output: Path, *, force: bool, as_json: bool) -> None:
    """Make a beat of a dataset again."""
    from ecgsynth.verify import address_of, make_again, model_of

    if dataset is None or index is None:
        raise click.UsageError("--dataset and --index go together")
    address = address_of(dataset, index)
    generator = model_of(dataset, model or "")
    if generator.fingerprint() != address.model_sha256:
        raise EcgsynthError(f"beat {index:,} is of another model: --model says where the file with SHA-256 {address.model_sha256} is")
    made = make_again(generator, address)
    made.save(output, force=force)
    data = {"output": str(output), "label": address.label, "seed": address.seed, "number": address.number}
    text = f"Wrote {output}: beat {address.number:,} of {address.label}, seed {address.seed}"
    emit(data, text, as_json=as_json)


def _refuse_too_large(output: Path, n_bytes: int) -> None:
    if output.suffix == ".npz" and n_bytes > _MOST_BYTES:
        raise EcgsynthError(f"{output} would have {n_bytes / 2**30:.1f} GiB, all in memory: name a folder (-o {output.with_suffix('')}/)")


def _interval(name: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no range: write LOW,HIGH in s", param_hint=f"--{name.replace('_', '-')}") from error
    if not 0 < low < high:
        raise click.BadParameter(f"{text!r}: LOW must be above 0 and below HIGH", param_hint=f"--{name.replace('_', '-')}")
    return low, high


def _check_request(*, counts: tuple[str, ...], like: Path | None, balance: Path | None, power: float, total: int | None) -> None:
    if sum(map(bool, (counts, like, balance))) > 1 or not (counts or like or balance or total):
        raise click.UsageError("say what to make by one of --count, --like, --balance and --total")
    if (total is not None and counts) or (power != 1.0 and (counts or balance)):
        raise click.UsageError("--total and --power do not go with --count, nor --power with --balance")


def _request(
    generator: Any, *, lead: str | None, counts: tuple[str, ...], like: Path | None, balance: Path | None, power: float, total: int | None
) -> dict[str, int]:
    from ecgsynth.generators import class_counts
    from ecgsynth.stored import open_beats

    asked = like or balance
    if asked is not None and "privacy" in generator.shape_ and not open_beats(asked).is_synthetic:
        note("note: as many beats of each class as that file has are no part of what the model promises; --total asks for its own counts")
    if asked is not None:
        of = _learnt(generator, open_beats(asked).counts(generator.by), lead)
        return class_counts(of, power=power if like else 0.0, total=total)
    if total is not None:
        return class_counts(generator.counts, power=power, total=total)
    wanted: dict[str, int] = {}
    for item in counts:
        name, _, number = item.rpartition("=")
        if not (number.isascii() and number.isdigit()):
            raise click.BadParameter(f"{item!r}: write LABEL=N, as in V=2000", param_hint="--count")
        wanted[name] = wanted.get(name, 0) + int(number)
    return wanted


def _learnt(generator: Any, counts: dict[str, int], lead: str | None) -> dict[str, int]:
    """Leave out the labels that a model cannot make; of none that it can, all are left, and its refusal says what it can."""
    known = {cell.label for cell in generator.cells if lead in (None, cell.lead)}
    strange = [f"{label} ({count:,})" for label, count in counts.items() if label not in known]
    if not strange or len(strange) == len(counts):
        return counts
    note(f"note: {generator.by} {', '.join(strange)} left out: this model has not learnt it" + (f" of lead {lead}" if lead else ""))
    return {label: count for label, count in counts.items() if label in known}
