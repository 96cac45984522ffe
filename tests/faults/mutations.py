"""Damage to files, seeded: of bytes, and of the structure of JSON, safetensors and lines."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 0.5, 1e308, float("nan")),
    *("", "x", "\x00", "\x1b[31m", "\u202e", "a" * 100_000, "<|endoftext|>", "../../x", "9" * 5000),
    *([], {}, [[]], [None], {"": None}, ["a", 1], {"type": "Sequence"}, {"content": 5}),
)


def damage_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return data with some bytes changed, cut, doubled, put in or taken out."""
    kind = chance.choice(("flip", "set", "cut", "drop", "double", "insert", "zero", "swap"))
    at = (
        chance.randrange(len(data) + 1)
        if chance.random() < 0.5
        else chance.randrange(1 + len(data[:200]))
    )
    length = chance.choice((1, 2, 8, 64, 1024))
    if not data:
        return b"\x00" * length
    if kind == "flip":
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == "set":
        return data[:at] + chance.choice((b"\xff", b"\x00", b"\x7f")) * length + data[at + length :]
    if kind == "cut":
        return data[:at]
    if kind == "drop":
        return data[:at] + data[at + length :]
    if kind == "double":
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    if kind == "insert":
        return data[:at] + chance.randbytes(length) + data[at:]
    if kind == "zero":
        return data[:at] + bytes(len(data) - at)
    half = len(data) // 2
    return data[half:] + data[:half]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to the values of JSON; of long lists and objects, to the first and last."""
    items = list(value.items()) if isinstance(value, dict) else []
    items = list(enumerate(value)) if isinstance(value, list) else items
    near = items if len(items) < 60 else items[:10] + items[-10:]
    return [path, *(place for key, item in near for place in _places(item, (*path, key)))]


def damage_json(value: Any, chance: random.Random) -> Any:
    """Return JSON with one value replaced, removed, wrapped, renamed or moved."""
    path = chance.choice(_places(value))
    if not path:
        return chance.choice((*STRANGE, [value], {"x": value}))
    value = json.loads(json.dumps(value))
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    last, kind = path[-1], chance.choice(("replace", "replace", "replace", "remove", "wrap", "add"))
    if kind == "remove":
        del holder[last]
    elif kind == "wrap":
        holder[last] = chance.choice(([holder[last]], {"x": holder[last]}, str(holder[last])))
    elif kind == "add" and isinstance(holder, dict):
        holder[chance.choice(("x", "", "type", "\x1b"))] = chance.choice(STRANGE)
    else:
        holder[last] = chance.choice(STRANGE)
    return value


def _as_json(data: bytes, chance: random.Random) -> bytes:
    return json.dumps(damage_json(json.loads(data), chance)).encode()


def _as_safetensors(data: bytes, chance: random.Random) -> bytes:
    """Damage the header of safetensors, and keep its length right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = _as_json(data[8 : 8 + length], chance)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _as_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    kind = chance.choice(("drop", "double", "strange", "join", "long", "nest"))
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "strange":
        lines[at] = str(chance.choice(STRANGE)).encode("utf-8", "surrogatepass")
    elif kind == "join":
        lines[at : at + 2] = [b" ".join(lines[at : at + 2])]
    elif kind == "long":
        lines[at] *= 1000
    else:
        lines[at] += b"[" * 500 + b"{" * 500
    return b"\n".join(lines)


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": _as_json,
    ".safetensors": _as_safetensors,
    ".jsonl": _as_lines,
    ".txt": _as_lines,
    ".tsv": _as_lines,
    ".vec": _as_lines,
    ".yaml": _as_lines,
    ".md": _as_lines,
}


def damage(file: Path, chance: random.Random) -> str:
    """Damage a file where it lies; return how, in a word."""
    data = file.read_bytes()
    structured = STRUCTURED.get(file.suffix)
    if structured is not None and data and chance.random() < 0.6:
        file.write_bytes(structured(data, chance))
        return "structure"
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        data = damage_bytes(data, chance)
    file.write_bytes(data)
    return "bytes"
