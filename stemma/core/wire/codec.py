"""MessagePack encoders and decoders, one per direction. Decoding is validating."""

import msgspec

from stemma.core.types.control import FromEngine, ToEngine

_TO_ENGINE = msgspec.msgpack.Decoder(ToEngine)
_FROM_ENGINE = msgspec.msgpack.Decoder(FromEngine)

encode = msgspec.msgpack.Encoder().encode


def decode_to_engine(body: bytes) -> ToEngine:
    """Raises msgspec.DecodeError."""
    message: ToEngine = _TO_ENGINE.decode(body)
    return message


def decode_from_engine(body: bytes) -> FromEngine:
    """Raises msgspec.DecodeError."""
    message: FromEngine = _FROM_ENGINE.decode(body)
    return message
