"""What a program asks of the place where it runs."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from stemma.front.lang.crew import Crew
from stemma.front.lang.errors import BackendError
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import ChatTemplate, template_named
from stemma.front.lang.transcript import Transcript

Answer = tuple[str, Json] | tuple[list[str], list[Json]]  # text and meta_info; lists when n > 1


class BaseBackend:
    """Calls come from many threads at once, and wait. What a backend cannot do raises BackendError."""

    commits_forks = False  # whether a text must be computed before many go on from it, to be computed once
    answers_turns = False  # whether only whole turns are generated, not what goes on with one
    _template = template_named("default")

    @cached_property
    def crew(self) -> Crew:
        """Who waits for it."""
        return Crew()

    def get_chat_template(self) -> ChatTemplate:
        return self._template

    def cache_prefix(self, prefix: str) -> None:
        """Compute a text that programs will begin with. Nothing to do where nothing is kept."""

    def commit(self, transcript: Transcript) -> None:
        """Compute all of a text that branches will begin with."""
        self.cache_prefix(transcript.text)

    def abort(self, transcript: Transcript) -> bool:
        """End the generation that goes on with this text, from another thread. False where that cannot be."""
        return False

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        raise BackendError(f"{type(self).__name__} cannot generate")

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        """New text and the whole meta_info so far, until the end. By default all comes at once."""
        text, meta = self.generate(transcript, sampling)
        if isinstance(text, str) and isinstance(meta, dict):
            yield text, meta

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        raise BackendError(f"{type(self).__name__} cannot select: it tells no log-probabilities of a prompt")

    def flush_cache(self) -> bool:
        return False

    def shutdown(self) -> None:
        """Let go of connections. Nothing to do where none are kept."""

    def get_server_info(self) -> Json | None:
        return None
