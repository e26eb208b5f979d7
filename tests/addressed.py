"""What tests of addresses share: commands that must end well, and what is in a folder."""

from click.testing import CliRunner

from ecgsynth.cli import main
from ecgsynth.places import place

FEW = ("--model", "mitdb", "--count", "N=20")


def run(*words):
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def contents(folder):
    """Give what is in a folder, by name."""
    return {path.name: path.read_bytes() for path in place(folder).iterdir() if path.is_file() and path.name != "plan.json"}
