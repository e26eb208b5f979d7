"""What the command line says of itself."""

import pytest
from click.testing import CliRunner

import ecgsynth
from ecgsynth.cli import main


def call(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    return result


def commands(group=main, *before):
    """Name every command, those of groups by all their words."""
    for name, command in sorted(group.commands.items()):
        yield from commands(command, *before, name) if hasattr(command, "commands") else [(*before, name)]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(words):
    text = call(*words, "--help").output
    assert "Example" in text
    assert f"ecgsynth {' '.join(words)}" in text
    assert "--json" in text


def test_version_and_completion():
    assert call("--version").output.strip() == f"ecgsynth, version {ecgsynth.__version__}"
    assert "_ECGSYNTH_COMPLETE=bash_source" in call("--help").output
