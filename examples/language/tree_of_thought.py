"""A tree of thought: branches propose, each is judged, the best one goes on. What branches share is computed once."""

import stemma as sgl


@sgl.function
def tree(s, question, width):
    s += sgl.user(question)
    branches = s.fork(width)
    for branch in branches:
        branch += sgl.assistant(sgl.gen("thought", max_tokens=16, temperature=0.8))
        branch += sgl.user("Is that right?")
        branch += sgl.assistant(sgl.select("verdict", ["Yes", "No"]))
    branches.join()
    scores = [branch.get_meta_info("verdict")["normalized_prompt_logprobs"] for branch in branches]
    best = max(range(width), key=lambda index: scores[index][0] - scores[index][1])
    s += sgl.assistant(s["thought"][best])
    s += sgl.user("Say it again.")
    s += sgl.assistant(sgl.gen("answer", max_tokens=16, temperature=0))


def main(backend):
    state = tree.run("What is 17 + 25?", 3, backend=backend)
    for thought, verdict in zip(state["thought"], state["verdict"], strict=True):
        print(f"{verdict}: {thought}")
    print("answer:", state["answer"])


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
