"""All state of an engine as pieces of bytes, for a store that keeps values: the base.

    pieces = to_pieces(facts, engine)
    facts, put = from_pieces(pieces); put(engine)

State is reserved, not used: only what was ever touched and is not zero is in the pieces, in parts
of 64 KiB. What ran since a base was made is kept as input and run again, which costs less than the
pages that it dirties: a book writes to half of them every few thousand events.
"""

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from onetape.codecs.block import END as FACTS
from onetape.codecs.block import FRAMES as PARTS
from onetape.codecs.block import HEADER_BYTES, Header, decode, encode, encode_json, json_of
from onetape.engine import state
from onetape.native.pages import copy_touched, touched
from onetape.records import IntegrityError, OperatorError

PART_BYTES = 1 << 16
PIECE_BYTES = 15 * PART_BYTES  # so that a piece stays under a MiB
_PART = struct.Struct("<IIII")  # of the array, its number, bytes, reserved


def to_pieces(facts: dict[str, Any], engine: Any) -> list[bytes]:
    """The pieces, the first of which holds `facts`; engine: None, where there is none yet."""
    arrays = state.save(engine) if engine is not None else {}
    told = {n: [_described(a.dtype), list(a.shape)] for n, a in arrays.items()}
    pieces = [encode_json(Header(FACTS), {"facts": facts, "arrays": told})]
    kept = bytearray()
    for number, array in enumerate(arrays.values()):
        for part, data in _parts(array):
            if len(kept) + _PART.size + len(data) > PIECE_BYTES:
                pieces.append(_piece(len(pieces), kept))
                kept = bytearray()
            kept += _PART.pack(number, part, len(data), 0) + data.tobytes()
    if kept:
        pieces.append(_piece(len(pieces), kept))
    pieces[0] = encode_json(
        Header(FACTS, count=len(pieces)), {"facts": facts, "arrays": told, "pieces": len(pieces)}
    )
    return pieces


def from_pieces(pieces: Iterable[bytes]) -> tuple[dict[str, Any], Callable[[Any], None]]:
    """(facts, put): `put(engine)` gives it the state. IntegrityError: a piece is missing."""
    given = list(pieces)
    if not given or len(given[0]) < HEADER_BYTES:
        raise IntegrityError("a base of no pieces: there is no state to go back to")
    about = json_of(given[0])
    if about["pieces"] != len(given):
        raise IntegrityError(f"a base of {about['pieces']} pieces, and {len(given)} are there")

    def put(engine: Any) -> None:
        own = state.save(engine)
        if {n: [_described(a.dtype), list(a.shape)] for n, a in own.items()} != about["arrays"]:
            odd = [
                n for n in {**own, **about["arrays"]} if n not in own or n not in about["arrays"]
            ]
            raise OperatorError(
                "the state is laid out otherwise than this pipeline's"
                f"{': it differs in ' + ', '.join(odd[:4]) if odd else ''}; run the version that "
                "made it, or begin anew"
            )
        arrays = {name: np.zeros(array.shape, array.dtype) for name, array in own.items()}
        flat = [array.reshape(-1).view(np.uint8) for array in arrays.values()]
        for ordinal, piece in enumerate(given[1:], 1):
            header, data = decode(piece)
            if header.ordinal != ordinal:
                raise IntegrityError(f"piece {header.ordinal} of a base, expected {ordinal}")
            at = 0
            while at < len(data):
                number, part, size, _ = _PART.unpack_from(data, at)
                at += _PART.size
                begin = part * PART_BYTES
                flat[number][begin : begin + size] = data[at : at + size]
                at += size
        state.restore(engine, arrays, copy_touched)

    return about["facts"], put


def _parts(array: Any) -> Iterator[tuple[int, Any]]:
    """(number, bytes) of each part of an array that holds anything but zeros."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for part in np.flatnonzero(touched(flat, PART_BYTES)).tolist():
        data = flat[part * PART_BYTES : (part + 1) * PART_BYTES]
        if data.any():
            yield part, data


def _piece(ordinal: int, kept: bytearray) -> bytes:
    return encode(Header(PARTS, ordinal=ordinal, codec="zstd"), bytes(kept))


def _described(dtype: Any) -> Any:
    return dtype.str if dtype.names is None else json.loads(json.dumps(dtype.descr))
