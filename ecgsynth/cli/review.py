"""Commands for a blind review by people who read ECGs."""

import math
from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import PLACE, SEED, emit, force_option, json_option, note


@click.group()
def review() -> None:
    """Let people judge beats who do not know which are synthetic, and score what they say."""


@review.command()
@click.argument("synthetic", metavar="DATASET", type=PLACE)
@click.option("--real", required=True, type=PLACE, help="Real beats (.npz) that the model did not learn from.")
@click.option("-o", "--output", required=True, type=PLACE, help="The page to write (.html).")
@click.option("--key", type=PLACE, help="Where the key goes; OUTPUT.key.json if not given. Keep it from reviewers.")
@click.option("-n", "items", default=60, show_default=True, type=click.IntRange(min=4), help="How many beats to judge.")
@click.option("--strips", default=0.25, show_default=True, type=click.FloatRange(0, 1), help="Share of them shown among neighbours.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Same beats and seed: same page.")
@force_option
@json_option
def make(
    synthetic: Path, real: Path, output: Path, key: Path | None, items: int, strips: float, seed: int, force: bool, as_json: bool
) -> None:
    """Write a page with real beats and beats of DATASET, a dataset or a beats file, in random order.

    \b
    Example:
      ecgsynth review make dataset/ --real split/test.npz -n 60 -o review.html
    """
    from ecgsynth.build import HEAD
    from ecgsynth.errors import EcgsynthError
    from ecgsynth.files import sha256
    from ecgsynth.review import make_review
    from ecgsynth.stored import MOST, load_beats
    from ecgsynth.verify import beats_of

    dataset = (synthetic / HEAD).is_file()
    made = beats_of(synthetic) if dataset else load_beats(synthetic, most=MOST)
    others = load_beats(real, most=MOST)
    if not made.is_synthetic or others.is_synthetic:
        raise EcgsynthError(f"{synthetic} must hold synthetic beats and {real} real ones")
    key = key or output.with_name(output.name + ".key.json")
    found = make_review(synthetic=made, real=others, items=items, strips=strips, seed=seed)
    if dataset:
        found.key["dataset_sha256"] = sha256(synthetic / HEAD)
    found.save(output, key, force=force)
    count = len(found.key["items"])
    if others.source == "real":
        note(f"note: {output} shows beats of real people: pass it on only as you would pass on their records")
    text = f"Wrote {output}: {count} beats of lead {found.key['lead']}. The key is in {key}: keep it from those who review"
    emit({"output": str(output), "key": str(key), "items": count}, text, as_json=as_json)


@review.command()
@click.argument("answers", nargs=-1, required=True, type=PLACE)
@click.option("--key", required=True, type=PLACE, help="The key that was written with the page.")
@click.option("--dataset", type=PLACE, help="Add what was found to the data card of this dataset.")
@json_option
def score(answers: tuple[Path, ...], key: Path, dataset: Path | None, as_json: bool) -> None:
    """Compare ANSWERS, exported by one or more reviewers, with the key.

    \b
    Example:
      ecgsynth review score answers-ann.json answers-ben.json --key review.html.key.json --dataset dataset/
    """
    from ecgsynth.build import HEAD
    from ecgsynth.errors import EcgsynthError
    from ecgsynth.files import sha256
    from ecgsynth.review import add_to_card, read_answers, read_key, score_review

    known = read_key(key)
    if dataset and (not (dataset / HEAD).is_file() or known.get("dataset_sha256") != sha256(dataset / HEAD)):
        raise EcgsynthError(f"the page of this key was not made of the beats in {dataset}: its card is not for what was found here")
    found = score_review([read_answers(path, known) for path in answers], known)
    if dataset:
        add_to_card(dataset, found)
    data = {"reviewers": [judged._asdict() for judged in found]}
    text = "\n\n".join("\n".join([judged.reviewer, *judged.lines()]) for judged in found)
    emit(_without_nan(data), text + (f"\n\nAdded to {dataset / 'README.md'}" if dataset else ""), as_json=as_json)


def _without_nan(data: Any) -> Any:
    """Give None for what is not a number."""
    if isinstance(data, dict):
        return {name: _without_nan(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data
