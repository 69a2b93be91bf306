"""Choices by name, imported only when chosen."""

from collections.abc import Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from stemma.core.base.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """A fixed table from name to `module:attribute`. An unknown name lists the known ones.

    The only place besides `cli/` where a late import is allowed: choosing is importing.
    """

    def __init__(self, kind: str, places: Mapping[str, str]):
        self.kind = kind
        self._places = dict(places)

    def names(self) -> list[str]:
        return list(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> T:
        if name not in self._places:
            raise UnknownName(self.kind, name, self._places)
        module, _, attribute = self._places[name].partition(":")
        return cast(T, getattr(import_module(module), attribute))
