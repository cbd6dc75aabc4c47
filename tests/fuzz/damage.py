"""Damage to files: cut, flipped and swapped bytes, and JSON values of other types and ranges."""

import json

PIECES = (b"\0", b"\xff\xfe", b'"', b",", b"\n", b"\r", b";", b"{", b"[", b"null", b"NaN", b"1e999")
VALUES = (
    *(None, True, -1, 0, 10**20, 1e308, "", "x" * 2000, [], {}, [[]], "../../x", "[/b]"),
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
)


def damaged(content, random):
    """1 to 3 cuts, flipped bits, insertions or repeats; never the same bytes."""
    changed = content
    while changed == content:
        for _ in range(int(random.integers(1, 4))):
            start, end = sorted(int(place) for place in random.integers(0, len(changed) + 1, 2))
            kind = int(random.integers(6))
            if kind == 0:
                changed = changed[:start]
            elif kind == 1:
                changed = changed[:start] + changed[end:]
            elif kind == 2 and start < len(changed):
                flipped = changed[start] ^ 1 << int(random.integers(8))
                changed = changed[:start] + bytes([flipped]) + changed[start + 1 :]
            elif kind == 3:
                piece = PIECES[int(random.integers(len(PIECES)))]
                changed = changed[:start] + piece + changed[start:]
            elif kind == 4:
                changed = changed[:end] + changed[start:]
            else:
                changed = changed[:start] + bytes(end - start) + changed[end:]
    return changed


def damaged_json(content, random):
    """The same document with one value replaced, one key missing or one key more."""
    document = json.loads(content)
    places = list(_places(document))
    holder, key = places[int(random.integers(len(places)))]
    kind = int(random.integers(4))
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = VALUES[int(random.integers(len(VALUES)))]
    return json.dumps(document).encode()


def _places(value):
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def damage_file(path, random):
    """Damages a file in place, or removes it, or puts a folder there; says what it did."""
    content = path.read_bytes()
    kind = int(random.integers(8))
    if kind == 0:
        path.unlink()
        return f"{path.name} removed"
    if kind == 1:
        path.unlink()
        path.mkdir()
        return f"{path.name} is a folder"
    if kind == 2:
        path.write_bytes(b"")
        return f"{path.name} emptied"
    if kind in (3, 4) and path.suffix == ".json":
        path.write_bytes(damaged_json(content, random))
        return f"{path.name}: another JSON value"
    path.write_bytes(damaged(content, random))
    return f"{path.name}: other bytes"
