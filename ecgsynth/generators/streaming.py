"""Sampling of more beats than fit into memory: part by part, the same beats as all at once."""

from collections.abc import Generator as Steps
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ecgsynth.beats import Beats
from ecgsynth.files import atomic_path
from ecgsynth.generators.base import Generator
from ecgsynth.generators.requests import Request
from ecgsynth.parts import Part, part_name, write_part
from ecgsynth.steps import drain
from ecgsynth.stored import HEAD, StoredBeats, seal

PART = 20_480
"""Beats of a part."""


def sample_stored_steps(
    generator: Generator, request: Request, folder: str | Path, *, force: bool = False, workers: int | None = None
) -> Steps[float, None, StoredBeats]:
    """Make new beats, as `Generator.sample`, into a folder of parts; yields the share that is done.

    Raises
    ------
    EcgsynthError
        As `Generator.sample`, or if the folder cannot be written.
    """
    wanted = generator.wanted(request)
    done, total = 0, sum(wanted.values())
    with atomic_path(folder, force=force, marker=HEAD) as temporary:
        parts: list[Part] = []
        for beats in _pieces(generator, request, wanted, workers):
            parts.append(write_part(temporary / part_name(len(parts)), [beats]))
            source, info = beats.source, beats.info
            done += len(beats)
            yield done / total
        seal(temporary, parts, source=source, info=info)
    return StoredBeats.open(folder)


def _pieces(generator: Generator, request: Request, wanted: dict[str, int], workers: int | None) -> Iterator[Beats]:
    """Make the beats of a request label by label, so many at a time: each has the number that it has when all are made at once."""
    for label, count in wanted.items():
        first, missing = request.first, count
        while missing:
            asked = replace(request, counts={label: min(missing, PART)}, first=first)
            beats = drain(generator.sample_steps(asked, workers=workers))
            first, missing = int(beats.samples.max()) + 1, missing - len(beats)
            yield beats
