"""Many questions behind the same examples, which are computed once for the whole batch."""

import stemma as sgl

EXAMPLES = "".join(f"Question: What is {a} + {b}?\nAnswer: {a + b}\n\n" for a, b in [(3, 4), (10, 5), (21, 8), (6, 30)])


@sgl.function
def few_shot(s, question):
    s += EXAMPLES
    s += "Question: " + question + "\nAnswer:"
    s += sgl.gen("answer", max_tokens=6, stop="\n")


def main(backend):
    questions = [{"question": f"What is {a} + {a + 3}?"} for a in range(2, 8)]
    for asked, state in zip(questions, few_shot.run_batch(questions, backend=backend, temperature=0), strict=True):
        cached = state.get_meta_info("answer")["cached_tokens"]
        print(f"{asked['question']}{state['answer']}  ({cached} tokens of the prompt were in the cache)")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
