"""Skeleton of thought: the points of an answer are written side by side, each in a branch, and then put together.

The branches share everything that stands before them, and an answer takes as long as its longest point.
"""

import stemma as sgl

SKELETON = {  # a larger model can be asked for the points as well
    "River": "Which river flows through {}?",
    "Mayor": "Who is the mayor of {}?",
    "Food": "What dish is {} known for?",
    "Tower": "What color is the tower of {}?",
}


@sgl.function
def guide(s, town):
    s += sgl.system("You know the valley of Oakmere.")
    branches = s.fork(len(SKELETON))
    branches += [sgl.user(point.format(town)) for point in SKELETON.values()]
    branches += sgl.assistant(sgl.gen("tip", max_tokens=24))
    branches.join()
    s += sgl.user(f"Tell me about {town}.")
    s += sgl.assistant("\n".join(f"- {point}: {tip}" for point, tip in zip(SKELETON, s["tip"], strict=True)))


def main(backend):
    state = guide.run("Fernhill", backend=backend, temperature=0)
    print(state.messages()[-1]["content"])


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
