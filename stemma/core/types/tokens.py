"""Token ids as they travel: int32, little-endian, packed into bytes."""

import sys
from array import array
from collections.abc import Iterable

WIDTH = 4  # bytes of a token id


def pack(tokens: Iterable[int]) -> bytes:
    packed = tokens if isinstance(tokens, array) and tokens.typecode == "i" else array("i", tokens)
    if sys.byteorder == "big":
        packed = array("i", packed)
        packed.byteswap()
    return packed.tobytes()


def unpack(packed: bytes) -> "array[int]":
    """Raises ValueError when the length is not a multiple of four bytes."""
    tokens = array("i")
    tokens.frombytes(packed)
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens
