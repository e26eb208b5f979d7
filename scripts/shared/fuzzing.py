"""A reader under fire: each spoilt input must give a result or one clear error, soon, in little memory, and from its folder alone."""

import multiprocessing as mp
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.errors import EcgsynthError
from shared.mutations import Mutation

SECONDS = 10.0
"""In which a reader must be done with any input of some kilobytes, by the processor and by the clock on the wall."""
BYTES = 1 << 30
"""Address space that a reader may take beyond what the process has once it has read the sound input."""

RESULT, ERROR = "result", "error"
_SLOW = "takes more than"

_CLOCKS = ((signal.ITIMER_PROF, signal.SIGPROF), (signal.ITIMER_REAL, signal.SIGALRM))
_SILENT = 12 * SECONDS  # after which a process that says nothing, not even that it hangs, is ended
_OUTSIDE = ("/etc/passwd",)
_LINKED = 0.05  # of the files of a sealed folder, when they are spoilt
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo", "pickle.find_class")


class Hang(BaseException):
    """The time is up; no reader may take this for an error of its input."""


class Trespass(BaseException):
    """Something outside of the folder was touched, or something was started."""


@dataclass(frozen=True)
class Target:
    """What is read, and how its files are spoilt.

    Parameters
    ----------
    folder : Path
        Holds the sound input.
    files : mapping of str to Mutation
        Which files in it are spoilt, and how.
    read : callable
        Reads what depends on these files of the folder.
    weight : float
        Share of the mutations.
    sealed : bool
        Whether nothing outside of the folder may be read, so that its files may become links that lead out.
    """

    folder: Path
    files: Mapping[str, Mutation]
    read: Callable[[Path, list[str]], Any]
    weight: float = 1.0
    sealed: bool = False


@dataclass
class Found:
    """What came of a target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0


def tried(read: Callable[[], Any]) -> str:
    """Say what came of reading: `RESULT`, `ERROR`, or in words what must not be."""
    for clock, bell in _CLOCKS:
        signal.signal(bell, _ring)
        signal.setitimer(clock, SECONDS)
    try:
        read()
        return RESULT
    except EcgsynthError as error:
        if _for_want_of_memory(error):
            return f"asks for more than {BYTES >> 20} MiB: {error}"
        return ERROR if str(error).strip() else "an error without words"
    except Hang as error:
        return f"{_SLOW} {SECONDS:g} s ({_where(error)})"
    except Trespass as error:
        return f"trespasses: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error} ({_where(error)})"
    finally:
        for clock, _ in _CLOCKS:
            signal.setitimer(clock, 0)


def _ring(*_said: Any) -> None:
    for _, bell in _CLOCKS:
        signal.signal(bell, signal.SIG_IGN)  # the other may ring at the same moment
    raise Hang


def _for_want_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error: BaseException) -> str:
    """Say in which line of the package it was."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if "/ecgsynth/" in trace.tb_frame.f_code.co_filename:
            place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def spoil(target: Target, seed: list[int], outside: Path) -> dict[Path, bytes]:
    """Spoil one or two files in place, or let them lead to one of their kind outside; gives what they were."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(target.files), size=min(len(target.files), int(rng.choice([1, 1, 1, 2]))), replace=False)
    before = {target.folder / str(name): (target.folder / str(name)).read_bytes() for name in names}
    for path, data in before.items():
        bait = outside / f"bait{path.suffix}"
        if target.sealed and bait.is_file() and rng.random() < _LINKED:
            path.unlink()
            path.symlink_to(bait)
        else:
            path.write_bytes(target.files[path.relative_to(target.folder).as_posix()](data, rng))
    return before


def _restore(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # or what it leads to would be written
    path.write_bytes(data)


def lay(outside: Path) -> None:
    """Let the files outside be as if nobody had ever read them."""
    for bait in outside.iterdir():
        os.utime(bait, (0, 0))


def taken(outside: Path) -> list[str]:
    """Say which of them have been read since: what Arrow, safetensors and libsndfile open Python does not hear of."""
    return [bait.name for bait in outside.iterdir() if bait.stat().st_atime_ns]


def reading_shows(outside: Path) -> bool:
    """Say whether this file system keeps the times by which `taken` goes."""
    lay(outside)
    next(outside.iterdir()).read_bytes()
    return bool(taken(outside))


def _guard(outside: Path) -> None:
    """From now on, stop whatever opens a file outside, starts a program, or asks the network."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            raise Trespass(f"{event} {arguments[:2]}")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path in _OUTSIDE or path.startswith(str(outside.resolve())):
                raise Trespass(f"opens {path}")

    sys.addaudithook(watch)


def _child(target: Target, numbers: range, seed: list[int], outside: Path, connection: Any) -> None:
    """Read spoilt inputs one after another, saying what came of each."""
    warnings.simplefilter("ignore")
    target.read(target.folder, list(target.files))  # the sound input is read, and with it all that is imported late
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _guard(outside)
    lay(outside)
    for number in numbers:
        sound = spoil(target, [*seed, number], outside)
        names = [path.relative_to(target.folder).as_posix() for path in sound]
        for _ in range(2):
            begun = time.process_time()
            outcome = tried(lambda names=names: target.read(target.folder, names))
            took = time.process_time() - begun
            if not outcome.startswith(_SLOW):  # as it may be once where others keep the machine busy
                break
        if read := taken(outside):
            outcome = f"trespasses: reads {', '.join(read)}"
            lay(outside)
        for path, data in sound.items():
            _restore(path, data)
        connection.send((number, outcome, took, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)))
    connection.send(None)


def attack(target: Target, mutations: int, seed: list[int], outside: Path) -> Found:
    """Read a target so many times in a process of its own, each time spoilt anew; what ends the process is a finding too."""
    found, done = Found(), 0
    while done < mutations:
        here, there = mp.get_context("fork").Pipe(duplex=False)
        process = mp.get_context("fork").Process(target=_child, args=(target, range(done, mutations), seed, outside, there))
        files = {name: (target.folder / name).read_bytes() for name in target.files}
        process.start()
        there.close()
        done, ended = _listen(here, found, done)
        process.join(None if ended else 1)
        process.kill()
        process.join()
        if ended:
            break
        found.findings.append(f"mutation {done}: the process ends with {process.exitcode}, or hangs")
        done += 1
        for name, data in files.items():
            _restore(target.folder / name, data)
    return found


def _listen(connection: Any, found: Found, done: int) -> tuple[int, bool]:
    """Count what a process says; gives the next mutation, and whether the process came to its end."""
    while connection.poll(_SILENT):
        try:
            said = connection.recv()
        except EOFError:
            return done, False
        if said is None:
            return done, True
        number, outcome, seconds, memory = said
        done, found.seconds, found.memory = number + 1, max(found.seconds, seconds), max(found.memory, memory)
        found.outcomes[outcome if outcome in (RESULT, ERROR) else "finding"] += 1
        if outcome not in (RESULT, ERROR):
            found.findings.append(f"mutation {number}: {outcome}")
    return done, False
