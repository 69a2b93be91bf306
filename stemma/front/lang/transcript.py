"""A program's text so far, and the turns in it."""

from dataclasses import dataclass, field

from stemma.front.lang.errors import Misuse
from stemma.front.lang.templates import ChatTemplate, Message


@dataclass(slots=True, eq=False)
class Transcript:
    """What a model would read. Owned by an executor, or by a tracer that replays a program's beginning."""

    template: ChatTemplate
    text: str = ""
    messages: list[Message] = field(default_factory=list)  # turns that have ended
    role: str | None = None  # of the turn that has begun
    turn_start: int = 0

    def begin(self, role: str) -> None:
        """Start a turn; before the first one comes the template's system prompt, if it has one."""
        if self.role is not None:
            raise Misuse(f"a turn of {role!r} begins inside one of {self.role!r}; end that first")
        prompt = self.template.default_system_prompt
        if prompt is not None and role != "system" and not self.messages:
            self.begin("system")
            self.text += prompt
            self.end("system")
        self.role = role
        self.text += self.template.around(role, self.messages)[0]
        self.turn_start = len(self.text)

    def end(self, role: str) -> None:
        if self.role != role:
            raise Misuse(f"a turn of {role!r} ends, but {self.role or 'none'} has begun")
        content = self.text[self.turn_start :].lstrip()
        self.text += self.template.around(role, self.messages)[1]
        self.messages.append({"role": role, "content": content})
        self.role = None

    def branch(self) -> "Transcript":
        return Transcript(self.template, self.text, list(self.messages), self.role, self.turn_start)
