"""Download of the MIT-BIH Arrhythmia Database from PhysioNet, each file checked against its published SHA-256."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from importlib import resources
from pathlib import Path
from typing import BinaryIO, NamedTuple

import requests
import urllib3

from ecgsynth.errors import EcgsynthError
from ecgsynth.files import open_itself, sha256, sync, sync_name, user_cache
from ecgsynth.places import here

PHYSIONET_MITDB = "https://physionet.org/files/mitdb/1.0.0/"

_AT_ONCE = 4  # files
_TIMEOUTS = (10.0, 20.0)  # seconds: for a connection, for the next bytes
_PATIENCE = 60.0  # seconds in which a server must have begun to answer, and then have sent something worth waiting for,
_WORTH = 60_000  # bytes
_MOST = 16 << 20  # bytes of a file: what is longer is none of the database, whose longest has 2 MB
_PIECE = 1 << 15  # bytes taken from a connection at a time
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each new try after a dropped connection


class FetchStep(NamedTuple):
    """One file is in place: its name, files done and in all, bytes of the files done, whether it was there before."""

    name: str
    done: int
    total: int
    n_bytes: int
    kept: bool


def iter_fetch(folder: str | Path, *, base_url: str = PHYSIONET_MITDB, sums: Mapping[str, str] | None = None) -> Iterator[FetchStep]:
    """Download the records, a few files at a time, and tell of each file as it is finished.

    A right file that is there is kept and a half one is continued, so a call that was stopped goes on
    where it stopped. A file gets its name only once its SHA-256 is right.

    Parameters
    ----------
    folder : path
        Where the files go; made if it is not there. Files of these names with other content are replaced.
    base_url : str
        The address that holds the files.
    sums : mapping of str to str, optional
        File name -> SHA-256 of the files to have. Those of MIT-BIH if not given.

    Yields
    ------
    FetchStep
        In the order in which files are finished.

    Raises
    ------
    EcgsynthError
        If the server cannot be reached or refuses, a file is wrong twice, or the folder cannot be written.
    """
    folder = here(folder)
    sums = published_sums() if sums is None else sums
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EcgsynthError(f"cannot make the folder {folder}: {error.strerror}. Give another one.") from error
    stop = threading.Event()
    n_bytes = 0
    with requests.Session() as session, ThreadPoolExecutor(_AT_ONCE) as pool:
        session.headers["Accept-Encoding"] = "identity"  # a range of a packed file could not be appended
        address = base_url.rstrip("/")
        jobs = {pool.submit(_obtain, session, f"{address}/{name}", folder / name, sums[name], stop): name for name in sums}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                size, kept = job.result()
                n_bytes += size
                yield FetchStep(jobs[job], done, len(jobs), n_bytes, kept)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def fetch(folder: str | Path, *, base_url: str = PHYSIONET_MITDB, sums: Mapping[str, str] | None = None) -> Path:
    """Download the records, as `iter_fetch` does, and return their folder."""
    for _ in iter_fetch(folder, base_url=base_url, sums=sums):
        pass
    return Path(folder)


def published_sums() -> dict[str, str]:
    """Return file name -> SHA-256 of the 144 files of the 48 records, as PhysioNet publishes them."""
    lines = (resources.files("ecgsynth") / "data" / "mitdb-1.0.0.sha256").read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def is_complete(folder: str | Path, *, sums: Mapping[str, str] | None = None) -> bool:
    """Tell whether every file is there with the right SHA-256."""
    sums = published_sums() if sums is None else sums
    return all(_matches(Path(folder) / name, digest) for name, digest in sums.items())


def network_is_there(url: str = PHYSIONET_MITDB, seconds: float = 8.0) -> bool:
    """Tell whether `url` answers within `seconds`; never takes longer, even where the name cannot be looked up."""
    answers: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(Exception), requests.get(url, stream=True, timeout=seconds) as response:
            answers.append(response.ok)

    asking = threading.Thread(target=ask, daemon=True)  # no timeout reaches the name look-up: leave it behind
    asking.start()
    asking.join(seconds)
    return any(answers)


def default_folder() -> Path:
    """Return where the records are kept unless the caller says otherwise: `ecgsynth/mitdb` in the user's cache."""
    return user_cache() / "mitdb"


def locate_records() -> Path | None:
    """Find records on this machine: the folder that ECGSYNTH_MITDB names, else the default one if complete.

    None if there are none yet. A name in ECGSYNTH_MITDB that is no folder with records raises EcgsynthError.
    """
    named = os.environ.get("ECGSYNTH_MITDB")
    if named:
        folder = Path(named).expanduser()
        if not (folder.is_dir() and any(folder.glob("*.hea"))):
            raise EcgsynthError(f"ECGSYNTH_MITDB names {folder}, which is no folder with records (.hea files): correct it or unset it")
        return folder
    return default_folder() if is_complete(default_folder()) else None


