"""Commands given as a user gives them for the tests of the command line."""

from click.testing import CliRunner

from ecgsynth.cli import main

FAST = ["--set", "hidden=8", "--set", "depth=1", "--set", "batch=16", "--set", "validations=1"]
QUICK_SCORES = {"_SCORE_STEPS": 5, "_SCORED": 300, "_DETECTED": 300}


def call(*arguments, ok=True):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if ok:
        assert result.exit_code == 0, result.stderr
    else:
        assert result.exit_code != 0
        assert "Traceback" not in result.stderr
        if result.exit_code == 1:
            assert len(result.stderr.strip().splitlines()) == 1
    return result
