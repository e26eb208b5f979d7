"""What all commands share: one clear line for an error, progress on standard error, results on standard output."""

import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any

import click

from ecgsynth.errors import EcgsynthError
from ecgsynth.untrusted import SEEDS

_LONGEST = 2000  # letters of an error
_STORES = ("aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google")  # whose errors tell of an address
_ADDRESSES = "ecgsynth.addresses"  # where a command's own are kept
_NO_BEATS = (".csv", ".dat", ".edf", ".h5", ".hdf5", ".hea", ".json", ".mat", ".npy", ".npz", ".parquet", ".safetensors", ".tsv", ".txt")


class Commands(click.Group):
    """A group that turns every foreseeable error into one line and an exit code that is not 0."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _unwinding():
                return super().invoke(ctx)
        except EcgsynthError as error:
            raise _OneLine(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = error.filename or ", ".join(ctx.meta.get(_ADDRESSES, ()))
            raise _OneLine((error.strerror or f"{type(error).__name__}: {error}") + (f" ({where})" if where else "")) from error
        except MemoryError as error:
            raise _OneLine("not enough memory; try fewer beats at a time") from error
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt, EOFError):
            raise
        except Exception as error:
            if os.environ.get("ECGSYNTH_DEBUG"):
                raise
            if type(error).__module__.partition(".")[0] in _STORES:
                where = ", ".join(ctx.meta.get(_ADDRESSES, ()))
                raise _OneLine(f"{where or 'an address'} cannot be reached any more ({type(error).__name__}: {error})") from error
            raise _OneLine(f"unexpected {type(error).__name__}: {error}. ECGSYNTH_DEBUG=1 shows where; please report it") from error


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM end a command as an error would, so that nothing half-made is left; the exit code is the usual 143."""
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _OneLine(click.ClickException):
    def show(self, file: Any = None) -> None:
        text = " ".join(printable(self.format_message()).split())
        click.echo("ecgsynth: " + (text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."), err=True)


def printable(text: str) -> str:
    """Take out what a terminal would obey, as text of strangers' files may be shown."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


class _Place(click.ParamType):
    """A path, or an address that fsspec knows."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ecgsynth.places import is_remote, place

        found = place(value)
        if ctx is not None and is_remote(found):
            ctx.meta.setdefault(_ADDRESSES, []).append(str(found))
        return found


class _BeatsOutput(_Place):
    """Where beats are written: a file, or a folder, which none takes for a file of another kind."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if found.suffix != ".npz" and found.suffix.lower() in _NO_BEATS:
            ways = "beats become a file called .npz, or a folder, without a suffix; for CSV `ecgsynth build --format csv`"
            self.fail(f"{value}: {ways}", param, ctx)
        return found


class _ModelOutput(_Place):
    """Where what was learnt is written."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if found.suffix != ".safetensors":
            self.fail(f"{value}: the file is one of safetensors, and called so: {found.with_suffix('.safetensors')}", param, ctx)
        return found


PLACE, BEATS_OUTPUT, MODEL_OUTPUT = _Place(), _BeatsOutput(), _ModelOutput()
SEED = click.IntRange(0, SEEDS - 1)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")(command)


def force_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--force``."""
    return click.option("--force", is_flag=True, help="Replace the output if it exists.")(command)


def cache_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--cache/--no-cache``, which gives the command a `Cache`."""

    def made(context: click.Context, option: click.Parameter, wanted: bool) -> Any:
        from ecgsynth.cache import Cache
        from ecgsynth.files import user_cache

        return Cache(user_cache() / "scores" if wanted else None)

    text = "Keep numbers, and use those kept of the same beats."
    return click.option("--cache/--no-cache", default=True, show_default=True, callback=made, help=text)(command)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--engine``, ``--address`` and ``--workers``, which give the command an `Engine`, or None if none of them is given."""

    @wraps(command)
    def wrapped(engine: str, address: str | None, workers: int | None, **rest: Any) -> Any:
        from ecgsynth.engine import engine_of

        usual = engine == "local" and address is None and workers is None
        return command(engine=None if usual else engine_of(engine, workers=workers, address=address), **rest)

    options = (
        click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="What does the work."),
        click.option("--address", help="With --engine ray: of a cluster, as auto or HOST:PORT; Ray is begun here by default."),
        click.option("--workers", type=click.IntRange(min=1), help="So many at a time; more need more memory. The result is the same."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def emit(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result on standard output: for a script as JSON, or for a person."""
    click.echo(json.dumps(data) if as_json else printable(text))


def note(text: str) -> None:
    """Tell a person something on standard error."""
    click.echo(printable(text), err=True)


def note_drawn(**sides: Any) -> None:
    """Say of which sides not all beats are looked at."""
    from ecgsynth.stored import DRAWN_OF

    for side, beats in sides.items():
        if DRAWN_OF in beats.info:
            note(f"note: {len(beats):,} beats of the {side} side are taken, drawn at random")


@contextmanager
def progress(label: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar with the time left on standard error; gives a function of (share done, what is going on).

    Where standard error is no terminal, nothing is drawn.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[name]:<9}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    # A long memory: a validation score makes training pause for seconds.
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=120) as bar:
        task = bar.add_task("", total=1.0, name=label)

        def show(share: float, what: str = "") -> None:
            bar.update(task, completed=share, description=printable(what))

        yield show


@contextmanager
def soft_interrupt(soft: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C, and SIGTERM, only be asked about, so that a step ends whole; all stop at once if not `soft`.

    A second Ctrl-C stops at once; a second SIGTERM does not, as torchrun and Slurm may each send one.
    """
    asked = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if (asked and number == signal.SIGINT) or not soft():
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Set rows in columns: the first to the left, the others to the right."""
    cells = [list(head), *([f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]) for row in cells
    )


def counts_table(counts: dict[str, dict[str, int]]) -> str:
    """Set counts by class in columns, one row a set of beats."""
    from ecgsynth.labels import AAMI_CLASSES

    rows = [[name, *(count.get(c, 0) for c in AAMI_CLASSES), sum(count.values())] for name, count in counts.items()]
    return table(rows, ["", *AAMI_CLASSES, "all"])
