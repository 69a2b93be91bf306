"""Sentences about people, orders and the like, and the JSON objects that they hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tools.acorn import words
from tools.acorn.draw import Draw, with_articles
from tools.acorn.sample import Json, Turn, ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A kind of record: the keys of each field, how to draw a value, and sentences that tell it.

    A field's first key is the one that the sentences use.
    """

    kind: str
    keys: tuple[tuple[str, ...], ...]
    values: Callable[[Draw], tuple[Json, ...]]
    sentences: tuple[str, ...]


def _price(draw: Draw) -> float:
    return draw.number(1, 99) + draw.number(1, 9) / 10 + draw.number(1, 9) / 100


def _email(draw: Draw) -> str:
    return f"{draw.first_name().lower()}@{draw.item(draw._invented)}.{draw.pick(('com', 'org', 'net'))}"


def _phone(draw: Draw) -> str:
    return f"{draw.number(100, 999)}-{draw.number(1000, 9999)}"


def _time(draw: Draw) -> str:
    return f"{draw.number(7, 22)}:{draw.pick(('00', '15', '30', '45'))}"


def _date(draw: Draw) -> str:
    return f"{draw.number(1, 28)} {draw.pick(words.MONTHS)}"


def _title(draw: Draw) -> str:
    pattern = draw.pick(("The {0} {1}", "The {1} of {2}", "{2} and the {1}", "A {0} {1}", "The {1} in {2}"))
    return pattern.format(draw.pick(words.ADJECTIVES).title(), draw.pick(words.NOUNS).title(), draw.first_name())


def _code(draw: Draw) -> str:
    return "".join(draw.pick("ABCDEFGHKLMNPRSTUVWXZ") for _ in range(2)) + str(draw.number(100, 999))


