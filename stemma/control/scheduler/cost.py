"""What a step takes, learned from the steps before it."""

FORGET = 0.5  # what was seen earlier weighs half as much with every step
MOST_SURPRISE = 2.0  # a step counts at most so many times what was expected: a machine that stalled once is not slow
LEAST_SHARE = 0.5  # chunks get this much of the time of their step's decodes, however long these take


class StepCost:
    """How many tokens of prompts fit beside decodes, so that these come in time. Owned by the Scheduler.

    A step takes what its decodes take plus what each token of its chunks takes. The first is measured in steps
    without chunks; the second is what remains of the others, so a wrong guess of the first makes up for itself
    while steps stay alike.

    Nobody is told anything else because of it: how a prompt is cut never shows.
    """

    def __init__(self, most_seconds: float):
        self.most_seconds = most_seconds  # 0: no limit
        self.decode_seconds = 0.0
        self._chunk_seconds = 0.0
        self._chunk_tokens = 0.0

    def learn(self, decodes: int, chunk_tokens: int, seconds: float) -> None:
        """A step of so many decodes and tokens of chunks took so long."""
        before = self.decode_seconds if decodes else 0.0
        expected = before + self._token_seconds * chunk_tokens
        if expected:
            seconds = min(seconds, MOST_SURPRISE * expected)
        if chunk_tokens:
            self._chunk_seconds = FORGET * self._chunk_seconds + max(0.0, seconds - before)
            self._chunk_tokens = FORGET * self._chunk_tokens + chunk_tokens
        else:
            self.decode_seconds = FORGET * before + (1 - FORGET) * seconds if before else seconds

    def fitting(self, tokens: int) -> int:
        """Of so many tokens of chunks, how many may stand beside decodes: one in any case."""
        if not self.most_seconds or not self._token_seconds:
            return tokens
        left = max(self.most_seconds - self.decode_seconds, LEAST_SHARE * self.decode_seconds)
        return min(tokens, max(1, int(left / self._token_seconds)))

    @property
    def _token_seconds(self) -> float:
        return self._chunk_seconds / self._chunk_tokens if self._chunk_tokens else 0.0
