"""Writing files so that none is ever half there: a temporary name first, then a rename."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ecgsynth.errors import EcgsynthError
from ecgsynth.places import is_remote, local_copy, place, upload, upload_begun
from ecgsynth.untrusted import conform, of_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT_WRITE = (*_FULL, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR)
_OURS = ".ecgsynth"  # how the name of a scratch folder ends
_SCRATCH = f".????????{_OURS}"  # behind a name, as `mkdtemp` gives it: none of NAME.txt is one of NAME


@contextmanager
def atomic_path(path: str | Path, *, force: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well.

    The block may make a file or a folder there. If it fails, nothing is left and `path` is as it was. At an address that holds for
    files; for folders until their upload begins, see `ecgsynth.places.upload`. What takes the name meanwhile is replaced by `force` alone.

    Parameters
    ----------
    path : path
        The final name.
    force : bool
        Replace what stands at `path`; see `refuse_existing` for what is never replaced.
    marker : str, optional
        When the block makes a folder: the file by which a folder made here before is known.

    Raises
    ------
    EcgsynthError
        If `path` may not be replaced, or cannot be written (full disk, no permission).
    """
    path = place(path)
    refuse_existing(path, force=force, marker=marker)
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="ecgsynth.") as folder:
            with _named(Path(folder) / path.name, path):
                yield Path(folder) / path.name
            _refuse(path, force=force, marker=marker)
            upload(Path(folder) / path.name, path, last=marker)
        return
    try:
        with _scratch(path) as scratch:
            temporary = scratch / path.name
            with _named(temporary, path):
                yield temporary
            sync(temporary)
            _refuse(path, force=force, marker=marker)  # what was put there meanwhile
            if force:
                _rename(temporary, path, aside=_aside(scratch, path))
            else:
                _rename_to_new(temporary, path)
            sync_name(path)
    except OSError as error:
        cut_short = error.errno is None and "requested and" in str(error)  # which is how numpy tells of a full disk
        if error.errno not in _CANNOT_WRITE and not cut_short:
            raise
        reason = os.strerror(errno.ENOSPC if error.errno is None else error.errno)
        raise EcgsynthError(f"cannot write {path}: {reason}. Nothing was left there.") from error


@contextmanager
def _named(temporary: Path, path: Path) -> Iterator[None]:
    """Let what goes wrong tell of the path that was asked for, not of the temporary one."""
    try:
        yield
    except EcgsynthError as error:  # as of a file that is written in a folder which is
        if str(temporary) not in str(error):
            raise
        raise EcgsynthError(str(error).replace(str(temporary), str(path))) from error


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Make a folder beside `path` that nobody else clears away while this process lives."""
    lock = None
    while lock is None:  # until one is locked before anybody takes it for one that was left behind
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_OURS, dir=path.parent))
        except FileNotFoundError as error:  # as of /proc, where nothing can be made
            raise EcgsynthError(f"cannot write {path}: {error.strerror}. Give another folder.") from error
        lock = _lock(scratch, anyway=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def clear_scratch(path: str | Path) -> None:
    """Remove what processes that were killed left beside `path`; what one of them was about to replace is put back.

    A folder in use is locked by its process, and the lock ends with it, however it ends.
    """
    path = place(path)
    if is_remote(path):
        return
    _clear(path.parent, glob.escape(path.name))


def clear_all_scratch(folder: str | Path) -> None:
    """Remove what processes that were killed left beside any file of a folder; see `clear_scratch`."""
    folder = place(folder)
    if not is_remote(folder):
        _clear(folder, "*")


def _clear(folder: Path, name: str) -> None:
    for scratch in folder.glob(f".{name}{_SCRATCH}"):
        lock = _lock(scratch)
        if lock is None:
            continue
        try:
            path = folder / scratch.name[1 : -len(_SCRATCH)]
            aside = _aside(scratch, path)
            if aside.exists() and not path.exists():
                os.rename(aside, path)
            shutil.rmtree(scratch, ignore_errors=True)
        finally:
            os.close(lock)


def names_in(folder: Path) -> list[str]:
    """List what is in a folder, but for what processes write there, or left when they were killed."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in names if not fnmatchcase(name, f".*{_SCRATCH}")]


def discard(path: str | Path) -> None:
    """Remove a file that is no longer needed, and what was left beside it."""
    place(path).unlink(missing_ok=True)
    clear_scratch(path)


def _lock(scratch: Path, *, anyway: bool = False) -> int | None:
    """Lock a folder until what this gives is closed; None if another process has it, it is gone, or nothing can be locked there.

    With `anyway` a file system without locks does not matter: nobody can take the folder for one that was left behind.
    """
    try:
        handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if not anyway or isinstance(error, BlockingIOError):
            os.close(handle)
            return None
    if not scratch.is_dir():  # removed by whoever had it before
        os.close(handle)
        return None
    return handle


