"""What is to be known of a dataset, for machines: Croissant, a vocabulary of JSON-LD.

References
----------
Akhtar M et al. Croissant: a metadata format for ML-ready datasets (2024), doi:10.1145/3650203.3663326. Format:
https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ecgsynth
from ecgsynth.cards.data import MITDB, NO_LICENCE, Told
from ecgsynth.files import sha256
from ecgsynth.formats import DESCRIPTIONS

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_ENCODINGS = {".parquet": "application/x-parquet", ".csv": "text/csv", ".npz": "application/zip", ".toml": "application/toml"}
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
_NUMBERS = {"rr_before", "rr_after", "rr_mean", "fs"}
_WHOLE = {"row", "seed", "number", "sample"}
_LISTS = {"signal", "reasons"}


def croissant(told: Told, folder: Path, paths: Iterable[str]) -> dict[str, Any]:
    """Describe a dataset for machines.

    Parameters
    ----------
    told : Told
        What it is made of.
    folder : path
        Where its files are.
    paths : iterable of str
        Of the files to describe, in the folder.

    Returns
    -------
    dict
        JSON-LD.
    """
    recipe = told.source.recipe
    licence = recipe.licence or NO_LICENCE
    labels = ", ".join(f"{label} {sum(of.get(label, 0) for of in told.counts.values()):,}" for label in told.labels)
    parquet = told.counts if "parquet" in recipe.formats else ()
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": recipe.name,
        "description": recipe.description or f"{told.total:,} synthetic ECG heartbeats with their labels: {labels}.",
        "license": f"https://spdx.org/licenses/{licence}.html" if _SPDX.fullmatch(licence) else licence,
        "version": "1.0.0",
        "keywords": ["ECG", "arrhythmia", "heartbeat", "synthetic"],
        "isLiveDataset": False,
        "creator": {"@type": "sc:Organization", "name": f"ecgsynth {ecgsynth.__version__}"},
        **({"datePublished": recipe.date} if recipe.date else {}),
        **({"citeAs": MITDB} if told.source.of_mitdb else {}),
        "distribution": [*(_file(folder, path) for path in paths), *(_set(split) for split in parquet)],
        "recordSet": [_records(split) for split in parquet],
    }


def _file(folder: Path, path: str) -> dict[str, Any]:
    encoding = _ENCODINGS.get(Path(path).suffix, "text/plain" if path.endswith((".hea", "RECORDS")) else "application/octet-stream")
    known = {"contentUrl": path, "encodingFormat": encoding, "sha256": sha256(folder / path)}
    return {"@type": "cr:FileObject", "@id": path, "name": path, "contentSize": f"{(folder / path).stat().st_size} B", **known}


def _set(split: str) -> dict[str, Any]:
    name = f"{split}-files"
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "encodingFormat": _ENCODINGS[".parquet"],
        "includes": f"parquet/{split}-*.parquet",
    }


def _records(split: str) -> dict[str, Any]:
    """Describe the rows of a split, column by column."""
    fields = []
    for name, description in DESCRIPTIONS.items():
        kind = "sc:Float" if name in _NUMBERS | {"signal"} else "sc:Integer" if name in _WHOLE else "sc:Text"
        source = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": name}}
        known = {"@type": "cr:Field", "@id": f"{split}/{name}", "name": f"{split}/{name}", "description": description, "dataType": kind}
        fields.append(known | ({"repeated": True} if name in _LISTS else {}) | {"source": source})
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "description": f"The beats of {split}.", "field": fields}
