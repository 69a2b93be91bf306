"""What went wrong, as HTTP says it: one body per family of routes."""

import logging
from typing import Literal

import msgspec
from starlette.responses import Response

from stemma.core.base.errors import BadRequest, Bug, StemmaError
from stemma.front.dialect.body import Misfit

Style = Literal["native", "generate", "openai"]

HEADERS = {408: {"Connection": "close"}, 503: {"Retry-After": "1"}}
DONE = b"data: [DONE]\n\n"

log = logging.getLogger(__name__)


class TooLarge(BadRequest):
    """The body has more bytes than this server reads."""

    status = 413


class TooSlow(BadRequest):
    """The body did not arrive in time."""

    status = 408


class Left(Exception):
    """The client went away while its body was read; nobody is there to be told."""


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def error_response(error: StemmaError, style: Style) -> Response:
    return json_response(content_of(error, style), error.status, HEADERS.get(error.status))


def content_of(error: StemmaError, style: Style) -> object:
    if style == "openai":
        return openai_error(error)
    if style == "generate" and isinstance(error, Misfit):
        return {"error": describe(error)}
    return {"error": {"message": describe(error)}}


def error_event(error: StemmaError, style: Style) -> bytes:
    """What ends a stream that has begun: one event that says why."""
    content = openai_error(error) if style == "openai" else native_error(error)
    return b"data: " + msgspec.json.encode({"error": content}) + b"\n\n" + DONE


def openai_error(error: StemmaError) -> dict[str, object]:
    kind = {400: "BadRequestError", 500: "InternalServerError"}.get(error.status, str(error.status))
    return {"object": "error", "message": describe(error), "type": kind, "param": None, "code": error.status}


def native_error(error: StemmaError) -> dict[str, object]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"message": describe(error), "type": kind, "code": error.status, "retryable": error.status == 503}


def describe(error: StemmaError) -> str:
    """The message, led by the JSON path of the field at fault unless it is named already."""
    field = error.field if isinstance(error, BadRequest) else None
    return f"{field}: {error.message}" if field and field not in error.message else error.message


def known(error: Exception) -> StemmaError:
    """The error itself if we raised it on purpose; any other is our mistake: logged, and told in one line."""
    if isinstance(error, StemmaError):
        return error
    log.error("unexpected error while answering", exc_info=error)
    return Bug("an internal error; the server's log tells more")
