"""A backend without a model: says what a script says, and keeps what it was asked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import ChatTemplate, template_named
from stemma.front.lang.transcript import Transcript


class FakeBackend(BaseBackend):
    """`script(text)` is the answer to a text; one that raises makes the backend fail. `hold()` makes it wait."""

    commits_forks = True

    def __init__(self, script: Callable[[str], str] = lambda text: "answer", template: str = "default"):
        self.script = script
        self.template = template_named(template)
        self.asked: list[tuple[str, Sampling]] = []
        self.cached: list[str] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def hold(self) -> None:
        self.may_go.clear()

    def go(self) -> None:
        self.may_go.set()

    def get_chat_template(self) -> ChatTemplate:
        return self.template

    def cache_prefix(self, prefix: str) -> None:
        self.script(prefix)
        self.cached.append(prefix)

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        self.asked.append((transcript.text, sampling))
        assert self.may_go.wait(20)
        text = self.script(transcript.text)
        if sampling.n > 1:
            metas: list[Json] = [{"index": at} for at in range(sampling.n)]
            return [f"{text}{index}" for index in range(sampling.n)], metas
        meta: Json = {"length": len(text)}
        return text, meta

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        """A letter at a time; between them the test may hold it."""
        self.asked.append((transcript.text, sampling))
        said = [*self.script(transcript.text)]
        for at, letter in enumerate(said):
            assert self.may_go.wait(20)
            yield letter, {"output_token_logprobs": [(-float(of), ord(said[of]), None) for of in range(at + 1)]}

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        self.script(transcript.text)
        return ChoicesDecision(choices[-1], {"choices": list(choices)})

    def flush_cache(self) -> bool:
        return True


class Endless(FakeBackend):
    """Goes on until it is aborted, behind texts that do not end with a mark."""

    def __init__(self, mark: str = "!") -> None:
        super().__init__()
        self.mark = mark
        self.running: list[Transcript] = []
        self.aborted: list[Transcript] = []

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        self.running.append(transcript)
        self.asked.append((transcript.text, sampling))
        while transcript not in self.aborted and not transcript.text.endswith(self.mark):
            time.sleep(0.001)
        self.running.remove(transcript)
        return "cut", {}

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        return BaseBackend.generate_stream(self, transcript, sampling)

    def abort(self, transcript: Transcript) -> bool:
        self.aborted.append(transcript)
        return True
