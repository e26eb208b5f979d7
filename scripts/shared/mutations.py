"""Ways to spoil a file: as bytes, as text, and as what its format says that it is, so that readers are reached behind the first check."""

import ast
import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

NUMBERS = ["0", "-1", "1", "2", "65536", "4294967296", "999999999999", "1" + "0" * 30, "1" + "0" * 400, "nan", "inf", "-inf"]
NUMBERS += ["1e308", "1e-308", "0.5", "-0", "1e", "0x10", "1_000", "360", "16", "212", "516", "310", "8"]
OUT = ["../outside/bait", "../../outside/bait", "../../outside/bait.dat", "../../../outside/bait.npz"]
"""Names of what lies outside of the folders of `targets`, from one to three folders up."""

WORDS = ["", "~", ".", "..", *OUT, "/etc/passwd", "outside", "<script>alert(1)</script>", '"', "'", "\\", "\x00", "\x1b[2J"]
WORDS += [
    "µV",
    "心",
    "\ud800",
    "a" * 5000,
    "%s%n",
    "{{7*7}}",
    "${x}",
    "NaN",
    "null",
    "true",
    "flow",
    "N",
    "\u2028",
    "[" * 50_000,
    "{'a':" * 9,
]
VALUES: list[Any] = [None, True, False, 0, -1, 1, 2, 3.5, 10**6, 10**12, 10**30, 1e308, -1e308, float("nan"), float("inf")]
VALUES += [*WORDS, [], {}, [[]], [None], {"": None}, [0] * 5, ["N"], "class", "symbol", "samples", "frequencies", 7, 16, 64, 1e-9]


MANY = [2, 3, 30, 1000, 20_000]
"""How often something is repeated of which there should be few."""

BITS = {"F8_E4M3": 8, "F8_E5M2": 8, "F4": 4, "BF16": 16, "U16": 16, "BOOL": 8, "I64": 64, "C64": 64}
"""Kinds of numbers of safetensors, some of which numpy does not have."""


def of_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, overwrite, move or repeat bytes."""
    if not data:
        return rng.bytes(8)
    spoilt = bytearray(data)
    place, length = int(rng.integers(len(data))), int(2 ** rng.uniform(0, 8))
    part = bytes(spoilt[place : place + length])
    match rng.integers(8):
        case 0:
            return data[:place]
        case 1:
            for bit in rng.integers(8 * len(data), size=int(rng.integers(1, 9))):
                spoilt[bit // 8] ^= 1 << bit % 8
        case 2:
            spoilt[place : place + length] = rng.bytes(len(part))
        case 3:
            spoilt[place : place + length] = bytes([rng.choice([0, 255, 127, 128])]) * len(part)
        case 4:
            del spoilt[place : place + length]
        case 5:
            spoilt[place:place] = part * int(rng.integers(1, 20))
        case 6:
            width = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice([0, 1, 2**7, 2**15, 2**31, 2**32 - 1, 2**62, 2**63]))
            spoilt[place : place + width] = number.to_bytes(8, rng.choice(["little", "big"]))[:width]
        case _:
            spoilt[place : place + length] = part[::-1]
    return bytes(spoilt)


def of_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a number or a word, or drop, repeat or exchange lines."""
    if rng.random() < 0.15:
        return of_bytes(data, rng)
    lines = data.decode("utf-8", errors="surrogateescape").split("\n")
    for _ in range(int(rng.integers(1, 3))):
        line = int(rng.integers(len(lines)))
        words = lines[line].split(" ")
        word = int(rng.integers(len(words)))
        match rng.integers(8):
            case 0 | 1:
                words[word] = _another_number(words[word], rng)
            case 2:
                words[word] = str(rng.choice(WORDS))
            case 3:
                words[word] += str(rng.choice(WORDS + NUMBERS))
            case 4:
                del words[word]
            case 5:
                lines.insert(line, lines[int(rng.integers(len(lines)))])
            case 6:
                words = words * int(rng.choice([2, 3, 300]))
            case _:
                other = int(rng.integers(len(lines)))
                lines[line], lines[other] = lines[other], lines[line]
                continue
        lines[line] = " ".join(words)
    return "\n".join(lines).encode("utf-8", errors="surrogatepass" if rng.random() < 0.5 else "replace")


