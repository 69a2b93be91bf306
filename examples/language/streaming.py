"""Streaming: text is shown while the program goes on; one variable is followed, or the whole text."""

import asyncio

import stemma as sgl


@sgl.function
def story(s, topic):
    s += sgl.user("Tell me a short story about " + topic + ".")
    s += sgl.assistant(sgl.gen("story", max_tokens=48))


async def follow(state):
    async for text in state.text_async_iter("story"):
        print(text, end="", flush=True)
    print()


def main(backend):
    for text in story.run("a fox", backend=backend, temperature=0, stream=True).text_iter():
        print(text, end="", flush=True)
    asyncio.run(follow(story.run("an otter", backend=backend, temperature=0, stream=True)))


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
