"""From the messages of a conversation to the tokens that the model continues."""

from collections.abc import Mapping, Sequence

from stemma.core.base.errors import BadRequest
from stemma.front.service.service import Service

ROLES = ("system", "user", "assistant", "tool", "function", "developer", "latest_reminder", "root")

Message = Mapping[str, object]


def tokens_of_chat(
    service: Service,
    messages: Sequence[Message],
    *,
    continue_final_message: bool,
    add_generation_prompt: bool,
    chat_template_kwargs: Mapping[str, object],
    reasoning_effort: str | float | None,
) -> list[int]:
    """A last message of the assistant counts as the user's, unless it is to be continued.

    The template writes all special tokens itself: the tokenizer adds none.
    """
    if service.template is None:
        raise BadRequest("messages: this model has no chat template; use /v1/completions", "messages")
    named = [with_role(message, at) for at, message in enumerate(messages)]
    if named and named[-1]["role"] == "assistant" and not continue_final_message:
        named[-1]["role"] = "user"
    effort = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
    text = service.template.render(
        named,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        kwargs={**effort, **chat_template_kwargs},
    )
    return service.tokenizer.encode(text, add_special_tokens=False)


def with_role(message: Message, at: int) -> dict[str, object]:
    """The message with its role in lower case; the rest of it is checked by the template."""
    given = message.get("role")
    role = given.lower() if isinstance(given, str) else given
    if role not in ROLES:
        raise BadRequest(f"messages[{at}].role: {given!r} is none of {', '.join(ROLES)}", f"messages[{at}].role")
    return {**message, "role": role}
