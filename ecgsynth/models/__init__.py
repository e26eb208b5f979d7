"""The models that come with ecgsynth: files ``NAME.safetensors``, each with its card ``NAME.md``."""

from pathlib import Path

from ecgsynth.errors import EcgsynthError

_FOLDER = Path(__file__).parent


def shipped() -> dict[str, Path]:
    """Give the file of each model by its name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def shipped_gates() -> list[Path]:
    """Give the file of each gate: of the train side that the models of this package learnt from."""
    return sorted((_FOLDER / "gates").glob("*.safetensors"))


def card(name: str) -> str:
    """Give what is to be known of a model: data, split, seed, scores, licence, limits.

    Raises
    ------
    EcgsynthError
        If there is no such model.
    """
    found = shipped()
    if name not in found:
        raise EcgsynthError(f"no model {name} comes with ecgsynth; there are {', '.join(found)}")
    return found[name].with_suffix(".md").read_text(encoding="utf-8")
