"""What was measured once is kept: numbers by the content of the beats they are of, so that only what is new takes time."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ecgsynth.beats import Beats
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path
from ecgsynth.untrusted import of_json

_PACKAGE = Path(__file__).parent
_COMPUTES = ("numpy", "scipy", "scikit-learn", "torch", "neurokit2", "dtaidistance")


class Cache:
    """A folder of numbers, each under the hash of all that it depends on.

    It holds no beats and no names of patients: counts and scores alone. A change of the package's code, or of
    what it computes with, makes everything new.

    Parameters
    ----------
    folder : path, optional
        Where it is; nothing is kept without.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else None

    def read(self, key: Mapping[str, Any]) -> Any:
        """Give what was kept under a key; None if nothing was, or it is damaged."""
        if self.folder is None:
            return None
        try:
            return of_json(self._path(key).read_text())
        except (OSError, ValueError):
            return None

    def write(self, key: Mapping[str, Any], value: Any) -> None:
        """Keep plain JSON under a key."""
        if self.folder is None:
            return
        with suppress(OSError, EcgsynthError), atomic_path(self._path(key), force=True) as temporary:  # a full disk costs time alone
            temporary.write_text(json.dumps(value))

    def of(self, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Give what was kept under a key, else make it and keep it."""
        found = self.read(key)
        if found is None:
            found = make()
            self.write(key, found)
        return found

    def _path(self, key: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(json.dumps({**key, "code": _code()}, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"


def content(beats: Beats) -> str:
    """Return the SHA-256 of everything that is known of each beat, to the last bit."""
    digest = hashlib.sha256(repr((beats.fs, beats.r_sample, beats.signals.shape)).encode())
    digest.update(beats.signals.tobytes())
    for name in sorted(beats.columns):
        digest.update(getattr(beats, name).tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return the SHA-256 of the package's source and weights, and of the versions of what it computes with."""
    files = sorted(path for pattern in ("*.py", "*.safetensors") for path in (_PACKAGE.rglob(pattern)) if path.parent.name != "models")
    versions = repr([version(name) for name in _COMPUTES])
    return hashlib.sha256(versions.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()