def _aside(scratch: Path, path: Path) -> Path:
    """Say where a folder is kept for the moment in which another takes its name."""
    return scratch / f"{path.name}.replaced"


def open_itself(path: Path) -> BinaryIO:
    """Open a file to be written on, which is made if it is not there; what a link in its place leads to is not touched.

    Raises
    ------
    EcgsynthError
        If it is a link.
    """
    try:
        return open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise EcgsynthError(f"{path} is a link, and nothing is written through one: remove it") from error


def sync(path: Path) -> None:
    """Make sure that a file, or everything in a folder, is on the disk and would outlive a loss of power."""
    for part in [*path.rglob("*"), path] if path.is_dir() else [path]:
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_name(path: Path) -> None:
    """Make sure that the name of a file or folder is on the disk."""
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(temporary: Path, path: Path, aside: Path) -> None:
    if not path.is_dir():
        os.replace(temporary, path)
        return
    path.rename(aside)  # a folder cannot be renamed over a full one
    try:
        os.replace(temporary, path)
    except BaseException:
        aside.rename(path)
        raise


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a name that nothing has: no link takes one that is taken, and no folder is renamed over a full one."""
    try:
        (os.replace if temporary.is_dir() else os.link)(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # as of a file system without links
        os.replace(temporary, path)


def refuse_existing(path: str | Path, *, force: bool, marker: str | None = None) -> None:
    """Raise if `path` may not be written: called before long work, so that it is not done in vain.

    With `force` a file may be replaced, and so may an empty folder or one that holds `marker`; a
    folder of other things never is. One whose upload was cut short may be. What a process that was killed
    left beside it is cleared first.

    Raises
    ------
    EcgsynthError
        If it may not.
    """
    path = place(path)
    if not is_remote(path) and (file := next((parent for parent in path.parents if parent.is_file()), None)):
        raise EcgsynthError(f"{file} is a file, not a folder: give another name")
    clear_scratch(path)
    _refuse(path, force=force, marker=marker)


def _refuse(path: Path, *, force: bool, marker: str | None = None) -> None:
    if marker is not None and upload_begun(path, marker):
        return
    if marker is not None:
        refuse_mount(path)
    if path.is_dir() and not (marker is not None and (not any(path.iterdir()) or (path / marker).is_file())):
        raise EcgsynthError(f"{path} is a folder of other things, which is not replaced: give another name")
    if path.exists() and not force:
        raise EcgsynthError(f"{path} exists: give another name, or --force to replace it")


def refuse_mount(path: Path) -> None:
    """Raise if a folder is one in whose place no other can be put."""
    if not is_remote(path) and os.path.ismount(path):
        raise EcgsynthError(f"{path} is where a file system begins, whose name no other folder can take: name a folder in it")


def user_cache() -> Path:
    """Return the folder for what can be had again: `ecgsynth` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or ("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(cache).expanduser() / "ecgsynth"


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with place(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tensors(path: str | Path, head: dict[str, Any], tensors: "dict[str, NDArray[Any]]", *, force: bool = False) -> None:
    """Write arrays, and what is to be known of them as plain JSON, in one safetensors file.

    Raises
    ------
    EcgsynthError
        If something in them is not a number, `path` exists and `force` is not set, or it cannot be written.
    """
    with atomic_path(path, force=force) as temporary:
        temporary.write_bytes(tensor_bytes(head, tensors))


def tensor_bytes(head: dict[str, Any], tensors: "dict[str, NDArray[Any]]") -> bytes:
    """Give the bytes that `write_tensors` writes: the same for the same arrays and head.

    Raises
    ------
    EcgsynthError
        If something in them is not a number.
    """
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        names = ", ".join(broken[:3])
        raise EcgsynthError(f"what was learnt is broken: {names} holds what is not a number. Learn it again, at a lower rate")
    # One metadata key, as the order of several is not fixed and the file's hash would change.
    return bytes(save(arrays, metadata={"ecgsynth": json.dumps(head)}))


def read_tensors(path: str | Path, what: str) -> "tuple[dict[str, Any], dict[str, NDArray[Any]]]":
    """Read what `write_tensors` wrote; nothing in it is executed.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What it should be, for messages: ``"model"``.

    Returns
    -------
    head : dict
    tensors : dict of str to array

    Raises
    ------
    EcgsynthError
        If there is no such file, or it is none of ours.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    if not place(path).is_file():
        raise EcgsynthError(f"no {what} at {path}")
    try:
        with local_copy(place(path)) as here, safe_open(here, framework="numpy") as file:
            head: dict[str, Any] = conform(of_json((file.metadata() or {})["ecgsynth"]), {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        if odd := [name for name, tensor in tensors.items() if tensor.dtype.kind not in "fiub" or not np.isfinite(tensor).all()]:
            raise ValueError(f"{odd[0]} holds what is no number")
        return head, tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:  # the last for kinds numpy lacks
        raise EcgsynthError(f"{path} is no {what} of ecgsynth, or it is damaged ({type(error).__name__}: {error})") from error
