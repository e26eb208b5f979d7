"""The course of a training in a CSV file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from ecgsynth.cli.console import note
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, discard
from ecgsynth.places import is_remote

COLUMNS = ("step", "generator_loss", "critic_loss", "score_gap", "validation_score", "detection", "best")

_LINE = re.compile(r"([0-9]+),(?:[-+.0-9a-z]*,){5}(?:True|False)\n")


class Curve:
    """Losses and scores step by step: written at once to ``FILE.part``, so that a training that is killed loses none.

    With `sync` before each checkpoint a loss of power takes none of the steps that the training need not take again. What is missing
    all the same, or damaged, is told of.

    At an address, where no line can be added to a file, they are written when the training stops.

    A step that is taken again, by a training that went back or goes on from a checkpoint, replaces what was said of it and of those
    after it.

    Parameters
    ----------
    path : Path
        The file, written by `finish`.
    checkpoint : Path
        Of the training: if it is there, what was written before is added to.
    """

    def __init__(self, path: Path, checkpoint: Path) -> None:
        self._checkpoint, self._goes_on = checkpoint, checkpoint.is_file()
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._lines: list[tuple[int, str]] = []
        self._file: TextIO | None = None
        before = self._part if self._part.is_file() else path
        if self._goes_on and before.is_file():
            for line in before.read_text(errors="replace").splitlines(keepends=True)[1:]:
                if whole := _LINE.fullmatch(line):  # the last one may be half there, and others damaged
                    self._put(int(whole[1]), line)

    def add(self, step: Any) -> None:
        """Write a `TrainingStep`."""
        line = ",".join("" if (value := getattr(step, name)) is None else str(value) for name in COLUMNS) + "\n"
        self._put(step.step, line)
        if self._goes_on:
            self._tell_of_gaps()
            self._goes_on = False
        if is_remote(self._part):
            return
        with self._writing():
            if self._file is None:
                with atomic_path(self._part, force=True) as temporary:
                    temporary.write_text(self._text())
                self._file = open(self._part, "a", buffering=1)  # noqa: SIM115  (see `close`)
            else:
                self._file.write(line)

    def sync(self) -> None:
        """Make sure that all that was added is on the disk."""
        if self._file is not None:
            with self._writing():
                os.fsync(self._file.fileno())

    def finish(self, *, force: bool = False) -> None:
        """Give the file its name, if there were any steps; what has it by now is replaced by `force` alone."""
        if not self._lines:
            return
        self.close()
        with atomic_path(self._path, force=force) as temporary:
            temporary.write_text(self._text())
        discard(self._part)

    def close(self) -> None:
        """Write no more; what is written stays for a training that can go on."""
        if self._file is not None:
            with suppress(OSError):  # of a full disk, which was told of before
                self._file.close()
        elif self._lines and is_remote(self._part) and self._checkpoint.is_file():
            with atomic_path(self._part, force=True) as temporary:
                temporary.write_text(self._text())
        if not self._checkpoint.is_file():
            discard(self._part)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EcgsynthError(f"cannot write {self._part}: {os.strerror(error.errno or 0)}. What was saved before is kept.") from error

    def _tell_of_gaps(self) -> None:
        """Say which steps were taken and are not here."""
        gaps = [(before + 1, after - 1) for before, after in pairwise([0, *(step for step, _ in self._lines)]) if after > before + 1]
        if gaps:
            told = ", ".join(f"{first:,} to {last:,}" if last > first else f"{first:,}" for first, last in gaps)
            note(f"note: {self._path} lacks steps {told}: what was written of them is lost")

    def _put(self, step: int, line: str) -> None:
        while self._lines and self._lines[-1][0] >= step:
            self._lines.pop()
        self._lines.append((step, line))

    def _text(self) -> str:
        return "".join([",".join(COLUMNS) + "\n", *(line for _, line in self._lines)])
