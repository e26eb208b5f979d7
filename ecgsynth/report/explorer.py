"""The map of beats in a report: real and synthetic ones that are alike lie near each other, and each can be looked at."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ecgsynth.beats import Beats

STEP_MV = 0.005
"""In which waveforms are set down."""

PAPER = Path(__file__).with_name("paper.js").read_text(encoding="utf-8")
"""What draws ECG paper in a page."""

SCRIPT = PAPER + Path(__file__).with_name("explorer.js").read_text(encoding="utf-8")


def script_digest(script: str = SCRIPT) -> str:
    """Give the SHA-256 by which a page's policy knows its only script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def explorer_data(real: Beats, synthetic: Beats) -> str:
    """Set beats on a map, by the two principal components of their waveforms that differ most.

    Parameters
    ----------
    real, synthetic : Beats
        Of several leads the first is drawn.

    Returns
    -------
    str
        JSON that may stand in a page: for each beat its place, kind, label and origin; and all waveforms together, 16-bit
        little-endian numbers of 0.005 mV as Base64.
    """
    sides = [real, synthetic]
    waves = np.concatenate([side.signals.reshape(len(side), side.n_leads, -1)[:, 0] for side in sides])
    steps = np.clip(np.rint(waves / STEP_MV), -32768, 32767).astype("<i2")
    labels = [side.symbols.tolist() if side.symbols.all() else side.classes.tolist() for side in sides]
    points: dict[str, Any] = {
        "kind": np.repeat([0, 1], [len(side) for side in sides]).tolist(),
        "label": [label for side in labels for label in side],
        "class": [name for side in sides for name in side.classes.tolist()],
        "origin": [text for side in sides for text in _origins(side)],
    }
    for axis, values in zip("xy", _places(waves).T, strict=True):
        points[axis] = np.round(values, 3).tolist()
    data = {
        "points": points,
        "fs": real.fs,
        "r_sample": real.r_sample,
        "n_samples": int(waves.shape[1]),
        "step": STEP_MV,
        "signals": base64.b64encode(steps.tobytes()).decode(),
        "names": ["simulated" if real.source == "simulated" else "real", "synthetic"],
    }
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, separators=(",", ":")))


def _places(waves: Any) -> Any:
    """Give two coordinates a beat, mV root mean square: (n, L) -> (n, 2)."""
    from sklearn.decomposition import PCA

    if len(waves) < 3:
        return np.zeros((len(waves), 2))
    with np.errstate(invalid="ignore"):  # of the share of no variance at all, where all beats are flat
        return PCA(2, svd_solver="covariance_eigh").fit_transform(np.asarray(waves, dtype=np.float64)) / np.sqrt(waves.shape[1])


def _origins(beats: Beats) -> list[str]:
    """Say which beat each is."""
    if beats.is_synthetic:
        return [f"number {number:,}" if number >= 0 else "" for number in beats.samples.tolist()]
    pairs = zip(beats.records.tolist(), beats.samples.tolist(), strict=True)
    return [f"record {record}, sample {sample:,}" if record and sample >= 0 else "" for record, sample in pairs]
