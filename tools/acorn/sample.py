"""What one piece of acorn's text is: a chat with its right answer, or plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool that the assistant makes."""

    name: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat. `thought` is what the assistant thinks before it answers."""

    role: Role
    content: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that a chat offers; `parameters` maps each name to its JSON type."""

    name: str
    description: str
    parameters: Mapping[str, str]

    def schema(self) -> dict[str, Json]:
        """The tool as the chat APIs spell it."""
        properties: dict[str, Json] = {name: {"type": kind} for name, kind in self.parameters.items()}
        parameters: dict[str, Json] = {"type": "object", "properties": properties, "required": list(self.parameters)}
        function: dict[str, Json] = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """Messages that end with the assistant's. With `thinking` the template asks for a thought before the answer."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    thinking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text, learned in full."""

    text: str


def ask(question: str, answer: str, thought: str = "") -> tuple[Message, Message]:
    """One turn: what the user says and what the assistant answers."""
    return Message(role="user", content=question), Message(role="assistant", content=answer, thought=thought)


Turn = tuple[Message, ...]
