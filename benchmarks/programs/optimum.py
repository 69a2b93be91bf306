"""How much of what programs read could be found in a cache: by a trie over the tokens of their requests.

It shares no line with the engine's cache: one token to a node, no pages, nothing is ever forgotten.
"""

from collections.abc import Iterable
from typing import NamedTuple

Trie = dict[int, "Trie"]


class Asked(NamedTuple):
    """One request, and what it was answered."""

    prompt: list[int]
    output: list[int]
    cached: int


def findable(requests: Iterable[Asked]) -> int:
    """Prompt tokens that were computed before, were nothing forgotten.

    Requests come in the order in which they began. The last token of a prompt is always computed: what follows it is
    asked for. The last token of an answer is never computed, unless somebody goes on from it.
    """
    root: Trie = {}
    found = 0
    for asked in requests:
        node = root
        for token in asked.prompt[:-1]:
            if token not in node:
                break
            node = node[token]
            found += 1
        node = root
        for token in [*asked.prompt, *asked.output[:-1]]:
            node = node.setdefault(token, {})
    return found
