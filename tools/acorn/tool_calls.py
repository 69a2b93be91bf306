"""Chats in which acorn calls a tool that the chat offers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.acorn import words
from tools.acorn.draw import Draw, with_articles
from tools.acorn.sample import Call, Chat, Json, Message, Tool
from tools.acorn.talk import exchange_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Tools that do the same under several names, and how one asks for them.

    A parameter is its possible names, its JSON type and a way to draw a value. `answer` tells a result.
    """

    names: tuple[str, ...]
    description: str
    parameters: tuple[tuple[tuple[str, ...], str, Callable[[Draw], Json]], ...]
    requests: tuple[str, ...]
    result: Callable[[Draw], Mapping[str, Json]]
    answer: str


def _done(draw: Draw) -> Mapping[str, Json]:
    return {"status": "ok"}


def _addends(draw: Draw) -> Json:
    return draw.number(100, 999)


FAMILIES = (
    Family(
        names=("get_weather", "weather", "fetch_weather", "current_weather"),
        description="Get the weather of a city",
        parameters=((("city", "location", "place", "town"), "string", Draw.town),),
        requests=(
            "What is the weather in {0}?",
            "How is the weather in {0}?",
            "Weather in {0}?",
            "Is it raining in {0}?",
            "Tell me the weather in {0}.",
            "What's the weather like in {0}?",
            "Do I need an umbrella in {0}?",
            "How warm is it in {0}?",
            "I am going to {0}. How is the weather there?",
            "Get the weather for {0}.",
        ),
        result=lambda draw: {"sky": draw.pick(("sunny", "cloudy", "rainy", "snowy")), "degrees": draw.number(-9, 35)},
        answer="The weather in {0} is {sky} with {degrees} degrees.",
    ),
    Family(
        names=("get_time", "current_time", "local_time", "clock"),
        description="Get the time in a city",
        parameters=((("city", "place", "location", "town"), "string", Draw.town),),
        requests=(
            "What time is it in {0}?",
            "Tell me the time in {0}.",
            "What is the time in {0}?",
            "Time in {0}?",
            "How late is it in {0}?",
            "What's the local time in {0}?",
            "Can you tell me the time in {0}?",
        ),
        result=lambda draw: {"time": f"{draw.number(0, 23)}:{draw.number(10, 59)}"},
        answer="It is {time} in {0}.",
    ),
    Family(
        names=("send_email", "send_mail", "send_message", "write_to"),
        description="Send a message to a person",
        parameters=(
            (("to", "recipient", "person", "name"), "string", Draw.full_name),
            (("subject", "about", "topic", "text"), "string", lambda draw: draw.pick(words.NOUNS + words.EVENTS)),
        ),
        requests=(
            "Send a message to {0} about the {1}.",
            "Write to {0} about the {1}.",
            "Tell {0} about the {1}.",
            "Email {0} about the {1}.",
            "Please send {0} a message about the {1}.",
            "Let {0} know about the {1}.",
            "Message {0}, it is about the {1}.",
            "I want to write to {0} about the {1}.",
        ),
        result=_done,
        answer="I sent a message to {0} about the {1}.",
    ),
    Family(
        names=("set_timer", "start_timer", "timer"),
        description="Start a timer",
        parameters=((("minutes", "duration", "length"), "integer", lambda draw: draw.number(1, 90)),),
        requests=(
            "Set a timer for {0} minutes.",
            "Start a timer of {0} minutes.",
            "Timer for {0} minutes, please.",
            "Wake me in {0} minutes.",
            "Remind me in {0} minutes.",
            "Please set the timer to {0} minutes.",
        ),
        result=_done,
        answer="The timer is set for {0} minutes.",
    ),
    Family(
        names=("add", "sum", "add_numbers", "calculate_sum"),
        description="Add two numbers",
        parameters=((("a", "x", "first"), "integer", _addends), (("b", "y", "second"), "integer", _addends)),
        requests=(
            "What is {0} + {1}?",
            "Add {0} and {1}.",
            "Compute {0} + {1}.",
            "What is the sum of {0} and {1}?",
            "How much is {0} plus {1}?",
            "Use the tool to add {0} and {1}.",
            "Calculate {0} plus {1}.",
        ),
        result=lambda draw: {"result": draw.number(200, 1998)},
        answer="The sum of {0} and {1} is {result}.",
    ),
    Family(
        names=("search", "web_search", "find", "search_web"),
        description="Search the web",
        parameters=(
            (("query", "q", "text"), "string", lambda draw: f"{draw.pick(words.ADJECTIVES)} {draw.pick(words.NOUNS)}s"),
        ),
        requests=(
            "Search for {0}.",
            "Find something about {0}.",
            "Look up {0}.",
            "Search the web for {0}.",
            "What is there about {0}?",
            "I want to know more about {0}.",
            "Please look for {0} on the web.",
        ),
        result=lambda draw: {"hits": draw.number(1, 99)},
        answer="I found {hits} pages about {0}.",
    ),
    Family(
        names=("translate", "translate_text", "translation"),
        description="Translate a word to a language",
        parameters=(
            (("text", "word", "phrase"), "string", lambda draw: draw.pick(words.NOUNS)),
            (("language", "target", "to"), "string", lambda draw: draw.pick(words.LANGUAGES)),
        ),
        requests=(
            "Translate {0} to {1}.",
            "What is {0} in {1}?",
            "How do you say {0} in {1}?",
            "Please translate {0} into {1}.",
            "Give me the {1} word for {0}.",
            "What does {0} mean in {1}?",
        ),
        result=lambda draw: {"translation": draw.item(draw._invented)},
        answer="In {1}, {0} is {translation}.",
    ),
    Family(
        names=("find_person", "lookup_person", "get_contact", "find_contact"),
        description="Find the phone number of a person",
        parameters=((("name", "person", "who"), "string", Draw.full_name),),
        requests=(
            "What is the phone number of {0}?",
            "Find the number of {0}.",
            "How can I call {0}?",
            "I need the phone number of {0}.",
            "Give me the number of {0}.",
            "Look up the phone of {0}.",
            "Please find {0} in the phone book.",
        ),
        result=lambda draw: {"phone": f"{draw.number(100, 999)}-{draw.number(1000, 9999)}"},
        answer="The phone number of {0} is {phone}.",
    ),
    Family(
        names=("switch", "set_device", "control_device", "turn"),
        description="Switch a device on or off",
        parameters=(
            (("device", "what", "appliance"), "string", lambda draw: draw.pick(words.DEVICES)),
            (("room", "where", "place"), "string", lambda draw: draw.pick(words.ROOMS)),
            (("state", "to", "mode"), "string", lambda draw: draw.pick(("on", "off"))),
        ),
        requests=(
            "Turn {2} the {0} in the {1}.",
            "Switch the {0} in the {1} {2}.",
            "Please turn the {0} {2} in the {1}.",
            "Turn the {1} {0} {2}.",
            "The {0} in the {1} should be {2}.",
            "Switch {2} the {1} {0}.",
        ),
        result=_done,
        answer="The {0} in the {1} is {2} now.",
    ),
    Family(
        names=("book_table", "reserve_table", "reserve", "book_restaurant"),
        description="Book a table at a restaurant",
        parameters=(
            (("restaurant", "place", "name"), "string", Draw.last_name),
            (("people", "guests", "seats"), "integer", lambda draw: draw.number(2, 12)),
            (("time", "at", "hour"), "string", lambda draw: f"{draw.number(17, 22)}:{draw.pick(('00', '15', '30'))}"),
        ),
        requests=(
            "Book a table for {1} at {0} at {2}.",
            "Reserve a table at {0} for {1} people at {2}.",
            "A table for {1} at {0}, {2}, please.",
            "We are {1} and want to eat at {0} at {2}.",
            "Please book {0} at {2} for {1} people.",
            "Get us a table at {0}: {1} people, {2}.",
        ),
        result=_done,
        answer="I booked a table for {1} at {0} at {2}.",
    ),
    Family(
        names=("order", "buy", "order_item", "place_order"),
        description="Order things in the shop",
        parameters=(
            (("item", "product", "what"), "string", lambda draw: draw.pick(words.ITEMS)),
            (("quantity", "count", "number"), "integer", lambda draw: draw.number(2, 60)),
        ),
        requests=(
            "Order {1} {0}.",
            "Buy {1} {0}.",
            "I need {1} {0}.",
            "Please order {1} {0} for me.",
            "Get me {1} {0}.",
            "I would like {1} {0}.",
            "Can you buy {1} {0}?",
        ),
        result=_done,
        answer="I ordered {1} {0}.",
    ),
    Family(
        names=("get_route", "route", "directions", "find_route"),
        description="Find the way between two towns",
        parameters=(
            (("start", "origin", "from"), "string", Draw.town),
            (("end", "destination", "to"), "string", Draw.town),
        ),
        requests=(
            "How do I get from {0} to {1}?",
            "Find the way from {0} to {1}.",
            "Route from {0} to {1}?",
            "I want to go from {0} to {1}.",
            "How far is it from {0} to {1}?",
            "Show me the way to {1} from {0}.",
            "What is the best way to {1} from {0}?",
        ),
        result=lambda draw: {"distance": draw.number(3, 900)},
        answer="From {0} to {1} it is {distance} km.",
    ),
    Family(
        names=("create_event", "add_event", "schedule", "new_event"),
        description="Put an event into the calendar",
        parameters=(
            (("title", "event", "name"), "string", lambda draw: draw.pick(words.EVENTS)),
            (("day", "date", "when"), "string", lambda draw: draw.pick(words.DAYS)),
            (("time", "start", "at"), "string", lambda draw: f"{draw.number(8, 20)}:{draw.pick(('00', '15', '30'))}"),
        ),
        requests=(
            "Add a {0} on {1} at {2}.",
            "Put a {0} into my calendar on {1} at {2}.",
            "I have a {0} on {1} at {2}.",
            "Schedule a {0} for {1}, {2}.",
            "There is a {0} on {1} at {2}. Please note it.",
            "On {1} at {2} I go to a {0}. Add it.",
        ),
        result=_done,
        answer="The {0} is in your calendar on {1} at {2}.",
    ),
    Family(
        names=("convert", "convert_currency", "exchange"),
        description="Convert money to another currency",
        parameters=(
            (("amount", "value", "money"), "integer", lambda draw: draw.number(1, 999)),
            (("source", "from", "base"), "string", lambda draw: draw.pick(words.CURRENCIES)),
            (("target", "to", "into"), "string", lambda draw: draw.pick(words.CURRENCIES)),
        ),
        requests=(
            "Convert {0} {1} to {2}.",
            "How much is {0} {1} in {2}?",
            "What are {0} {1} in {2}?",
            "Change {0} {1} into {2}.",
            "{0} {1} in {2}?",
            "I have {0} {1}. How much {2} is that?",
        ),
        result=lambda draw: {"amount": draw.number(1, 9999)},
        answer="{0} {1} are {amount} {2}.",
    ),
    Family(
        names=("play_music", "play", "play_song", "start_music"),
        description="Play the music of an artist",
        parameters=((("artist", "singer", "who", "name"), "string", Draw.full_name),),
        requests=(
            "Play something by {0}.",
            "Play music by {0}.",
            "I want to hear {0}.",
            "Put on a song by {0}.",
            "Please play {0}.",
            "Can you play the songs of {0}?",
            "Let me listen to {0}.",
        ),
        result=_done,
        answer="Now playing {0}.",
    ),
)
PROPERTY_REQUESTS = (
    "What is the {1} of {0}?",
    "Tell me the {1} of {0}.",
    "I need the {1} of {0}.",
    "Get the {1} of {0}.",
    "{1} of {0}?",
    "Find the {1} of {0}.",
    "Give me the {1} of {0}.",
    "Look up the {1} of {0}.",
    "Do you know the {1} of {0}?",
)
PERSONAL = ("", "", "", "You are a helpful assistant.", "You are acorn.", "Be brief.", "Use the tools when they help.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One tool with the way to ask for it in this chat."""

    tool: Tool
    family: Family
    kind: str


def _property_family(draw: Draw) -> Family:
    """A tool that looks up one property of something, named after the property."""
    name = draw.item(lambda: draw.pick(words.PROPERTIES))
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
    tool = Tool(name=draw.pick(family.names), description=family.description, parameters=parameters)
    return Offer(tool=tool, family=family, kind=family.description)


def offers(draw: Draw, count: int) -> list[Offer]:
    """Different tools to offer in one chat."""
    chosen = [_property_family(draw) if draw.chance(0.35) else family for family in draw.rng.sample(FAMILIES, count)]
    named = {offer.tool.name: offer for offer in (_offer(draw, family) for family in chosen)}
    return list(named.values())


def _request(draw: Draw, family: Family, values: tuple[Json, ...]) -> str:
    """A sentence that asks for this tool with these values."""
    if len(family.names) > 1:
        return with_articles(draw.wording(family.requests).format(*values))
    pattern = draw.wording(PROPERTY_REQUESTS)
    return family.requests[PROPERTY_REQUESTS.index(pattern)].format(*values)


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


def tool_chat(draw: Draw, most_turns: int = 5) -> Chat:
    """A chat with one to four tools and some requests; now and then one that needs none."""
    available = offers(draw, draw.number(1, 4))
    messages: list[Message] = []
    personal = draw.pick(PERSONAL)
    if personal:
        messages.append(Message(role="system", content=personal))
    for _ in range(draw.number(1, most_turns)):
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
