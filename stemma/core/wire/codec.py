"""MessagePack encoders and decoders, one per direction. Decoding is validating."""

import msgspec

from stemma.core.types.control import FromEngine, ToEngine

encode = msgspec.msgpack.Encoder().encode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode
