"""The command that says whether synthetic beats may be released."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgsynth.cli.console import PLACE, cache_option, emit, engine_options, force_option, json_option, note_drawn, progress
from ecgsynth.errors import EcgsynthError
from ecgsynth.steps import drain

if TYPE_CHECKING:
    from ecgsynth.audit import Verdict
    from ecgsynth.beats import Beats
    from ecgsynth.findings import Evaluation
    from ecgsynth.splits import Split


def _write_policy(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    if path is None or context.resilient_parsing:
        return
    from ecgsynth.audit import DEFAULT_POLICY
    from ecgsynth.files import atomic_path

    with atomic_path(path, force=False) as temporary:
        temporary.write_text(DEFAULT_POLICY.read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"Wrote {path}")
    context.exit()


@click.command()
@click.argument("synthetic", type=PLACE)
@click.option("--split", "split_folder", required=True, type=PLACE, help="The split the model was trained on.")
@click.option("--policy", type=PLACE, help="Limits, as TOML; those that come with ecgsynth by default.")
@click.option("--run", type=PLACE, help="Use the evaluation in this folder; it must be of these beats.")
@click.option("-o", "--output", type=PLACE, help="Keep the evaluation in this folder.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="Classifiers a row.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps of the network, cnn: 4000, or 1200 for new patients.")
@click.option(
    "--write-policy",
    type=PLACE,
    is_eager=True,
    expose_value=False,
    callback=_write_policy,
    help="Write the default policy, with its reasons, to this file, and do nothing else.",
)
@engine_options
@cache_option
@force_option
@json_option
def audit(
    synthetic: Path,
    split_folder: Path,
    policy: Path | None,
    run: Path | None,
    output: Path | None,
    seeds: int,
    steps: int | None,
    engine: Any,
    cache: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Hold SYNTHETIC against a policy; the exit code is 1 if it fails.

    \b
    Example, a release gate:
      ecgsynth audit --write-policy policy.toml
      ecgsynth audit synthetic.npz --split split/ --policy policy.toml
    """
    from ecgsynth.audit import DEFAULT_POLICY, Policy
    from ecgsynth.audit import audit as held_against
    from ecgsynth.classifiers import network_for
    from ecgsynth.evaluation import evaluate_steps
    from ecgsynth.findings import Evaluation
    from ecgsynth.splits import Split
    from ecgsynth.stored import MOST, load_beats

    limits = Policy.load(policy or DEFAULT_POLICY)
    made = load_beats(synthetic, most=MOST)
    if not made.is_synthetic:
        raise EcgsynthError(f"{synthetic} holds real beats; what is audited must be synthetic")
    if output:
        Evaluation.refuse_existing(output, force=force)
    sides = Split.load(split_folder)
    note_drawn(synthetic=made, train=sides.train, val=sides.val, test=sides.test)
    if run:
        result = _evaluation_in(run, made, sides, steps)
    else:
        steps_ = evaluate_steps(
            synthetic=made,
            train=sides.train,
            test=sides.test,
            val=sides.val,
            seeds=range(seeds),
            classifier=network_for(sides.scheme, made, steps=steps),
            rows=limits.needs["rows"],
            classes=[name for name in made.counts() if name in sides.train.counts() and name in sides.test.counts()],
            classifiers=limits.needs["classifiers"],
            cache=cache,
            engine=engine,
        )
        with progress("audit") as show:
            result = drain(steps_, lambda step: show(step.share, step.label))
    if output:
        result.save(output, force=force)
    verdicts = held_against(
        result.scores(), limits, learnt_here=result.settings["learnt_from_this_train_side"], released=list(made.counts())
    )
    failed = [verdict for verdict in verdicts if not verdict.holds]
    emit({"holds": not failed, "verdicts": [verdict.to_dict() for verdict in verdicts]}, _in_words(verdicts, failed), as_json=as_json)
    if failed:
        raise click.exceptions.Exit(1)


def _evaluation_in(run: Path, made: "Beats", sides: "Split", steps: int | None) -> "Evaluation":
    """Read an evaluation, if it is of these beats and what an audit asks for."""
    from ecgsynth.cache import content
    from ecgsynth.classifiers import network_for
    from ecgsynth.findings import Evaluation

    result = Evaluation.load(run)
    everyone = {"synthetic": made, "train": sides.train, "test": sides.test, "val": sides.val}
    if result.settings.get("contents") != {side: content(beats) for side, beats in everyone.items()}:
        raise EcgsynthError(f"the evaluation in {run} is of other beats, or of another version: leave out --run to evaluate these")
    network = network_for(sides.scheme, made, steps=steps).settings
    if (result.settings.get("protocol"), result.settings.get("by")) != ("natural", "class") or result.settings["classifier"] != network:
        raise EcgsynthError(
            f"the evaluation in {run} has another protocol, network or kind of labels than this audit: give the --steps of that one, "
            "or leave out --run to evaluate anew"
        )
    return result


def _in_words(verdicts: "list[Verdict]", failed: "list[Verdict]") -> str:
    """Set out each verdict, then what it comes to, with the reasons of the rules that are broken."""
    end = f"{len(failed)} of {len(verdicts)} fail: do not release" if failed else f"all {len(verdicts)} hold"
    reasons = "".join(f"\n  {verdict.rule.measure}: {verdict.rule.why}" for verdict in {v.rule: v for v in failed}.values())
    return "\n".join(map(str, verdicts)) + f"\n\n{end}{reasons}"
