"""How many of the changes that were made to the lines behind every published number are noticed by a test, module by module.

    make mutants

`mutmut run` changes one thing at a time in the modules that `pyproject.toml` names, and runs the tests that come by it; it goes on if it
was stopped. This reads what it found. Killed are changes by which a test fails, or runs into a time limit; all others survive, those that
no test comes by, too. The exit code is 1 if fewer than 80 % are killed in the whole or half in a module, or some are not tried yet.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click
from shared import markdown, write

import ecgsynth as es

LEAST = 0.8  # of all
LEAST_OF_ONE = 0.5  # of a module
KILLED = {"killed", "timeout", "segfault"}
HEADS = ("module", "changes", "killed", "of these by a time limit", "survived", "of these run by no test", "killed, %")

Outcomes = Counter[str]


def outcomes(folder: Path, statuses: Mapping[int | None, str]) -> dict[str, Outcomes]:
    """Read what became of each module's changes; `statuses` says what mutmut means by an exit code."""
    found = {}
    for path in sorted(folder.rglob("*.py.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"].values()
        if codes:
            found[path.relative_to(folder).as_posix().removesuffix(".meta")] = Counter(statuses[code] for code in codes)
    return found


def killed(found: Outcomes) -> int:
    """Count the changes that a test notices."""
    return sum(found[status] for status in KILLED)


def cells(name: str, found: Outcomes) -> list[str]:
    """Set a row."""
    total, dead = found.total(), killed(found)
    numbers = (total, dead, found["timeout"], total - dead, found["no tests"])
    return [name, *(f"{number:,}" for number in numbers), f"{100 * dead / total:.0f}"]


def failures(found: dict[str, Outcomes]) -> list[str]:
    """Say what is too little."""
    everything = sum(found.values(), Counter[str]())
    if not everything:
        return ["nothing was changed: `mutmut run` comes first"]
    waiting = everything["not checked"] + everything["check was interrupted by user"]
    few = [f"{name}: {killed(own) / own.total():.0%} killed" for name, own in found.items() if _below(own, LEAST_OF_ONE)]
    few += [f"{killed(everything) / everything.total():.1%} of all killed, less than {LEAST:.0%}"] if _below(everything, LEAST) else []
    return ([f"{waiting:,} changes are not tried yet: `mutmut run` goes on"] if waiting else []) + few


def _below(found: Outcomes, share: float) -> bool:
    return killed(found) < share * found.total()


@click.command()
@click.option("--mutants", default=Path("mutants"), type=click.Path(path_type=Path), help="The folder of mutmut.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="A folder for what was found: mutants.json and mutants.md.")
def main(mutants: Path, out: Path | None) -> None:
    """Print a table."""
    from mutmut.stats import status_by_exit_code

    found = outcomes(mutants, status_by_exit_code)
    rows = [cells(f"`{name}`", own) for name, own in found.items()]
    rows += [cells("all", sum(found.values(), Counter[str]()))] if found else []
    if out:
        write(out / "mutants.json", json.dumps({"ecgsynth": es.__version__, "modules": found}, indent=1) + "\n")
        write(out / "mutants.md", markdown(HEADS, rows))
    click.echo(markdown(HEADS, rows))
    if wrong := failures(found):
        raise click.ClickException("\n".join(wrong))


if __name__ == "__main__":
    main()
