"""Draw the picture of the README: real beats beside those of a model, class by class, as in the report.

Run: python scripts/readme_picture.py results/work/mitdb-beats/flow-0.safetensors -o docs/real-beside-generated.png
"""

from pathlib import Path

import click
from shared import mitdb_split

import ecgsynth as es
from ecgsynth.report.figures import real_beside_generated


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", default=Path("docs/real-beside-generated.png"), type=click.Path(path_type=Path))
@click.option("--seed", default=1)
def main(model: Path, output: Path, seed: int) -> None:
    """Draw and save."""
    split = mitdb_split()
    synthetic = es.load_generator(model).sample(dict.fromkeys("NSVFQ", 20), seed=seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    real_beside_generated(split.test, synthetic, per_class=4).savefig(output, dpi=110)


if __name__ == "__main__":
    main()
