"""Commands that get records and turn them into beats and splits."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ecgsynth.cli.console import (
    BEATS_OUTPUT,
    PLACE,
    SEED,
    counts_table,
    emit,
    engine_options,
    force_option,
    json_option,
    note,
    progress,
    table,
)
from ecgsynth.steps import drain


@click.command()
@click.argument("folder", type=PLACE)
@json_option
def fetch(folder: Path, as_json: bool) -> None:
    """Download the 48 records of MIT-BIH (94 MB) from PhysioNet into FOLDER, each checked by its SHA-256.

    A try that was stopped goes on where it stopped.

    \b
    Example:
      ecgsynth fetch records/mitdb
    """
    show_fetch(folder)
    emit({"folder": str(folder), "complete": True}, f"48 records in {folder}, verified", as_json=as_json)


def show_fetch(folder: Path) -> None:
    """Download the records, showing progress."""
    from ecgsynth.fetch import iter_fetch

    with progress("fetch") as show:
        for step in iter_fetch(folder):
            show(step.done / step.total, f"{step.name}  {step.n_bytes / 1e6:.0f} MB")


@click.command()
@click.argument("records", nargs=-1, required=True, type=PLACE)
@click.option("-o", "--output", required=True, type=BEATS_OUTPUT, help="The beats file (.npz), or a folder for those of many records.")
@click.option("--lead", default="MLII,first", show_default=True, help="Leads by preference; 'first' is a record's first, 'all' takes all.")
@click.option("--before", default=0.3, show_default=True, help="Window before the annotated R peak, s.")
@click.option("--after", default=148 / 360, show_default="0.4111", help="Window after it, s.")
@click.option("--fs", default=360.0, show_default=True, help="Sampling rate of the beats, Hz; other records are resampled.")
@click.option("--band", default="0.5,40", show_default=True, help="Pass band in Hz without phase shift, or 'off'.")
@click.option("--annotator", default="atr", show_default=True, help="Suffix of the annotation files.")
@click.option("--patients", type=PLACE, help="CSV of record,patient where a person has several records.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out records that cannot be read, and say which.")
@engine_options
@force_option
@json_option
def beats(records: tuple[Path, ...], output: Path, engine: Any, force: bool, as_json: bool, **options: Any) -> None:
    """Cut the annotated beats out of RECORDS: a folder of WFDB records, or single ones by path.

    A folder of beats holds as many as there is room for, in parts; what is done of it is kept if this is stopped, and the same
    command goes on. Records and beats may be at addresses that fsspec knows, as s3://bucket/records.

    \b
    Examples:
      ecgsynth beats records/mitdb -o beats.npz
      ecgsynth beats records/100 records/101 --lead V5,V1 --band off -o beats.npz
      ecgsynth beats archive/ -o beats/ --engine ray
    """
    from ecgsynth.files import refuse_existing
    from ecgsynth.stored import HEAD

    options["band"] = _band(options["band"])
    made = force or not (output / HEAD).is_file()  # if it is there, it is refused or the same
    if output.suffix == ".npz":
        refuse_existing(output, force=force)
        cut = cut_beats(records, **options)
        cut.save(output, force=force)
    else:
        cut = cut_archive(records, output, engine, force=force, **options)
    _tell_of(cut, output, made=made, as_json=as_json)


def _tell_of(cut: Any, output: Path, *, made: bool, as_json: bool) -> None:
    """Say which beats were cut, and which were not and why."""
    for record, why in cut.info.get("skipped", ()):
        note(f"note: record {record} is left out: {why}")
    symbols, left_out, lost = Counter(cut.counts("symbol")), Counter[str](), Counter[str]()
    patients, names = _persons(cut)
    for _, symbol, reason, count in cut.info["left_out"]:
        left_out[reason] += count
        lost[symbol] += count
    rows = [[symbol, symbols[symbol] + lost[symbol], symbols[symbol], lost[symbol]] for symbol, _ in (symbols + lost).most_common()]
    data = {
        "output": str(output),
        "made": made,
        "beats": len(cut),
        "annotations": len(cut) + sum(left_out.values()),
        "left_out": dict(left_out),
        "skipped": [record for record, _ in cut.info.get("skipped", ())],
        "classes": cut.counts(),
        "symbols": {symbol: {"annotated": annotated, "kept": kept} for symbol, annotated, kept, _ in rows},
        "records": names,
        "patients": patients,
    }
    why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none"
    end = f"Wrote {output}" if made else f"{output} is there already, cut alike of records of the same names (--force cuts it again)"
    text = "\n".join(
        [
            table(rows, ["symbol", "annotated", "kept", "left out"]),
            "",
            counts_table({"beats": cut.counts()}),
            f"\n{data['annotations']:,} annotated beats: {len(cut):,} kept, left out: {why}",
            f"{data['patients']} patients, {data['records']} records. {end}",
        ]
    )
    emit(data, text, as_json=as_json)


def _persons(cut: Any) -> tuple[int, int]:
    """Count patients and records."""
    from ecgsynth.beats import Beats

    if isinstance(cut, Beats):
        return len(set(cut.patients.tolist())), len(set(cut.records.tolist()))
    found: dict[str, set[str]] = {"patients": set(), "records": set()}
    for columns in cut.columns(*found):
        for name, column in columns.items():
            found[name].update(column.tolist())
    return len(found["patients"]), len(found["records"])


def cut_archive(
    records: Iterable[Path],
    output: Path,
    engine: Any,
    *,
    force: bool,
    annotator: str,
    patients: Path | None,
    skip_unreadable: bool,
    **how: Any,
) -> Any:
    """Cut the beats of many records into a folder of parts, showing progress."""
    from ecgsynth.archive import cut_archive_steps
    from ecgsynth.cutting import Window
    from ecgsynth.records import find_records

    how["lead"] = _leads(how["lead"])
    paths = find_records(list(records))
    asked: dict[str, Any] = {"annotator": annotator, "patients": _read_patients(patients, paths), "skip": skip_unreadable}
    asked |= {"engine": engine, "force": force}
    with progress("beats") as show:
        return drain(cut_archive_steps(paths, output, window=Window(**how), **asked), lambda step: show(step.share, step.label))


def _leads(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def cut_beats(records: Iterable[Path], *, lead: str, annotator: str, patients: Path | None, skip_unreadable: bool, **window: Any) -> Any:
    """Read records and cut their beats, showing progress."""
    from ecgsynth.cutting import extract_beats
    from ecgsynth.records import find_records, read_each

    paths = find_records(list(records))
    leads = _leads(lead)
    how: dict[str, Any] = {"annotator": annotator, "lead": leads, "patients": _read_patients(patients, paths)}
    skipped: list[tuple[str, str]] = []
    with progress("beats") as show:

        def shown() -> Iterator[Path]:
            for done, path in enumerate(paths):
                show(done / len(paths), path.name)
                yield path
            show(1.0, "")

        beats = extract_beats(read_each(shown(), skipped if skip_unreadable else None, **how), lead=leads, **window)
    return replace(beats, info={**beats.info, "skipped": skipped}) if skipped else beats


def _band(text: str) -> tuple[float, float] | None:
    if text.strip().lower() in ("off", "none"):
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no band: write LOW,HIGH in Hz, or off", param_hint="--band") from error
    return low, high


def _read_patients(path: Path | None, records: Iterable[Path]) -> dict[str, str] | None:
    """Read whose records are; says which names are of none of them."""
    from ecgsynth.errors import EcgsynthError

    if path is None:
        return None
    if not path.is_file():
        raise EcgsynthError(f"no CSV of record,patient at {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets mark it
            rows = [row for row in csv.reader(file) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise EcgsynthError(f"{path} is no CSV of record,patient ({error})") from error
    if any(len(row) != 2 for row in rows):
        raise EcgsynthError(f"{path}: every line must be record,patient")
    found: dict[str, str] = {}
    for record, patient in ([cell.strip() for cell in row] for row in rows):
        if found.setdefault(record, patient) != patient:
            raise EcgsynthError(f"{path} gives record {record} two patients, {found[record]} and {patient}")
    if strange := sorted(set(found) - {record.name for record in records}):
        few = ", ".join(strange[:5]) + (f" and {len(strange) - 5} more" if len(strange) > 5 else "")
        note(f"note: no record is called {few}: of those lines of {path} nothing is taken")
    return found


@click.command()
@click.argument("beats_file", metavar="BEATS", type=PLACE)
@click.option("-o", "--output", required=True, type=PLACE, help="The folder to make.")
@click.option("--scheme", type=click.Choice(["beats", "patients", "dechazal"]), default="beats", show_default=True)
@click.option("--seed", default=0, show_default=True, type=SEED, help="Same beats and seed, same split.")
@force_option
@json_option
def split(beats_file: Path, output: Path, scheme: str, seed: int, force: bool, as_json: bool) -> None:
    """Divide BEATS, a file or a folder, into train, val and test.

    \b
    beats     65/20/15 within each symbol; patients fall on all sides
    patients  65/20/15, no patient on two sides
    dechazal  MIT-BIH's DS1 and DS2, no patient on two sides, no paced records

    \b
    Example:
      ecgsynth split beats.npz -o split/ --scheme patients --seed 1
    """
    from ecgsynth.beats import Beats
    from ecgsynth.files import refuse_existing
    from ecgsynth.splits import split_beats, split_stored_steps
    from ecgsynth.stored import StoredBeats

    refuse_existing(output, force=force, marker="split.json")
    if beats_file.is_dir():
        with progress("split") as show:
            steps = split_stored_steps(StoredBeats.open(beats_file), output, scheme=scheme, seed=seed, force=force)
            summary = drain(steps, lambda share: show(share, ""))
    else:
        parts = split_beats(Beats.load(beats_file), scheme=scheme, seed=seed)
        parts.save(output, force=force)
        summary = parts.summary()
    for line in summary["notes"]:
        note(f"note: {line}")
    people = ", ".join(f"{side} {len(names)}" for side, names in summary["patients"].items())
    text = f"{counts_table(summary['classes'])}\npatients: {people}\nWrote {output}"
    emit({"output": str(output), **summary}, text, as_json=as_json)
