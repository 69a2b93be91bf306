"""A chat as the text that the model reads, cut into what it learns and what it only sees.

Always: the parts joined are what `chat_template.jinja` renders, which a test compares.
"""

import json
from pathlib import Path

from tools.acorn.sample import Chat, Json, Message, Text

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
START, END, SEPARATOR = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK = "Think before you answer."
CALL_HINT = 'Call a tool as JSON: <tool_call>{"name": ..., "arguments": ...}</tool_call>'

# A piece of text and whether it is learned.
Part = tuple[str, bool]


def _system(chat: Chat) -> tuple[str, tuple[Message, ...]]:
    """The system block, empty without one, and the messages after it."""
    messages = chat.messages
    blocks = []
    if messages[0].role == "system":
        blocks.append(messages[0].content)
        messages = messages[1:]
    if chat.tools:
        listed = "\n".join(_json(tool.schema()) for tool in chat.tools)
        blocks.append(f"# Tools\n<tools>\n{listed}\n</tools>\n{CALL_HINT}")
    if chat.thinking:
        blocks.append(THINK)
    return (f"{START}system\n" + "\n\n".join(blocks) + f"{END}\n" if blocks else ""), messages


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def answer_text(message: Message, with_thought: bool) -> str:
    """What the assistant writes: its thought, its words and its calls."""
    thought = f"<think>\n{message.thought}\n</think>\n\n" if message.thought and with_thought else ""
    calls = "\n".join(
        f'<tool_call>\n{{"name": "{call.name}", "arguments": {_json(call.arguments)}}}\n</tool_call>'
        for call in message.calls
    )
    return thought + message.content + ("\n" if message.content and calls else "") + calls


def chat_parts(chat: Chat) -> list[Part]:
    """A chat in parts. If it holds a thought, only what follows the last user message is learned."""
    system, messages = _system(chat)
    last_user = max(place for place, message in enumerate(messages) if message.role == "user")
    has_thought = any(message.thought for message in messages)
    seen, parts = system, list[Part]()
    for place, message in enumerate(messages):
        if message.role == "assistant":
            is_learned = not has_thought or place > last_user
            answer = answer_text(message, place > last_user)
            parts += [(seen + f"{START}assistant\n", False), (answer + END, is_learned)]
            seen = "\n"
        elif message.role == "tool":
            seen += f"{START}user\n<tool_response>\n{message.content}\n</tool_response>{END}\n"
        else:
            seen += f"{START}{message.role}\n{message.content}{END}\n"
    return [*parts, (seen, False)]


def parts_of(sample: Chat | Text) -> list[Part]:
    """Any sample in parts."""
    return chat_parts(sample) if isinstance(sample, Chat) else [(sample.text + SEPARATOR, True)]


def prompt_of(chat: Chat) -> tuple[str, str]:
    """All before the last answer, as the engine gets it, and the right answer."""
    parts = chat_parts(chat)
    return "".join(text for text, _ in parts[:-2]), parts[-2][0].removesuffix(END)
