"""The colour, dash and marker of a method: the same on every page, whatever else is on it."""

from typing import NamedTuple
from zlib import crc32

INK = "currentColor"  # black on paper, light on a dark screen
COLORS = (
    *("#1f77b4", "#d1495b", "#2a9d62", "#8a63c4", "#c9821b", "#149ca5"),
    *("#b5522a", "#e05fa5", "#6f8f1f", "#5568d8", "#9c6b4a", "#7a8794"),
)
DASHES = ("", "6 3", "1.5 2.5", "9 4", "6 3 1.5 3")
MARKERS = {
    "circle": "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "square": "M-2.7 -2.7h5.4v5.4h-5.4z",
    "triangle": "M0 -3.6L3.4 2.6H-3.4z",
    "diamond": "M0 -3.8L3.6 0L0 3.8L-3.6 0z",
    "turned": "M0 3.6L3.4 -2.6H-3.4z",
    "plus": "M-1.2 -3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
}
# Those that are compared most, each with a colour that no other of them has.
_FIRST = (
    *("ASFT", "DPO", "GRPO", "OfflinePPO", "RWR", "ExpRSFT"),
    *("KTO", "CQL", "TopKREINFORCE", "AWAC", "IPO", "Pretrained"),
)
_INKED = ("BC", "gold (truth)", "no noise")
_FIXED = {"proxy (reward model)": 0, "judge (of other users)": 4}


class Style(NamedTuple):
    color: str
    dash: str
    marker: str  # the data of an SVG path around 0, 0


def style_of(name: str) -> Style:
    """By the name alone. A variant such as ASFT(model) has the colour of its method."""
    base = name.partition("(")[0].partition(",")[0].strip()
    marks, number = list(MARKERS.values()), crc32(name.encode())
    dash, mark = DASHES[1 + number % (len(DASHES) - 1)], marks[number // 7 % len(marks)]
    if name in _INKED or base in _INKED:
        return Style(INK, "" if name in _INKED else dash, marks[0])
    if name in _FIRST:  # the only solid ones
        place = _FIRST.index(name)
        return Style(COLORS[place], "", marks[place % len(marks)])
    known = _FIRST.index(base) if base in _FIRST else crc32(base.encode()) % len(COLORS)
    return Style(COLORS[_FIXED.get(name, known)], dash, mark)
