"""From the bytes of a body to a typed record. Whatever is wrong is a 400 that names the field."""

import re
from typing import TypeVar

import msgspec

from stemma.core.base.errors import BadRequest
from stemma.front.server.endpoint import Call

T = TypeVar("T")

_PLACE = re.compile(r"(?P<what>.*?) - at (?:`key` in )?`\$\.?(?P<path>.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_UNSET = {b"null", b"false", b'""', b"[]", b"{}", b"0"}


class Later(msgspec.Struct):
    """Base of a record whose fields are known by name and not served yet: to set one is an error.

    Its fields are of type Raw, so that whatever they hold is skipped over, not built.
    """

    def refuse(self, names: tuple[str, ...]) -> None:
        for name in names:
            if bytes(getattr(self, name)).strip() not in _UNSET:
                raise BadRequest(f"{name} is not served yet; leave it out", name)


def decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as error:  # malformed JSON, or text that is not UTF-8
        raise BadRequest(f"the body is not valid JSON in UTF-8: {error}") from None


def misfit(error: msgspec.ValidationError, under: str = "") -> BadRequest:
    """What msgspec says of a value that does not fit, with the path of its field below `under`."""
    what, path = str(error), ""
    if place := _PLACE.fullmatch(what):
        what, path = place["what"], place["path"]
    if unknown := _UNKNOWN.fullmatch(what):
        what, path = f"unknown field `{unknown['name']}`", f"{path}.{unknown['name']}".lstrip(".")
    path = f"{under}.{path}".strip(".") if not path.startswith("[") else under + path
    return BadRequest(f"{path}: {what}" if path else what, path or None)


def require_json(call: Call) -> None:
    """The routes of OpenAI's protocol take nothing but JSON, and want to be told so."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest(f"Unsupported Media Type: {kind or 'none given'}; send Content-Type: application/json")