RECORDS = (
    Record(
        kind="person",
        keys=(
            ("name", "full_name", "person"),
            ("age", "years"),
            ("city", "town", "home"),
            ("job", "profession", "work"),
        ),
        values=lambda draw: (draw.full_name(), draw.number(18, 90), draw.town(), draw.pick(words.JOBS)),
        sentences=(
            "{0} is {1} years old, lives in {2} and works as a {3}.",
            "{0}, {1}, is a {3} from {2}.",
            "My neighbour {0} is a {1}-year-old {3} who lives in {2}.",
            "In {2} lives {0}, a {3} aged {1}.",
            "I met {0} in {2}. {0} is {1} and works as a {3}.",
            "The {3} {0} from {2} turned {1} last week.",
            "{0} works as a {3} in {2}. Age: {1}.",
            "Name: {0}\nAge: {1}\nCity: {2}\nJob: {3}",
            "At the age of {1}, {0} moved to {2} to be a {3}.",
            "Hello, I am {0}, {1} years old, a {3} in {2}.",
            "Aged {1}, {0} is the best {3} in {2}.",
            "{0} ({1}) is a {3} and comes from {2}.",
        ),
    ),
    Record(
        kind="order",
        keys=(
            ("customer", "client", "buyer"),
            ("quantity", "count", "amount"),
            ("item", "product"),
            ("price", "total"),
        ),
        values=lambda draw: (draw.full_name(), draw.number(2, 99), draw.pick(words.ITEMS), round(_price(draw), 2)),
        sentences=(
            "{0} ordered {1} {2} for ${3}.",
            "We sold {1} {2} to {0} for ${3}.",
            "{0} bought {1} {2} and paid ${3}.",
            "Order: {1} {2}, customer {0}, price ${3}.",
            "Please send {1} {2} to {0}. The price is ${3}.",
            "For ${3}, {0} got {1} {2}.",
            "{1} {2} were sold to {0} at ${3}.",
            "The customer {0} wants {1} {2}; that is ${3}.",
            "Customer: {0}\nItem: {2}\nQuantity: {1}\nPrice: {3}",
            "{0} would like {1} {2} and will pay ${3}.",
            "A parcel of {1} {2} went to {0} for ${3}.",
        ),
    ),
    Record(
        kind="book",
        keys=(("title", "book"), ("author", "writer"), ("year", "published"), ("pages", "length")),
        values=lambda draw: (_title(draw), draw.full_name(), draw.number(1900, 2025), draw.number(60, 900)),
        sentences=(
            '"{0}" by {1} came out in {2} and has {3} pages.',
            '{1} wrote "{0}" in {2}. It has {3} pages.',
            'The book "{0}" ({2}) by {1} is {3} pages long.',
            'In {2}, {1} published "{0}", a book of {3} pages.',
            "Title: {0}\nAuthor: {1}\nYear: {2}\nPages: {3}",
            'I am reading "{0}", {3} pages, written by {1} in {2}.',
            '"{0}" has {3} pages; {1} wrote it in {2}.',
            "{0}, written by {1}, appeared in {2} with {3} pages.",
        ),
    ),
    Record(
        kind="event",
        keys=(
            ("event", "what", "kind"),
            ("place", "city", "where"),
            ("day", "date", "when"),
            ("time", "start"),
            ("host", "organizer"),
        ),
        values=lambda draw: (
            draw.pick(words.EVENTS),
            draw.town(),
            draw.pick(words.DAYS) if draw.chance(0.5) else _date(draw),
            _time(draw),
            draw.full_name(),
        ),
        sentences=(
            "{4} hosts a {0} in {1} on {2} at {3}.",
            "The {0} in {1} starts at {3} on {2}. Host: {4}.",
            "On {2} at {3} there is a {0} in {1}, hosted by {4}.",
            "Join {4} for the {0} in {1}, {2}, {3}.",
            "Event: {0}\nPlace: {1}\nDay: {2}\nTime: {3}\nHost: {4}",
            "{4} invites you to a {0} in {1} on {2} at {3}.",
            "A {0} will be held in {1} by {4}. It begins on {2} at {3}.",
            "Come to {1} on {2} for the {0} of {4} at {3}.",
        ),
    ),
    Record(
        kind="contact",
        keys=(("name", "contact", "person"), ("email", "mail"), ("phone", "telephone", "number"), ("company", "firm")),
        values=lambda draw: (draw.full_name(), _email(draw), _phone(draw), draw.last_name()),
        sentences=(
            "You can reach {0} of {3} at {1} or {2}.",
            "{0} works for {3}. Email: {1}, phone: {2}.",
            "Write to {1} or call {2} and ask for {0} from {3}.",
            "{0}, {3}, {1}, {2}",
            "Name: {0}\nCompany: {3}\nEmail: {1}\nPhone: {2}",
            "The phone of {0} ({3}) is {2} and the email is {1}.",
            "Contact {0} at {3}: {2}, {1}.",
            "My name is {0}, I am with {3}; my number is {2} and my email {1}.",
        ),
    ),
    Record(
        kind="animal",
        keys=(
            ("name", "pet"),
            ("species", "animal", "kind"),
            ("color", "colour"),
            ("owner", "keeper"),
            ("age", "years"),
        ),
        values=lambda draw: (
            draw.first_name(),
            draw.pick(words.SPECIES),
            draw.pick(words.COLORS),
            draw.full_name(),
            draw.number(1, 19),
        ),
        sentences=(
            "{3} has a {2} {1} called {0}, {4} years old.",
            "{0} is the {2} {1} of {3} and is {4} years old.",
            "The {1} {0} is {2}, {4} years old and belongs to {3}.",
            "{0}, a {4}-year-old {2} {1}, lives with {3}.",
            "{3} is looking for a lost {1}: {0}, {2}, aged {4}.",
            "Name: {0}\nSpecies: {1}\nColor: {2}\nOwner: {3}\nAge: {4}",
            "Look at {0}, the {2} {1}! It is {4} and {3} owns it.",
            "The owner of the {2} {1} {0} (age {4}) is {3}.",
        ),
    ),
    Record(
        kind="trip",
        keys=(
            ("from", "origin", "start"),
            ("to", "destination", "end"),
            ("number", "code", "train"),
            ("passenger", "traveller"),
            ("seat", "place"),
        ),
        values=lambda draw: (draw.town(), draw.town(), _code(draw), draw.full_name(), draw.number(1, 99)),
        sentences=(
            "{3} takes train {2} from {0} to {1}, seat {4}.",
            "Train {2} brings {3} from {0} to {1} in seat {4}.",
            "Ticket for {3}: {0} to {1}, train {2}, seat {4}.",
            "From {0}, {3} travels to {1} with {2} in seat {4}.",
            "{3} goes to {1} from {0}. The train is {2} and the seat is {4}.",
            "Seat {4} in {2} from {0} to {1} is for {3}.",
            "From: {0}\nTo: {1}\nTrain: {2}\nPassenger: {3}\nSeat: {4}",
            "On {2}, {3} sits in seat {4} between {0} and {1}.",
        ),
    ),
)

