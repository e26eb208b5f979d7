"""Labelled synthetic ECG heartbeats, with the proof of what they are worth.

Names are imported when they are first used, so that the command line answers at once.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgsynth.beats import Beats, concatenate
    from ecgsynth.classifiers import BeatClassifier
    from ecgsynth.cutting import extract_beats
    from ecgsynth.errors import EcgsynthError
    from ecgsynth.evaluation import evaluate
    from ecgsynth.findings import Evaluation
    from ecgsynth.generators import GENERATORS, class_counts, load_generator
    from ecgsynth.records import LEADS, Record, read_record, read_records
    from ecgsynth.report import save_report
    from ecgsynth.sampler import BeatSampler
    from ecgsynth.simulate import simulate_records
    from ecgsynth.splits import Split, split_beats
    from ecgsynth.torch_data import BeatDataset, SyntheticBeats

_HOMES = {
    "beats": ("Beats", "concatenate"),
    "classifiers": ("BeatClassifier",),
    "cutting": ("extract_beats",),
    "errors": ("EcgsynthError",),
    "evaluation": ("evaluate",),
    "findings": ("Evaluation",),
    "generators": ("GENERATORS", "class_counts", "load_generator"),
    "records": ("LEADS", "Record", "read_record", "read_records"),
    "report": ("save_report",),
    "sampler": ("BeatSampler",),
    "simulate": ("simulate_records",),
    "splits": ("Split", "split_beats"),
    "torch_data": ("BeatDataset", "SyntheticBeats"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = version("ecgsynth")

__all__ = [
    "GENERATORS",
    "LEADS",
    "BeatClassifier",
    "BeatDataset",
    "BeatSampler",
    "Beats",
    "EcgsynthError",
    "Evaluation",
    "Record",
    "Split",
    "SyntheticBeats",
    "class_counts",
    "concatenate",
    "evaluate",
    "extract_beats",
    "load_generator",
    "read_record",
    "read_records",
    "save_report",
    "simulate_records",
    "split_beats",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ecgsynth' has no attribute {name!r}")
    return getattr(import_module(f"ecgsynth.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
