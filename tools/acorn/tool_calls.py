"""Chats in which acorn calls a tool that the chat offers."""

import json
from dataclasses import dataclass

from tools.acorn import words
from tools.acorn.draw import Draw, is_held_out, with_articles
from tools.acorn.errands import ERRANDS
from tools.acorn.sample import Call, Chat, Json, Message, Tool
from tools.acorn.talk import exchange_turn
from tools.acorn.tool_families import FAMILIES, PROPERTY_REQUESTS, Family

PERSONAL = ("", "", "", "You are a helpful assistant.", "You are acorn.", "Be brief.", "Use the tools when they help.")

BEFORE = (
    *("", "", "", "Please ", "Hello! ", "Hi, ", "Now ", "Then ", "Next, ", "One more thing: ", "Thanks. ", "Good. "),
    *("Hey acorn, ", "My boss asks: ", "I wonder: ", "First ", "And ", "Quick question: ", "It is urgent. ", "So, "),
)
AFTER = (
    *(".", ".", "?", "?", "!", ""),
    *(", please.", ", please?", " now.", " for me.", ". Thanks.", ". Thank you!", " today."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One tool with the way to ask for it in this chat."""

    tool: Tool
    family: Family


def _property_name(draw: Draw) -> str:
    """What a tool looks up. The examination asks for known properties, or for those that training never meets."""
    if draw.is_examination:
        return draw.rng.choice([name for name in words.PROPERTIES if is_held_out("word", name) == draw.unseen_tools])
    if draw.chance(0.3):
        return draw.item(lambda: draw.pick(words.PROPERTIES))
    return f"{draw.word()}_{draw.word()}" if draw.chance(0.2) else draw.word()


def _property_family(draw: Draw) -> Family:
    """A tool that looks up one property of something, named after the property."""
    name = _property_name(draw)
    verb, spoken = draw.pick(("get", "find", "fetch", "lookup", "read")), name.replace("_", " ")
    return Family(
        names=(f"{verb}_{name}",),
        description=f"{verb.title()} the {spoken} of something",
        parameters=((("name", "of", "subject", "thing", "id"), "string", Draw.first_name),),
        requests=tuple(request.replace("{1}", spoken) for request in PROPERTY_REQUESTS),
        result=lambda draw: {name: draw.number(1, 9999)},
        answer=f"The {spoken} of {{0}} is {{{name}}}.",
    )


def _offer(draw: Draw, family: Family) -> Offer:
    names = [draw.pick(names) if draw.chance(0.5) else names[0] for names, _, _ in family.parameters]
    parameters = {name: kind for name, (_, kind, _) in zip(names, family.parameters, strict=True)}
    name = draw.pick(family.names)
    if not draw.is_examination and len(family.names) > 1 and draw.chance(0.25):
        # A name that says nothing, so that a name is read from the offer and not from memory.
        name = f"{draw.word()}_{draw.word()}" if draw.chance(0.5) else draw.word()
    return Offer(tool=Tool(name=name, description=family.description, parameters=parameters), family=family)


def offers(draw: Draw, count: int) -> list[Offer]:
    """Different tools to offer in one chat."""
    share = 1.0 if draw.unseen_tools else 0.4 if draw.is_examination else draw.rng.choice((0.2, 0.5, 1.0))
    chosen = [
        _property_family(draw) if draw.chance(share) else family
        for family in draw.rng.sample((*FAMILIES, *ERRANDS), count)
    ]
    named = {offer.tool.name: offer for offer in (_offer(draw, family) for family in chosen)}
    return list(named.values())


def _request(draw: Draw, family: Family, values: tuple[Json, ...]) -> str:
    """A sentence that asks for this tool with these values."""
    if len(family.names) > 1:
        return with_articles(_dressed(draw, draw.wording(family.requests)).format(*values))
    pattern = draw.wording(PROPERTY_REQUESTS)
    return _dressed(draw, family.requests[PROPERTY_REQUESTS.index(pattern)]).format(*values)


def _dressed(draw: Draw, request: str) -> str:
    """A request with a word before or after it, in training only; never a wording that is kept for the examination."""
    if draw.unseen_wordings or not draw.chance(0.4):
        return request
    begin, end = draw.rng.choice(BEFORE), draw.rng.choice(AFTER)
    if begin.endswith(" ") and begin[-2] not in ".!?" and not request.startswith(("I ", "{")):
        request = request[0].lower() + request[1:]
    made = begin + (request[:-1] + end if request[-1] in ".?" else request + end)
    return request if is_held_out("wording", made) else made


def call_messages(draw: Draw, offer: Offer, tells: bool) -> list[Message]:
    """A request and the call that answers it, and with `tells` the result and what acorn says of it."""
    values = tuple(value(draw) for _, _, value in offer.family.parameters)
    call = Call(name=offer.tool.name, arguments=dict(zip(offer.tool.parameters, values, strict=True)))
    messages = [
        Message(role="user", content=_request(draw, offer.family, values)),
        Message(role="assistant", calls=(call,)),
    ]
    if tells:
        result = offer.family.result(draw)
        messages.append(Message(role="tool", content=json.dumps(result)))
        messages.append(Message(role="assistant", content=offer.family.answer.format(*values, **result)))
    return messages


def double_call_messages(draw: Draw, offer: Offer) -> list[Message]:
    """A request for two cities or people at once, and its two calls."""
    one, two = (offer.family.parameters[0][2](draw) for _ in range(2))
    [name] = offer.tool.parameters
    calls = tuple(Call(name=offer.tool.name, arguments={name: value}) for value in (one, two))
    question = _request(draw, offer.family, (f"{one} and {two}",))
    return [Message(role="user", content=question), Message(role="assistant", calls=calls)]


def tool_chat(draw: Draw, most_turns: int = 6) -> Chat:
    """A chat with one to four tools and some requests; now and then one that needs none."""
    available = offers(draw, draw.number(1, 3) if draw.chance(0.85) else 4)
    messages: list[Message] = []
    personal = draw.pick(PERSONAL)
    if personal:
        messages.append(Message(role="system", content=personal))
    for _ in range(draw.number(2, most_turns)):
        offer = draw.rng.choice(available)
        if draw.chance(0.1):
            messages += exchange_turn(draw)
        elif draw.chance(0.12) and offer.family.names[0] in ("get_weather", "get_time"):
            messages += double_call_messages(draw, offer)
        else:
            messages += call_messages(draw, offer, tells=draw.chance(0.3))
    return Chat(messages=tuple(messages), tools=tuple(offer.tool for offer in available))


def single_call(draw: Draw) -> tuple[Chat, Call]:
    """A chat that ends with one call, and that call: what the examination asks."""
    available = offers(draw, draw.number(1, 4))
    messages = call_messages(draw, draw.rng.choice(available), tells=False)
    chat = Chat(messages=tuple(messages), tools=tuple(offer.tool for offer in available))
    return chat, messages[-1].calls[0]
