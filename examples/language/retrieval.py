"""Answers out of local files: the passages that share most words with a question are read, and one sentence is quoted.

The quote is chosen among the sentences, so that an answer is always a place in a file. A word counts the more, the
fewer passages have it. The model that comes with Stemma is too small to choose well among many: it reads one passage.
"""

import math
import re
from collections import Counter
from pathlib import Path

import stemma as sgl

FOLDER = Path(__file__).parents[2] / "docs"
MOST_CHARACTERS = 400  # of a passage: the small model reads up to some 600 tokens well


def words(text):
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def passages(folder):
    """(name of the file, text) of each paragraph, item of a list and row of a table."""
    for path in sorted(folder.glob("*.md")):
        for text in re.split(r"\n\n|\n(?=[-|] )", path.read_text()):
            text = " ".join(re.sub(r"[*`|#]|^- ", " ", text).split())
            if MOST_CHARACTERS // 10 < len(text) < MOST_CHARACTERS:
                yield path.name, text


def best(question, found, count):
    """The passages that say most about the question."""
    rarity = Counter(word for _, text in found for word in words(text))
    asked = words(question)

    def score(passage):
        return sum(math.log(len(found) / rarity[word]) for word in asked & words(passage[1]))

    return sorted(found, key=score, reverse=True)[:count]


@sgl.function
def quote(s, question, sources):
    sentences = [sentence for _, text in sources for sentence in re.split(r"(?<=[.:;]) ", text)]
    s += sgl.user("\n\n".join(text for _, text in sources) + "\n\n" + question)
    s += sgl.assistant(sgl.select("quote", sentences, choices_method=sgl.greedy_token_selection))
    return next(name for name, text in sources if s["quote"] in text)


def main(backend):
    found = list(passages(FOLDER))
    questions = ["How is noise keyed?", "What holds page numbers?", "What is the null page?"]
    arguments = [[question, best(question, found, 1)] for question in questions]
    for question, state in zip(questions, quote.run_batch(arguments, backend=backend), strict=True):
        print(f"{question}\n  {state['quote']} ({state.ret_value})")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
