"""An evaluation made up for the tests of the report."""

import numpy as np

from ecgsynth.beats import Beats
from ecgsynth.findings import Evaluation
from ecgsynth.generators import TrainingStep
from ecgsynth.labels import AAMI_CLASSES
from ecgsynth.metrics.utility import score_classes
from ecgsynth.rows import ROWS

SHARES = {"real": 0.95, "synthetic": 0.85, "real+synthetic": 0.96, "memorizer": 0.9, "class-mean": 0.6}
SHARES |= {"real-on-synthetic": 0.9, "real+quarter": 0.95, "real+half": 0.95, "real-on-memorizer": 0.99, "real+memorizer": 0.95}
SPLIT = {
    "scheme": "patients",
    "seed": 3,
    "notes": ["class F is on 2 of 3 sides"],
    "beats": {"train": 9, "val": 3, "test": 3},
    "classes": {"train": {"N": 9}, "val": {"N": 1234}, "test": {"N": 3}},
    "patients": {"train": ["a"], "val": ["b"], "test": ["c"]},
}
HISTORY = [
    TrainingStep(
        step, step / 50, 1 / step, -1.0, 0.5, step / 100 if step % 10 == 0 else None, 0.9 if step % 10 == 0 else None, step in (20, 40)
    )
    for step in range(1, 51)
]


def make_beats(source="real", records="x1", seed=0, each=6, classes=AAMI_CLASSES):
    rng = np.random.default_rng(seed)
    n = each * len(classes)
    return Beats(
        signals=rng.normal(0, 0.3, (n, 256)),
        classes=np.repeat(classes, each),
        records=np.full(n, records),
        leads=np.full(n, "MLII"),
        source=source,
    )


def make_evaluation(shares=None, rows=tuple(ROWS), seeds=2, **changes):
    rng = np.random.default_rng(1)
    annotated = np.repeat(AAMI_CLASSES, [300, 150, 120, 110, 20])

    def score(share):
        predicted = np.where(rng.random(len(annotated)) < share, annotated, rng.choice(AAMI_CLASSES, len(annotated)))
        return score_classes(annotated=annotated, predicted=predicted, classes=AAMI_CLASSES)

    counts = dict(zip(AAMI_CLASSES, (300, 150, 120, 110, 20), strict=True))
    values = {
        "classes": AAMI_CLASSES,
        "classifiers": {"cnn": {row: [score((shares or SHARES)[row]) for _ in range(seeds)] for row in rows}},
        "counts": {"train": dict.fromkeys(AAMI_CLASSES, 4321), "synthetic": counts, "test": counts},
        "settings": {
            "seeds": list(range(seeds)),
            "generator": "cnn-gan",
            "synthetic": {"seed": 7, "model_sha256": "ab" * 32, "holds_real_beats": False},
            "classifier": {"steps": 60},
        },
        "real": make_beats(),
        "synthetic": make_beats("cnn-gan", records="", seed=1),
    }
    return Evaluation(**(values | changes))