def _obtain(session: requests.Session, url: str, path: Path, digest: str, stop: threading.Event) -> tuple[int, bool]:
    """Have one file in place; return its size in bytes and whether it was there before."""
    part = path.with_name(f"{path.name}.part")
    try:
        if _matches(path, digest):
            return path.stat().st_size, True
        for _ in range(2):
            _download(session, url, part, digest, stop)
            if _matches(part, digest):
                size = part.stat().st_size
                sync(part)
                os.replace(part, path)
                sync_name(path)
                return size, False
            part.unlink()
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EcgsynthError(f"cannot write {path}: {error.strerror or error}. Make room or give another folder.") from error
    raise EcgsynthError(f"{path.name}: {url} gave other content than published, twice. Is there a proxy or a sign-in page in between?")


def _download(session: requests.Session, url: str, part: Path, digest: str, stop: threading.Event) -> None:
    """Fill `part`, continuing what it holds; try again when the connection drops."""
    for pause in (*_PAUSES, None):
        if _matches(part, digest):
            return
        try:
            return _request(session, url, part, stop)
        except requests.RequestException as error:
            reason, passing = _diagnose(error)
            if pause is None or not passing:
                raise EcgsynthError(f"{url}: {reason}") from error
            if stop.wait(pause):
                raise CancelledError from error


def _diagnose(error: requests.RequestException) -> tuple[str, bool]:
    """Say what went wrong and the way out, and whether another try may help."""
    if isinstance(error, ValueError):
        return "this is no web address", False
    if isinstance(error, requests.TooManyRedirects):
        return "the server sends from address to address. Is the address of the records right?", False
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status < 500 and status != 429:
            return f"the server answers {status}. Is the address of the records right?", False
        return f"the server answers {status}. Try later: what has come is kept, and the same call continues.", True
    return f"no connection, or it broke ({type(error).__name__}). What has come is kept: with a network, the same call continues.", True


def _request(session: requests.Session, url: str, part: Path, stop: threading.Event) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _answer(session, url, headers) as response:
        if start and response.status_code == 416:  # nothing lies behind what is here
            return
        response.raise_for_status()
        response.raw.enforce_content_length = True  # urllib3 1 lets a cut body pass unless told
        goes_on = response.status_code == 206
        if goes_on and not _is_rest(response, start):
            part.unlink(missing_ok=True)  # so that the next try asks for all of it
            raise requests.ConnectionError("the server sends another part than was asked for")
        with open_itself(part) as file:
            _refuse_two(file, part)
            if goes_on:
                file.seek(0, os.SEEK_END)
            else:
                file.truncate()
            for piece in _pieces(response):
                if stop.is_set():
                    raise CancelledError
                file.write(piece)
                if file.tell() > _MOST:
                    file.truncate(0)
                    raise EcgsynthError(f"{url}: what comes is longer than any file of the database. Is the address of the records right?")


def _answer(session: requests.Session, url: str, headers: Mapping[str, str]) -> requests.Response:
    """Give an answer of which the header is there; a server that takes too long over it, byte by byte or from place to place, is left."""
    answer: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            answer.set_result(session.get(url, headers=headers, stream=True, timeout=_TIMEOUTS))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # no timeout is of a header as a whole: leave it behind
    try:
        return answer.result(_PATIENCE)
    except TimeoutError as error:
        answer.add_done_callback(_close)
        raise requests.ConnectionError("the server is too slow") from error


def _close(late: Future[requests.Response]) -> None:
    """Close an answer for which nobody waits any more, if it is one."""
    if late.exception() is None:
        late.result().close()


def _is_rest(response: requests.Response, start: int) -> bool:
    """Say whether a part of a file is the one after the first `start` bytes, as they are."""
    told = response.headers.get("Content-Range")
    packed = response.headers.get("Content-Encoding", "identity") != "identity"
    return not packed and (told is None or told.replace("=", " ").split()[-1].startswith(f"{start}-"))


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Give a body as it comes, so that what came before the connection broke is kept; a server that is too slow counts as broken."""
    read = getattr(response.raw, "read1", response.raw.read)  # urllib3 1 waits until a piece is full
    since, came = time.monotonic(), 0
    try:
        while piece := read(_PIECE, decode_content=True):
            yield piece
            came += len(piece)
            if time.monotonic() > since + _PATIENCE:
                if came < _WORTH:
                    raise requests.ConnectionError("the server is too slow")
                since, came = time.monotonic(), 0
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _refuse_two(file: BinaryIO, part: Path) -> None:
    """Raise if another process writes this file; the lock ends when it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EcgsynthError(f"another process is fetching into {part.parent}: wait for it, or give another folder") from error
    except OSError:
        return  # nothing can be locked there


def _matches(path: Path, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except OSError:
        return False
