"""The page of a blind review: beats and strips, real and synthetic, in random order, and a key that stays behind."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgsynth import places
from ecgsynth.beats import Beats, refuse_impossible
from ecgsynth.errors import EcgsynthError
from ecgsynth.files import atomic_path, clear_scratch, refuse_existing, sync
from ecgsynth.labels import AAMI_CLASSES, CLASS_NAMES
from ecgsynth.report.explorer import PAPER, script_digest
from ecgsynth.strips import arrange, draw

FORMAT = 1
REAL, SYNTHETIC = "real", "synthetic"

_STEP_MV = 0.005  # of MIT-BIH's converter; both kinds are shown in it, so that neither is told by its digits
_STRIP_S = 3.0  # shown to either side of the beat that is asked about
_COMPANY = (300, 12)  # beats that a strip is set from: of the most frequent class, and of each other one
_MARGIN = 0.5  # mV of paper above and below


@dataclass(frozen=True)
class Review:
    """A page that tells nothing, and the key to it.

    Parameters
    ----------
    html : str
        The page.
    key : dict
        What each item is: plain JSON.
    """

    html: str
    key: dict[str, Any]

    def save(self, path: str | Path, key_path: str | Path, *, force: bool = False) -> None:
        """Write the key and then, in another file, the page, of which none is without a key.

        Raises
        ------
        EcgsynthError
            If one of them exists and `force` is not set, or cannot be written; a key that is the same may be there.
        """
        key, path, key_path = json.dumps(self.key, indent=1) + "\n", places.place(path), places.place(key_path)
        refuse_existing(path, force=force)
        clear_scratch(key_path)
        with ExitStack() as written:  # what is entered last is put there first: the key
            page = written.enter_context(atomic_path(path, force=force))
            page.write_text(self.html, encoding="utf-8")
            sync(page)
            if not (key_path.is_file() and key_path.read_bytes() == key.encode()):  # of one that was stopped before its page
                temporary = written.enter_context(atomic_path(key_path, force=force))
                temporary.write_text(key, encoding="utf-8")
                sync(temporary)
                path.unlink(missing_ok=True)  # a page that is replaced goes before its key


def make_review(*, synthetic: Beats, real: Beats, items: int = 60, strips: float = 0.25, seed: int = 0) -> Review:
    """Choose what is shown, and write the page.

    Parameters
    ----------
    synthetic, real : Beats
        What is drawn from: as many of each, and as many of each class that both have.
    items : int
        How many there are to judge.
    strips : float
        Share of them that is shown among its neighbours, 3 s to either side; the neighbours are of their own kind, as many of
        each class for real and synthetic ones, and set by `ecgsynth.strips` for both alike, so that they tell nothing.
    seed : int
        Same beats and seed, same review.

    Raises
    ------
    EcgsynthError
        If the two kinds share no class or lead, differ in how they are cut, hold what no ECG reaches, or there are too few of them.
    """
    refuse_impossible(synthetic, "synthetic")
    refuse_impossible(real, "real")
    if synthetic.n_leads != real.n_leads or (synthetic.n_samples, synthetic.fs) != (real.n_samples, real.fs):
        raise EcgsynthError("real and synthetic beats differ in leads, length or sampling rate")
    lead = _common_lead(synthetic, real)
    kinds = {kind: beats.take(beats.leads == lead) for kind, beats in ((REAL, real), (SYNTHETIC, synthetic))}
    labels = [name for name in AAMI_CLASSES if all(name in beats.counts() for beats in kinds.values())]
    if not labels:
        raise EcgsynthError(f"real and synthetic beats share no class of lead {lead}")
    company = company_of(kinds.values(), labels)
    rng = np.random.default_rng(seed)
    shown: list[dict[str, Any]] = []
    key: dict[str, Any] = {}
    for kind, beats in kinds.items():
        for place, (number, label) in enumerate(_chosen(beats, labels, items // 2, rng)):
            token = rng.bytes(6).hex()
            in_strip = (place * strips) % 1 + strips >= 1 - 1e-9
            shown.append({"id": token, **(_strip(beats, number, company, rng) if in_strip else _beat(beats, number))})
            key[token] = {"kind": kind, "label": label, "shown": "strip" if in_strip else "beat", **_origin(beats, number, kind)}
    rng.shuffle(shown)
    name = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    return Review(_page(name, shown, lead), {"format": FORMAT, "review": name, "lead": lead, "labels": labels, "items": key})


def _common_lead(synthetic: Beats, real: Beats) -> str:
    """Give the lead that both have most of."""
    counts = [dict(zip(*np.unique(beats.leads, return_counts=True), strict=True)) for beats in (synthetic, real)]
    common = {str(lead): min(of[lead] for of in counts) for lead in counts[0] if lead in counts[1]}
    if not common:
        raise EcgsynthError("real and synthetic beats share no lead")
    return max(common, key=lambda lead: common[lead])


def _chosen(beats: Beats, labels: Sequence[str], count: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """Draw beats, as many of each label."""
    wanted = [count // len(labels) + (place < count % len(labels)) for place in range(len(labels))]
    found = []
    for label, number in zip(labels, wanted, strict=True):
        own = np.flatnonzero(beats.classes == label)
        if len(own) < number:
            raise EcgsynthError(f"there are {len(own)} beats of {label}, not the {number} that are to be shown: -n asks for fewer")
        found += [(int(place), label) for place in rng.permutation(own)[:number]]
    return [found[place] for place in rng.permutation(len(found))]


def _origin(beats: Beats, number: int, kind: str) -> dict[str, Any]:
    """Say which beat it is."""
    if kind == SYNTHETIC:
        return {"index": int(beats.samples[number]), "model_sha256": str(beats.info.get("model_sha256", ""))}
    return {"record": str(beats.records[number]), "sample": int(beats.samples[number])}


def _beat(beats: Beats, number: int) -> dict[str, Any]:
    waves = beats.signals[number].reshape(beats.n_leads, beats.n_samples)
    return _drawn(waves, beats.fs, [])


def company_of(kinds: Iterable[Beats], labels: Sequence[str]) -> dict[str, int]:
    """Say how many beats of each class a strip is set from: the same for real and synthetic ones, so that they tell nothing."""
    counts = [beats.counts() for beats in kinds]
    there = {label: min(of[label] for of in counts) - 1 for label in labels}  # one of them is asked about
    most = max(there, key=lambda label: there[label])
    return {label: min(there[label], _COMPANY[label != most]) for label in labels}


def _strip(beats: Beats, number: int, company: Mapping[str, int], rng: np.random.Generator) -> dict[str, Any]:
    """Set a beat among others of its kind, as many of each class as the other kind has beside its own."""
    others = [rng.permutation(np.setdiff1d(np.flatnonzero(beats.classes == label), number))[:count] for label, count in company.items()]
    pool = beats.take(np.concatenate([[number], *others]))
    order = arrange(pool)
    place = int(np.flatnonzero(order == 0)[0])
    record = draw(pool.take(order), "strip", seed=int(rng.integers(2**31)))
    reach = round(_STRIP_S * beats.fs)
    first = int(np.clip(record.samples[place] - reach, 0, max(0, len(record.signals) - 2 * reach)))
    part = record.signals[first : first + 2 * reach].T
    return _drawn(part, beats.fs, [round((int(record.samples[place]) - first) / beats.fs, 4)])


def _drawn(waves: NDArray[np.float32], fs: float, marks: list[float]) -> dict[str, Any]:
    """Set waveforms down in whole steps, with the span of paper they need: (leads, samples)."""
    steps = np.rint(waves / _STEP_MV).astype(int)
    low, high = (float(f(waves)) for f in (np.min, np.max))
    span = [np.floor((low - _MARGIN) * 2) / 2, np.ceil((high + _MARGIN) * 2) / 2]
    return {"fs": fs, "step": _STEP_MV, "signals": steps.tolist(), "marks": marks, "span": [float(end) for end in span]}


def _page(name: str, shown: list[dict[str, Any]], lead: str) -> str:
    """Write the page, which allows no script but its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    script = PAPER + (folder / "review.js").read_text(encoding="utf-8")
    data = json.dumps({"review": name, "lead": lead, "items": shown, "classes": CLASS_NAMES}, separators=(",", ":"))
    environment = Environment(loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    escaped = re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", data)
    template = environment.get_template("review.html.jinja")
    return template.render(data=escaped, script=script, digest=script_digest(script), total=len(shown), classes=CLASS_NAMES)
