"""Sentences about people, orders and the like, and the JSON objects that they hold."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tools.acorn import words
from tools.acorn.clauses import composed
from tools.acorn.draw import Draw, held_out_wordings, is_held_out, with_articles
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
            "{3} wanted? Ask {0} from {2}, who is {1}.",
            "{2} is the home of {0}, a {3} of {1} years.",
            "The name of the {3} in {2} is {0}, age {1}.",
            "{0} was born {1} years ago and is now a {3} in {2}.",
            "Meet {0}: {1} years, {3}, {2}.",
            "My friend {0} moved to {2}, is {1} and has a job as a {3}.",
            "They say that {0} ({1} years old) is a good {3}. The town is {2}.",
            "I am a {3}. My name is {0}, I am {1} and I live in {2}.",
            "name={0}, age={1}, city={2}, job={3}",
            "{0} | {1} | {2} | {3}",
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
            "{0} paid ${3} for {1} {2}.",
            "The order of {0}: {1} {2} at a price of ${3}.",
            "We got ${3} from {0} for {1} {2}.",
            "{0} needs {1} {2} and has ${3}.",
            "Today {0} came by and took {1} {2} for ${3}.",
            "Sold: {1} {2}. Buyer: {0}. Total: ${3}.",
            "Bill for {0}: {1} {2}, ${3}",
            "I am {0} and I want to buy {1} {2} for ${3}.",
            "customer={0}; item={2}; quantity={1}; price={3}",
            "{2} | {1} | {3} | {0}",
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
            '{1} is the author of "{0}", which has {3} pages and is from {2}.',
            '"{0}", {2}, {1}, {3} pages',
            'Have you read "{0}" by {1}? It is from {2} and has {3} pages.',
            'With {3} pages, "{0}" is the longest book of {1}. It came out in {2}.',
            'The {3} pages of "{0}" were written by {1} in {2}.',
            "{1}: {0} ({2}), {3} pages",
            "author={1}, title={0}, year={2}, pages={3}",
            'The writer {1} finished "{0}" in {2}; the book has {3} pages.',
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
            "{0} in {1}, {2}, {3}, with {4}",
            "On {2} we go to the {0} in {1}. It starts at {3} and the host is {4}.",
            "{4} plans a {0}: {2} at {3} in {1}.",
            "Do not miss the {0} of {4} on {2}. It is in {1} at {3}.",
            "At {3} on {2}, {4} opens the {0} in {1}.",
            "event={0}, place={1}, day={2}, time={3}, host={4}",
            "{1} has a {0} on {2}. {4} is the host and it begins at {3}.",
            "There will be a {0}. When: {2} at {3}. Where: {1}. Host: {4}.",
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
            "{0} can be called at {2} or mailed at {1}. The company is {3}.",
            "{3} has a new contact: {0}, {1}, {2}.",
            "Please call {0} ({2}) of {3} or write to {1}.",
            "Ask {0} at {3}. Phone {2}, mail {1}.",
            "{0} from {3} has the number {2} and the address {1}.",
            "name={0}, company={3}, email={1}, phone={2}",
            "At {3} you speak with {0}: {2} or {1}.",
            "For {3}, dial {2} or mail {1}. Your contact is {0}.",
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
            "The name of {3}'s {2} {1} is {0} and it is {4}.",
            "{3} and the {2} {1} {0} are friends. {0} is {4} years old.",
            "{0} is {4}. It is a {2} {1} and {3} takes care of it.",
            "A {2} {1} of {4} years, called {0}, belongs to {3}.",
            "At home, {3} has {0}, a {2} {1} aged {4}.",
            "name={0}, species={1}, color={2}, owner={3}, age={4}",
            "{0} ({1}, {2}, {4} years) is the pet of {3}.",
            "For {4} years {3} has had a {2} {1} with the name {0}.",
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
            "{3} sits in seat {4} of {2}, going from {0} to {1}.",
            "{2}: {0} to {1}, passenger {3}, seat {4}",
            "A trip from {0} to {1} with {2}: {3}, seat {4}.",
            "To get to {1}, {3} leaves {0} on {2} and sits in seat {4}.",
            "{3} has a ticket from {0} to {1}. Seat {4}, train {2}.",
            "from={0}, to={1}, train={2}, passenger={3}, seat={4}",
            "The passenger in seat {4} of {2} is {3}, from {0} to {1}.",
            "Train {2} leaves {0} for {1}. {3} has seat {4}.",
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
    "Here is a message: {text}\nExtract {fields} as JSON.",
    "Take {fields} from the text and return JSON.\n\n{text}",
    "{text}\n\nPlease give {fields} as JSON.",
    "Look at this text: {text}\nReturn {fields} as a JSON object.",
    "Which {fields} are in this text? Reply in JSON. {text}",
    "Answer only with JSON. Fields: {fields}. Text: {text}",
    "{text}\nFields: {fields}\nJSON:",
    "Show {fields} as JSON.\n{text}",
    "As JSON with the fields {fields}: {text}",
    "Return the fields {fields} in JSON for this message.\n\n{text}",
    "Can you extract {fields} as JSON? {text}",
    "Input: {text}\nOutput a JSON object with {fields}.",
    "Read this: {text} Now write {fields} as JSON.",
    "I have a text. {text}\nI want {fields} as JSON.",
    "Put {fields} into a JSON object.\n\n{text}",
    "Create JSON with {fields} from the text: {text}",
    "{text}\n\nJSON keys: {fields}",
    "Summarize as JSON with the keys {fields}: {text}",
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


ORDER_VERBS = (
    *("extract", "get", "give me", "find", "list", "show", "return", "write", "pull out", "collect", "note", "tell me"),
    *("I need", "I want", "take", "read", "output", "give", "fill in", "parse", "make", "what are", "look for", "use"),
)
ORDER_TEXTS = (
    *("", "", "", " from the text", " from this", " of this text", " in the message", " out of it", " for this"),
    *(" from the following", " that you find", " from what follows", " you see here"),
)
ORDER_FORMS = (
    *(" as JSON", " as a JSON object", " in JSON", " and answer with JSON", " and reply in JSON", " as JSON, please"),
    *(" in JSON format", " as one JSON object", ", JSON only", " and return JSON", " and put them into JSON"),
)
ORDER_FIELDS = (
    "{fields}",
    "{fields}",
    "the {fields}",
    "the keys {fields}",
    "the fields {fields}",
    "({fields})",
    "[{fields}]",
)
TELLINGS = (
    *(
        "{key}: {value}",
        "{key} is {value}",
        "{key} = {value}",
        "{key}={value}",
        "{key} - {value}",
        "the {key} is {value}",
    ),
    *("{value} is the {key}", "{value} ({key})", "{key} {value}", "{value} as {key}", "with the {key} {value}"),
    *("the {key}: {value}", "its {key} is {value}", "{key} ({value})", "we have {value} as {key}", "{key} -> {value}"),
)


def _list_of(draw: Draw, keys: list[str]) -> str:
    """Keys as one would write them in a sentence, or with their marks."""
    style = draw.rng.random()
    if style < 0.55 and len(keys) > 1:
        return ", ".join(keys[:-1]) + " and " + keys[-1]
    if style < 0.85:
        return ", ".join(keys)
    return ", ".join(f'"{key}"' for key in keys)


def _form(draw: Draw, record: Record, values: tuple[Json, ...]) -> str:
    """The fields of a record as a form: each told in some way, in some order, with some separator."""
    separator = draw.pick(("; ", ", ", " / ", " - ", ". ", "\n- ", "\n* ", " and ", " | ", "\n"))
    one_way = draw.pick(TELLINGS) if draw.chance(0.4) else ""
    fields = [
        (one_way or draw.pick(TELLINGS)).format(key=draw.pick(keys), value=value)
        for keys, value in zip(record.keys, values, strict=True)
    ]
    draw.rng.shuffle(fields)
    if draw.chance(0.5):
        fields = [field[0].upper() + field[1:] for field in fields]
    return separator.join(fields) + draw.pick(("", "", "."))


@cache
def _held_out_orders() -> tuple[re.Pattern[str], ...]:
    """What an order looks like that is kept for the examination."""
    kept = held_out_wordings(INSTRUCTIONS)
    return tuple(
        re.compile(".*?".join(re.escape(part) for part in re.split(r"\{\w+\}", order)), re.DOTALL)
        for order in sorted(kept)
    )


def _composed_order(draw: Draw) -> str:
    """An order to extract fields, put together from parts; never one that is kept for the examination."""
    while True:
        verb, of_text, form = draw.pick(ORDER_VERBS), draw.pick(ORDER_TEXTS), draw.pick(ORDER_FORMS)
        order = f"{verb} {draw.pick(ORDER_FIELDS)}{of_text}{form}"
        if draw.chance(0.2):
            order = draw.pick(("Please ", "Now ", "Task: ", "Could you ", "Hello, ", "Next: ")) + order
        elif draw.chance(0.7):
            order = order[0].upper() + order[1:]
        gap = draw.pick(("\n\n", "\n", " "))
        made = f"{{text}}{gap}{order}." if draw.chance(0.4) else f"{order}{draw.pick((':', '.'))}{gap}{{text}}"
        if not is_held_out("wording", made) and not any(held.fullmatch(made) for held in _held_out_orders()):
            return made


def make_record(draw: Draw) -> tuple[str, list[str], dict[str, Json]]:
    """A text, the keys that are asked, and the right object."""
    record = draw.rng.choice(RECORDS)
    values = record.values(draw)
    style = 1.0 if draw.unseen_wordings else draw.rng.random()
    if style < 0.15:
        text = _form(draw, record, values)
    elif style < 0.6:
        text = with_articles(composed(draw, record.kind, len(values), record.sentences).format(*values))
    else:
        text = with_articles(draw.wording(record.sentences).format(*values))
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
    is_composed = not draw.unseen_wordings and draw.chance(0.5)
    order = _composed_order(draw) if is_composed else draw.wording(INSTRUCTIONS)
    return ask(order.format(fields=_list_of(draw, keys), text=text), json.dumps(right, ensure_ascii=False))
