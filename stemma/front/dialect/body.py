"""From the bytes of a body to a typed record. Whatever is wrong is a 400 that names the field."""

import gc
import re
from typing import TypeVar

import msgspec

from stemma.core.base.errors import BadRequest

T = TypeVar("T")

_PLACE = re.compile(r"(?P<what>.*?) - at (?:`key` in )?`\$\.?(?P<path>.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_UNSET = (b"null", b"false", b'""', b"[]", b"{}")


class Misfit(BadRequest):
    """A value that its field's type does not admit, or a body that is no JSON."""


class Later(msgspec.Struct):
    """Base of a body some of whose fields are known and not served yet: to set one is an error.

    Such a field is of type Raw, so that whatever it holds is skipped over, not built.
    """

    def refuse_later(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, msgspec.Raw) and bytes(value).strip() not in _UNSET:
                raise BadRequest(f"{name} is not served yet; leave it out", name)


def decode(body: bytes, kind: type[T]) -> T:
    # A body may be ten million empty lists, which would be walked through again and again as they come.
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except RecursionError:
        raise Misfit("the body is nested too deeply") from None
    except ValueError as error:  # malformed JSON, or text that is not UTF-8
        raise Misfit(f"the body is not valid JSON in UTF-8: {error}") from None
    finally:
        if was_collecting:
            gc.enable()


def misfit(error: msgspec.ValidationError, under: str = "") -> Misfit:
    """What msgspec says of a value that does not fit, with the path of its field below `under`."""
    what, path = str(error), ""
    if place := _PLACE.fullmatch(what):
        what, path = place["what"], place["path"]
    if unknown := _UNKNOWN.fullmatch(what):
        what, path = f"unknown field `{unknown['name']}`", f"{path}.{unknown['name']}".lstrip(".")
    path = f"{under}.{path}".strip(".") if not path.startswith("[") else under + path
    return Misfit(f"{path}: {what}" if path else what, path or None)
