"""Which class proportions and what number of synthetic beats teach a classifier best, found on the validation side.

Run: python scripts/choose_proportions.py results/work/mitdb-beats/flow-0.safetensors --powers 1,0.75 --times 1,4 --seeds 3
"""

from itertools import product
from pathlib import Path

import click
import numpy as np
from shared import mitdb_split

import ecgsynth as es

JUDGED = {"rows": ("synthetic",), "classifiers": ("cnn",)}


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--powers", default="1,0.75,0.5,0", help="1 natural proportions, 0 the same number of each class.")
@click.option("--times", default="4", help="As many synthetic beats as training beats, twice as many ...")
@click.option("--seeds", default=3, type=click.IntRange(min=1))
def main(model: Path, powers: str, times: str, seeds: int) -> None:
    """Print the macro-F1 on validation beats of classifiers trained on synthetic ones."""
    split = mitdb_split()
    generator = es.load_generator(model)
    for power, more in product(map(float, powers.split(",")), map(float, times.split(","))):
        counts = es.class_counts(split.train, power=power, total=round(more * len(split.train)))
        macro = []
        for seed in range(seeds):
            synthetic = generator.sample(counts, seed=seed)
            # The test side is not touched: validation beats stand in its place.
            result = es.evaluate(synthetic=synthetic, train=split.train, test=split.val, seeds=(seed,), **JUDGED)
            macro.append(result.rows["synthetic"][0].macro_f1)
        spread = f" ± {np.std(macro, ddof=1):.3f}" if seeds > 1 else ""
        click.echo(f"power {power:<5g} times {more:<5g} macro-F1 {np.mean(macro):.3f}{spread}   {counts}")


if __name__ == "__main__":
    main()
