"""An assistant's message as OpenAI writes it, from the parts of an answer."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from stemma.core.types.output import Finish, TextChunk
from stemma.front.dialect.gather import Progress
from stemma.front.server.openai.common import matched_stop
from stemma.front.server.openai.schema import AssistantMessage, CalledFunction, Delta, ToolCall
from stemma.front.service.message import MessageReader
from stemma.front.service.promise import Message
from stemma.front.text.markers import Part


@dataclass(slots=True, eq=False)
class Telling:
    """One continuation as a stream tells it. Owned by the handler."""

    answer: Progress
    reader: MessageReader
    holds_thoughts: bool  # until the last is thought
    held: list[str] = field(default_factory=list)

    def read(self, chunk: TextChunk) -> list[Delta]:
        is_end = chunk.finish is not None
        self.answer.add(chunk)
        self.answer.forget()
        parts = self.reader.read(chunk.text, chunk.tokens, is_end)
        self.answer.thought = self.reader.thought_tokens
        return [delta_of(part) for part in (self._hold(parts, is_end) if self.holds_thoughts else parts)]

    def _hold(self, parts: Sequence[Part], is_end: bool) -> list[Part]:
        self.held += [part.text for part in parts if part.kind == "reasoning"]
        others = [part for part in parts if part.kind != "reasoning"]
        if not self.held or not (others or is_end):
            return others
        thought = Part("reasoning", "".join(self.held))
        self.held.clear()
        return [thought, *others]


def delta_of(part: Part) -> Delta:
    match part.kind:
        case "reasoning":
            return Delta(reasoning_content=part.text)
        case "content":
            return Delta(content=part.text)
        case "call":
            return Delta(tool_calls=[call_of(part)])
        case "arguments":
            more = CalledFunction(None, part.text)
            return Delta(tool_calls=[ToolCall(index=part.call, id=None, function=more)])


def message_of(parts: Sequence[Part]) -> AssistantMessage:
    """The whole message. Content is never null."""
    content, thought, calls = "", "", list[ToolCall]()
    for part in parts:
        match part.kind:
            case "reasoning":
                thought += part.text
            case "content":
                content += part.text
            case "call":
                calls.append(call_of(part))
            case "arguments":
                calls[part.call].function.arguments += part.text
    message = AssistantMessage(content=content, reasoning_content=thought or None)
    if calls:
        message.tool_calls = calls
    return message


def told_of(parts: Sequence[Part]) -> Message:
    """The message as its certificate is about it."""
    message = message_of(parts)
    calls = message.tool_calls or []
    return Message(message.content, [(call.function.name or "", call.function.arguments) for call in calls])


def call_of(part: Part) -> ToolCall:
    return ToolCall(index=part.call, id=f"call_{secrets.token_hex(12)}", function=CalledFunction(part.text, ""))


def end_of(finish: Finish | None, reader: MessageReader) -> tuple[str, int | str | None]:
    """Why the answer ended, and at what. An answer that was cut off says so, even in the midst of a call."""
    if finish is not None and finish.reason == "stop" and reader.has_calls:
        return "tool_calls", None
    return finish.reason if finish else "abort", matched_stop(finish)
