"""Speculation on an API: one request answers several generations, as long as the program says what the model would."""

from dataclasses import dataclass, replace

from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.errors import BackendError, Misuse
from stemma.front.lang.sampling import Json, Sampling, is_cut, strings
from stemma.front.lang.transcript import Transcript

TRIES = 3  # requests for a turn that begins as the program's does


@dataclass(slots=True, eq=False)
class Ahead:
    """What a model would say next, for one branch of a program. Owned by its executor.

    Of a chat model a whole turn is asked, though it has begun: the answer must begin, and go on, like the program.
    """

    tokens: int  # asked for at least
    _text: str = ""  # of the program, with all that the model would add
    _meta: Json | None = None

    def generate(self, backend: BaseBackend, transcript: Transcript, sampling: Sampling) -> tuple[str, Json]:
        """What is said up to the first stop; without one, all. Raises BackendError when the model will not go along."""
        if sampling.n > 1:
            raise Misuse(f"num_api_spec_tokens goes with one answer, not n={sampling.n}")
        said = self._kept(transcript.text, strings(sampling.stop))
        if said is None:
            self._ask(backend, transcript, sampling)
            said = self._text[len(transcript.text) :]
        ends = [at for stop in strings(sampling.stop) if (at := said.find(stop)) >= 0]
        return said[: min(ends, default=len(said))], dict(self._meta or {})

    def _kept(self, text: str, stops: tuple[str, ...]) -> str | None:
        """What was asked before and comes next. None: nothing, or it may have been cut off before its end."""
        rest = self._text[len(text) :] if self._text.startswith(text) else ""
        is_whole = any(stop in rest for stop in stops) or not is_cut(self._meta or {})
        return rest if rest and is_whole else None

    def _ask(self, backend: BaseBackend, transcript: Transcript, sampling: Sampling) -> None:
        has_turn = backend.answers_turns and transcript.role is not None
        start = transcript.turn_start if has_turn else len(transcript.text)
        begun = transcript.text[start:]
        if begun and self._text.startswith(transcript.text[:start]) and len(self._text) > start:
            raise BackendError(f"the model's turn is {self._text[start:]!r}, the program's begins {begun!r}")
        asked = replace(sampling, max_new_tokens=max(self.tokens, sampling.max_new_tokens), stop=())
        for _ in range(TRIES):
            text, meta = backend.generate(replace(transcript, text=transcript.text[:start]), asked)
            if isinstance(text, str) and isinstance(meta, dict) and text.startswith(begun):
                self._text, self._meta = transcript.text[:start] + text, meta
                return
        raise BackendError(f"{TRIES} turns of the model did not begin as the program's does, with {begun!r}")
