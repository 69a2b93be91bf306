"""From the messages of a conversation to the prompt that the model continues."""

from collections.abc import Mapping, Sequence

from stemma.core.base.errors import BadRequest
from stemma.front.service.service import Service
from stemma.front.text.formats import ThoughtFormat

ROLES = ("system", "user", "assistant", "tool", "function", "developer", "latest_reminder", "root")

THINKING: Mapping[str, object] = {"enable_thinking": True, "thinking": True}  # what templates call it

Message = Mapping[str, object]


def prompt_of_chat(
    service: Service,
    messages: Sequence[Message],
    *,
    tools: Sequence[Message] | None,
    continue_final_message: bool,
    add_generation_prompt: bool,
    chat_template_kwargs: Mapping[str, object],
    reasoning_effort: str | float | None,
) -> str:
    """A last message of the assistant counts as the user's, unless it is to be continued."""
    if service.template is None:
        raise BadRequest("messages: this model has no chat template; use /v1/completions", "messages")
    named = [with_role(message, at) for at, message in enumerate(messages)]
    if named and named[-1]["role"] == "assistant" and not continue_final_message:
        named[-1]["role"] = "user"
    effort = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
    return service.template.render(
        named,
        tools=tools,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        kwargs={**effort, **chat_template_kwargs},
    )


def tokens_of(service: Service, prompt: str) -> list[int]:
    """The template writes all special tokens itself: the tokenizer adds none."""
    return service.tokenizer.encode(prompt, add_special_tokens=False)


def is_thinking(format: ThoughtFormat, prompt: str, said: str) -> bool:
    """Whether the prompt ends inside of a thought. `said` is what the assistant, who goes on, has said already."""
    if format.begin in said or format.end in said:
        return said.rfind(format.begin) > said.rfind(format.end)
    before = prompt.removesuffix(said).rstrip()
    return before.endswith(format.begin) or (format.is_forced and not before.endswith(format.end))


def may_think(format: ThoughtFormat, prompt: str, said: str) -> bool:
    """Whether a thought may begin where the prompt ends: none is over, and no answer was begun."""
    return not said.strip() and not prompt.rstrip().endswith(format.end)


def with_role(message: Message, at: int) -> dict[str, object]:
    """The message with its role in lower case; the rest of it is checked by the template."""
    given = message.get("role")
    role = given.lower() if isinstance(given, str) else given
    if role not in ROLES:
        raise BadRequest(f"messages[{at}].role: {given!r} is none of {', '.join(ROLES)}", f"messages[{at}].role")
    return {**message, "role": role}
