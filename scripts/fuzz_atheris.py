"""Let atheris, which watches what the code does, look for inputs that `scripts/fuzz.py` does not come upon.

    pip install atheris
    python scripts/fuzz_atheris.py headers -- -max_total_time=300
    python scripts/fuzz_atheris.py annotations -- -runs=100000 -max_len=4096

It is not installed with ecgsynth. Each input takes the place of one file of the target (`--file` says of which), and must give a
result or one clear error, as there. Atheris stops at the first that does not, and leaves it in the current folder.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from pathlib import Path

import click


def _found(outcome: str) -> None:
    from shared.fuzzing import ERROR, RESULT

    if outcome not in (RESULT, ERROR):
        raise RuntimeError(outcome)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="TARGET")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--file", "file_name", help="The file whose place is taken; the first of the target if not given.")
def main(name: str, options: tuple[str, ...], file_name: str | None) -> None:
    """Fuzz TARGET of `scripts/fuzz.py`; OPTIONS are those of libFuzzer."""
    try:
        import atheris
    except ImportError as error:
        raise click.ClickException("needs atheris: pip install atheris") from error
    with atheris.instrument_imports(include=["ecgsynth", "wfdb.io"]):  # whose branches are watched
        from shared.fuzzing import tried
        from shared.targets import make_targets

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MPLCONFIGDIR"] = folder
        targets = make_targets(Path(folder) / "inputs")
        if name not in targets:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(targets)}", param_hint="TARGET")
        target = targets[name]
        names = [file_name or next(iter(target.files))]
        (Path(folder) / "corpus").mkdir()
        for number, sound in enumerate(target.files):
            (Path(folder) / "corpus" / str(number)).write_bytes((target.folder / sound).read_bytes())

        def once(data: bytes) -> None:
            (target.folder / names[0]).write_bytes(data)
            _found(tried(lambda: target.read(target.folder, names)))

        atheris.Setup([sys.argv[0], *options, str(Path(folder) / "corpus")], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
