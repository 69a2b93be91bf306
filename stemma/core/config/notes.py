"""Decisions and why they fell so, as `plan` and `serve` tell them."""

from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")

ASKED = "you asked for it"


class Reason(Struct, frozen=True):
    """Why a setting is what it is."""

    name: str
    value: str
    why: str


class Notes(list[Reason]):
    """Reasons, in the order of the decisions."""

    def take(self, name: str, choice: tuple[T, str]) -> T:
        self.append(Reason(name, str(choice[0]), choice[1]))
        return choice[0]
