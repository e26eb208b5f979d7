"""Judge beats by ecgen's own measure: MADE.npz TEST.npz --seed S; prints its scores as one line of JSON."""

import json

from ecgen.evaluation import tstr
from exchange import arguments, load

EPOCHS = 10


def main() -> None:
    """Train ecgen's classifier on the first file, test it on the second."""
    given = arguments("made", "test")
    (made, learnt), (test, annotated) = load(given.made), load(given.test)
    print(json.dumps(tstr(made[:, None], learnt, test[:, None], annotated, multilabel=False, epochs=EPOCHS, device="cpu", seed=given.seed)))


if __name__ == "__main__":
    main()