def of_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Let segments be many, lead back or out, a gap be long at a low rate, a lead have no gain or lie elsewhere; else as any text."""
    head, *segments = data.decode("utf-8").splitlines()
    name, leads, _, *rest = head.split()
    if rng.random() < 0.7:
        return of_text(data, rng)
    if "/" not in name:
        return _other_lead(head, segments, rng)
    rate = rest[0]
    if rng.random() < 0.3:
        place = int(rng.integers(len(segments)))
        segments[place] = " ".join([str(rng.choice([name.split("/")[0], "fixed", "gaps", *OUT])), *segments[place].split()[1:]])
    elif rng.random() < 0.5:
        many = int(rng.choice(MANY))
        place = int(rng.integers(len(segments)))
        segments[place:place] = [segments[place]] * (many - 1)
    else:
        rate, gap = str(rng.choice(["0.001", "1", "40", "360"])), int(10 ** rng.uniform(4, 15))
        segments.insert(int(rng.integers(1, len(segments) + 1)), f"~ {gap}")
    length = sum(int(segment.split()[1]) for segment in segments)
    head = " ".join([f"{name.split('/')[0]}/{len(segments)}", leads, rate, str(length)])
    return "\n".join([head, *segments, ""]).encode()


def _other_lead(head: str, leads: list[str], rng: np.random.Generator) -> bytes:
    """Let a lead of a record of one segment have no gain, or lie in a file outside."""
    place = int(rng.integers(len(leads)))
    file, kind, gain, *rest = leads[place].split()
    if rng.random() < 0.5:
        gain = str(rng.choice(["0", "0(0)", "0/mV", "0(0)/mV", "-0", "0.0", "1e-300"]))
    else:
        file = str(rng.choice(OUT))
    leads[place] = " ".join([file, kind, gain, *rest])
    return "\n".join([head, *leads, ""]).encode()


def of_recipe(data: bytes, rng: np.random.Generator) -> bytes:
    """Ask for several quotas more, alike or not, or for several splits, whose shares add up or not; else as any text."""
    if rng.random() < 0.6:
        return of_text(data, rng)
    text, many = data.decode("utf-8"), int(rng.choice(MANY))
    if rng.random() < 0.5:
        quotas = text.split("\n[[quotas]]\n")[1:]
        more = (quotas[int(number)] for number in rng.integers(len(quotas), size=many))
        text += "".join(f"\n[[quotas]]\n{quota}" for quota in more)
    else:
        before, _, after = text.partition("[splits]\n")
        share = 1 / many if rng.random() < 0.7 else float(rng.choice([1.0, 1e-9, 1e-300]))
        splits = "".join(f"part{number} = {share!r}\n" for number in range(many))
        text = f"{before}[splits]\n{splits}\n{after[after.index('[[') :]}"
    return text.encode() if rng.random() < 0.7 else of_text(text.encode(), rng)


def _another_number(word: str, rng: np.random.Generator) -> str:
    """Put another number in the place of one in a word."""
    digits = [place for place, letter in enumerate(word) if letter.isdigit()]
    if not digits:
        return str(rng.choice(NUMBERS))
    begin = end = int(rng.choice(digits))
    while end < len(word) and word[end].isdigit():
        end += 1
    return word[:begin] + str(rng.choice(NUMBERS)) + word[end:]


def of_value(value: Any, rng: np.random.Generator) -> Any:
    """Change something somewhere in plain JSON."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[int(rng.integers(len(value)))]
        match rng.integers(10):
            case 0:
                return {name: inner for name, inner in value.items() if name != key}
            case 1:
                return value | {str(rng.choice(WORDS)): value[key]}
            case _:
                return value | {key: of_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = int(rng.integers(len(value)))
        match rng.integers(8):
            case 0:
                return value[:place]
            case 1:
                return value * int(rng.integers(2, 5))
            case _:
                return [*value[:place], of_value(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("{") and rng.random() < 0.9:  # JSON in JSON
        return json.dumps(of_value(json.loads(value), rng))
    return VALUES[int(rng.integers(len(VALUES)))]


def of_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Change something in JSON, seldom its text."""
    if rng.random() < 0.2:
        return of_text(data, rng)
    return _json(of_value(json.loads(data), rng))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", errors="surrogatepass")


def of_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Change the head of a safetensors file, the place, shape or kind of its arrays, their numbers, or any byte."""
    if rng.random() < 0.15:
        return of_bytes(data, rng)
    (size,) = struct.unpack("<Q", data[:8])
    head, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    kind = rng.random()
    if kind < 0.6:
        head["__metadata__"] = of_value(head["__metadata__"], rng)
    elif kind < 0.75:
        head = of_value(head, rng)
    elif kind < 0.8:
        _change_kind(head, rng)
    else:
        rest = of_bytes(rest, rng)[: len(rest)].ljust(len(rest), b"\xff")
    text = _json(head)
    return struct.pack("<Q", len(text)) + text + rest


def _change_kind(head: dict[str, Any], rng: np.random.Generator) -> None:
    """Let an array hold another kind of numbers, in as many bytes."""
    array = head[str(rng.choice([name for name in head if name != "__metadata__"]))]
    bits = array["data_offsets"][1] - array["data_offsets"][0] << 3
    array["dtype"] = str(rng.choice(list(BITS)))
    array["shape"] = [bits // BITS[array["dtype"]]]


def of_npz(data: bytes, rng: np.random.Generator) -> bytes:
    """Change an array of an npz file: its numbers, its shape or kind, the head, or any byte."""
    if rng.random() < 0.2:
        return of_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(list(members))) if rng.random() < 0.6 else "head.npy"
    match rng.integers(5):
        case 0:
            members[name] = of_bytes(members[name], rng)
        case 1:
            members[name] = _other_header(members[name], rng)
        case 2:
            del members[name]
        case 3:
            members[name] = members[str(rng.choice(list(members)))]
        case _:
            head = np.load(io.BytesIO(members["head.npy"]))
            buffer = io.BytesIO()
            np.save(buffer, np.array(json.dumps(of_value(json.loads(str(head)), rng)).encode("utf-8", "replace").decode()))
            members["head.npy"] = buffer.getvalue()
    spoilt = io.BytesIO()
    with zipfile.ZipFile(spoilt, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content if rng.random() < 0.999 else bytes(5 * 10**7))
    return spoilt.getvalue()


def _other_header(member: bytes, rng: np.random.Generator) -> bytes:
    """Let an array say it is of another shape or kind."""
    (size,) = struct.unpack("<H", member[8:10])
    head = ast.literal_eval(member[10 : 10 + size].decode())
    shapes = [(10**12,), (0,), (), (1, 0), (10**9, 0), (2**62, 2), (-1,), (10**6, 10**6), *([head["shape"] * 2] if head["shape"] else [])]
    kinds = ["<f8", "<U0", "<U1", "<U1000000000", "|O", "<i1", "<M8[s]", "|V0", "<c16", "|S1", "junk"]
    if rng.random() < 0.6:
        head["shape"] = shapes[int(rng.integers(len(shapes)))]
    else:
        head["descr"] = str(rng.choice(kinds))
    text = repr(head).encode() + b"\n"
    return member[:8] + struct.pack("<H", len(text)) + text + member[10 + size :]


def of_parquet(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a column, the head or any byte of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.4:
        return of_bytes(data, rng)
    with pq.ParquetFile(io.BytesIO(data)) as file:  # whose head may be of the file, not of its schema
        head, table = file.metadata.metadata[b"ecgsynth"], file.read()
    table = table.replace_schema_metadata({"ecgsynth": head})
    name = str(rng.choice(table.column_names))
    place = table.column_names.index(name)
    match rng.integers(6):
        case 0:
            table = table.drop_columns([name])
        case 5:  # one text for all rows, of which a file keeps one copy
            words = [other for other in table.column_names if pa.types.is_string(table.schema.field(other).type)]
            place = table.column_names.index(str(rng.choice(words)))
            long = "a" * int(10 ** rng.uniform(3, 7))
            column = pa.DictionaryArray.from_arrays(np.zeros(len(table), dtype=np.int32), pa.array([long]))  # in memory one copy, too
            table = table.set_column(place, table.column_names[place], column)
        case 1:
            table = table.set_column(place, name, pa.array([VALUES[int(rng.integers(3, 8))]] * len(table)))
        case 2:
            table = table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))
        case 3:
            table = table.slice(0, int(rng.integers(len(table))))
        case _:
            table = table.replace_schema_metadata({"ecgsynth": _json(of_value(json.loads(head), rng))})
    spoilt = io.BytesIO()
    plain = not any(map(pa.types.is_dictionary, table.schema.types))  # else it would be read as a dictionary, too
    compression = str(rng.choice(["snappy", "zstd"]))
    pq.write_table(table, spoilt, compression=compression, store_schema=plain, dictionary_pagesize_limit=1 << 30)
    return spoilt.getvalue()
