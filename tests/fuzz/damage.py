"""Strategies of damage to a file's bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Numbers that lengths and offsets must not be believed to be.
_LENGTHS = (0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)


@st.composite
def damaged(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """``content`` cut off, or with bytes changed, lost, doubled or put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        # Sizes and names stand at both ends.
        end = draw(st.sampled_from([64, 600, len(found)]))
        place = draw(st.integers(0, max(min(end, len(found)) - 1, 0)))
        place = draw(st.sampled_from([place, max(len(found) - 1 - place, 0)]))
        how = draw(st.sampled_from(["flip", "cut off", "lose", "double", "put in", "length"]))
        if how == "flip" and found:
            found[place] ^= draw(st.integers(1, 255))
        elif how == "cut off":
            del found[place:]
        elif how == "lose":
            del found[place : place + draw(st.integers(1, 40))]
        elif how == "double":
            found[place:place] = found[place : place + draw(st.integers(1, 400))]
        elif how == "put in":
            found[place:place] = draw(st.binary(min_size=1, max_size=40))
        else:
            kind = draw(st.sampled_from(["<Q", "<I", ">Q"]))
            number = draw(st.sampled_from(_LENGTHS)) & (2 ** (8 * struct.calcsize(kind)) - 1)
            found[place : place + struct.calcsize(kind)] = struct.pack(kind, number)
    return bytes(found)
