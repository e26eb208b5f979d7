"""The command line: each command parses, calls the library, and prints."""

import click

import ecgsynth
from ecgsynth.cli.audit import audit
from ecgsynth.cli.console import Commands
from ecgsynth.cli.data import beats, fetch, split
from ecgsynth.cli.dataset import build, gate, verify
from ecgsynth.cli.models import models, train
from ecgsynth.cli.results import evaluate, report, run
from ecgsynth.cli.review import review
from ecgsynth.cli.sampling import sample

COMPLETION = """\b
Shell completion, for bash (zsh and fish likewise):
  eval "$(_ECGSYNTH_COMPLETE=bash_source ecgsynth)"
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=COMPLETION)
@click.version_option(ecgsynth.__version__, prog_name="ecgsynth")
def main() -> None:
    """Make labelled synthetic ECG heartbeats from your records, and prove what they are worth.

    \b
    Example, all in one go:
      ecgsynth run records/ -o runs/first
    The same, step by step:
      ecgsynth beats records/ -o beats.npz
      ecgsynth split beats.npz -o split/
      ecgsynth train split/ -g flow -o model.safetensors
      ecgsynth sample model.safetensors --like split/train.npz -o synthetic.npz
      ecgsynth evaluate synthetic.npz --split split/ -o run/
      ecgsynth report run/
      ecgsynth audit synthetic.npz --split split/
    A dataset to be shared:
      ecgsynth build recipe.toml -o dataset/
    """


for _command in (fetch, beats, split, train, sample, models, evaluate, audit, report, gate, build, verify, review, run):
    main.add_command(_command)
