"""A program's text so far, and the turns in it."""

from dataclasses import dataclass, field, replace

from stemma.front.lang.errors import Misuse
from stemma.front.lang.templates import ChatTemplate, Message


@dataclass(slots=True, eq=False)
class Said:
    """A stretch of a text that a model said, and its tokens. Written by the backend that had it said."""

    begin: int
    end: int
    tokens: list[int]
    is_cut: bool  # by a stop string: the tokens may say more than the text


@dataclass(slots=True, eq=False)
class Transcript:
    """What a model would read. Owned by an executor, or by a tracer that replays a program's beginning."""

    template: ChatTemplate
    text: str = ""
    messages: list[Message] = field(default_factory=list)  # turns that have ended
    role: str | None = None  # of the turn that has begun
    turn_start: int = 0
    images: list[str] = field(default_factory=list)  # and videos: base64
    request: str | None = None  # by what name the backend knows the last generation
    turn_images: int = 0  # how many there were when the turn began
    said: tuple[Said, ...] = ()  # in the order of the text; written by backends that speak in tokens

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
        self.turn_start, self.turn_images = len(self.text), len(self.images)

    def see(self, encoded: str) -> str:
        """An image, in base64; what stands for it in the text."""
        self.images.append(encoded)
        return self.template.image_token

    def end(self, role: str) -> None:
        if self.role != role:
            raise Misuse(f"a turn of {role!r} ends, but {self.role or 'none'} has begun")
        content = self.parts(self.text[self.turn_start :].lstrip())
        self.text += self.template.around(role, self.messages)[1]
        self.messages.append({"role": role, "content": content})
        self.role = None

    def rewrite(self, start: int, text: str) -> None:
        """Put another text in place of all that follows `start`."""
        self.text = self.text[:start] + text
        self.said = tuple(said for said in self.said if said.end <= start)

    def parts(self, text: str) -> object:
        """A turn's content: its text, and the images that were shown in it."""
        if len(self.images) == self.turn_images:
            return text
        urls = [f"data:image/jpeg;base64,{image}" for image in self.images[self.turn_images :]]
        return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]

    def branch(self) -> "Transcript":
        return replace(self, messages=list(self.messages), images=list(self.images))