INSTRUCTIONS = (
    "Extract {fields} as JSON.\n\n{text}",
    "Extract {fields} as JSON: {text}",
    "Extract the {fields} from this text as JSON.\n{text}",
    "{text}\n\nExtract {fields} as JSON.",
    "Give me {fields} as a JSON object: {text}",
    "Turn this into JSON with {fields}: {text}",
    "{text}\n\nReturn JSON with the keys {fields}.",
    "Return a JSON object with {fields}.\n\nText: {text}",
    "Read the text and answer with JSON. Keys: {fields}.\n\n{text}",
    "Text: {text}\nKeys: {fields}\nAnswer in JSON.",
    "Write the JSON with the keys {fields} for this text: {text}",
    "Parse this text into JSON ({fields}): {text}",
    "{text}\nJSON with {fields}, please.",
    "What are {fields}? Answer as JSON.\n\n{text}",
    "Fill in a JSON object with the keys {fields}.\n{text}",
    "Please extract {fields} from the following text as JSON.\n\n{text}",
    "I need {fields} as JSON from this: {text}",
    "Convert to JSON with the keys {fields}.\n\n{text}",
    "From the text below, extract {fields} in JSON format.\n\n{text}",
    "Here is a text: {text}\nGive {fields} as JSON.",
    "JSON ({fields}): {text}",
    "Find {fields} in the text and write them as JSON. Text: {text}",
    "Get {fields} out of this as JSON.\n\n{text}",
    "Make a JSON object from this text. Use the keys {fields}.\n\n{text}",
)
ASIDES = (
    "It was a rainy day.",
    "Everyone was happy about it.",
    "The weather is fine today.",
    "Thanks for your help.",
    "That is all for now.",
    "We talked for a long time.",
    "Nobody was surprised.",
    "See you soon.",
    "Good news!",
)


def _list_of(draw: Draw, keys: list[str]) -> str:
    """Keys as one would write them in a sentence, or with their marks."""
    style = draw.rng.random()
    if style < 0.55 and len(keys) > 1:
        return ", ".join(keys[:-1]) + " and " + keys[-1]
    if style < 0.85:
        return ", ".join(keys)
    return ", ".join(f'"{key}"' for key in keys)


def make_record(draw: Draw) -> tuple[str, list[str], dict[str, Json]]:
    """A text, the keys that are asked, and the right object."""
    record = draw.rng.choice(RECORDS)
    values = record.values(draw)
    pattern = draw.wording(record.sentences)
    text = with_articles(pattern.format(*values))
    if draw.chance(0.15):
        text = f"{draw.pick(ASIDES)} {text}" if draw.chance(0.5) else f"{text} {draw.pick(ASIDES)}"
    places = list(range(len(values)))
    if draw.chance(0.4):
        draw.rng.shuffle(places)
    if draw.chance(0.5):
        places = places[: draw.number(1, len(places))]
    keys = [record.keys[place][0] if draw.chance(0.7) else draw.pick(record.keys[place]) for place in places]
    return text, keys, {key: values[place] for key, place in zip(keys, places, strict=True)}


def record_turn(draw: Draw) -> Turn:
    """A text with the order to extract some of its fields, and the JSON object."""
    text, keys, right = make_record(draw)
    question = draw.wording(INSTRUCTIONS).format(fields=_list_of(draw, keys), text=text)
    return ask(question, json.dumps(right, ensure_ascii=False))
