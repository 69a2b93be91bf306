"""One prompt or many: how requests spell batches."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from stemma.core.base.errors import BadRequest

T = TypeVar("T")
Prompt = str | list[int]


def token_lists(value: Sequence[int | list[int]], field: str) -> tuple[list[list[int]], bool]:
    """`[1, 2]` is one prompt, `[[1, 2], [3]]` a batch of two; a mixture is neither."""
    lists = [item for item in value if isinstance(item, list)]
    if lists and len(lists) == len(value):
        return lists, True
    if lists:
        raise BadRequest(f"{field}: token ids and lists of token ids are mixed", field)
    return [[item for item in value if isinstance(item, int)]], False


def request_ids(rid: str | list[str] | None, size: int, is_batch: bool) -> Sequence[str | None]:
    """The id of each prompt; None: any that is free."""
    if rid is None:
        return [None] * size
    if isinstance(rid, str):
        return [f"{rid}_{at}" for at in range(size)] if is_batch else [rid]
    ids = each(rid, "rid", size, "")
    if len(set(ids)) < size:
        raise BadRequest("rid: the same id twice in one batch", "rid")
    return ids


def each(value: T | list[T] | None, field: str, size: int, default: T) -> list[T]:
    """One value for each prompt: a list has them all, anything else is the same for all."""
    if not isinstance(value, list):
        return [default if value is None else value] * size
    if len(value) != size:
        raise BadRequest(f"{field}: {len(value)} values for {size} prompts", field)
    return value


def located(error: BadRequest, places: Mapping[str, str]) -> BadRequest:
    """The same error, its field named as the body names it."""
    error.field = places.get(error.field or "", error.field)
    return error
