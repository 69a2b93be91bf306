"""A chat of several turns: each answer is computed behind what the turns before it left in the cache."""

import stemma as sgl


@sgl.function
def conversation(s, questions):
    for number, question in enumerate(questions):
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen(f"answer {number}", max_tokens=24))


def main(backend):
    state = conversation.run(["What is 17 + 25?", "And what colour is grass?"], backend=backend, temperature=0)
    for message in state.messages():
        print(f"{message['role']}: {message['content']}")
    print("found in the cache:", state.get_meta_info("answer 1")["cached_tokens"], "tokens")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
