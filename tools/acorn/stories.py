"""Short stories and other plain prose."""

from tools.acorn import words
from tools.acorn.draw import Draw, with_articles
from tools.acorn.sample import Turn, ask
from tools.acorn.world import fact_text, facts

OPENINGS = (
    "Once upon a time, there was a {adjective} {animal} called {name}.",
    "{name} was a {adjective} {animal}.",
    "In {town} there lived a {adjective} {animal} called {name}.",
    "Long ago, a {animal} called {name} lived near {town}.",
    "There once was a {animal} whose name was {name}.",
    "{name} the {animal} lived in a {adjective} house by the river.",
)
WANTS = (
    "{name} wanted a {thing} more than anything.",
    "One day, {name} lost a {thing}.",
    "Every day {name} looked for a {thing}.",
    "{name} had a {color} {thing} and took it everywhere.",
    "One morning, {name} found a {color} {thing} under a tree.",
    "One evening, the {thing} of {name} was gone.",
)
WALKS = (
    "So {name} walked to {town} and asked {friend}.",
    "On the way, {name} met {friend} the {other}.",
    '{friend} the {other} said, "I will help you."',
    "Then {friend} came by with a {second}.",
    "{name} went over the hill and saw {friend}.",
    '"Where is my {thing}?" asked {name}.',
    "The wind blew and the rain fell, but {name} did not stop.",
    "They looked in the {place} and behind the {second}.",
)
TURNS = (
    "Suddenly they heard a noise.",
    "It was a {adjective} day.",
    "They found the {thing} behind a {second}.",
    "{friend} laughed and gave {name} the {thing}.",
    '"Look!" said {friend}. "There is the {thing}!"',
    "{name} was sad at first, but {friend} had an idea.",
    "They worked together until the sun went down.",
)
ENDINGS = (
    "{name} was happy and thanked {friend}.",
    "From that day on, {name} and {friend} were friends.",
    "They went home and drank tea.",
    "And so {name} slept well that night.",
    "{name} smiled, and they all went home.",
    "After that, {name} always shared the {thing} with {friend}.",
)
STORY_REQUESTS = (
    "Tell me a story about {name} the {animal}.",
    "Tell me a short story about a {animal} called {name}.",
    "Write a short story about {name}, a {animal}.",
    "I want to hear a story of {name} the {animal}.",
    "Please tell a story about a {animal}. Its name is {name}.",
    "A story about {name} the {animal}, please.",
    "Write a story with a {animal} called {name}.",
)
ANIMALS = "fox owl bear mouse hare frog wolf badger otter robin hedgehog cat dog duck goat squirrel deer beaver".split()


def _cast(draw: Draw) -> dict[str, str]:
    """Who and what a story is about."""
    thing, second = draw.nouns(2)
    return {
        "name": draw.first_name(),
        "friend": draw.first_name(),
        "town": draw.town(),
        "thing": thing,
        "second": second,
        "animal": draw.pick(ANIMALS),
        "other": draw.pick(ANIMALS),
        "adjective": draw.pick(words.ADJECTIVES),
        "color": draw.pick(words.COLORS),
        "place": draw.pick(words.ROOMS),
    }


def _story(draw: Draw, cast: dict[str, str]) -> str:
    parts = [draw.pick(OPENINGS), draw.pick(WANTS), *draw.rng.sample(WALKS, draw.number(1, 2))]
    parts += [draw.pick(TURNS), draw.pick(ENDINGS)]
    return with_articles(" ".join(part.format(**cast) for part in parts))


def story_text(draw: Draw) -> str:
    """A story of five or six sentences."""
    return _story(draw, _cast(draw))


def story_turn(draw: Draw) -> Turn:
    """A request for a story, and the story."""
    cast = _cast(draw)
    return ask(with_articles(draw.wording(STORY_REQUESTS).format(**cast)), _story(draw, cast))


def numbers_text(draw: Draw) -> str:
    """Counting, or lines of sums."""
    if draw.chance(0.3):
        start = draw.number(0, 80)
        return ", ".join(str(number) for number in range(start, start + draw.number(5, 15)))
    return "\n".join(f"{a} + {b} = {a + b}" for a, b in (draw.addends() for _ in range(draw.number(2, 6))))


def plain_text(draw: Draw) -> str:
    """Text outside any chat: a story, facts of the world, or numbers."""
    kind = draw.rng.random()
    if kind < 0.6:
        return story_text(draw)
    return fact_text(draw) if kind < 0.85 else numbers_text(draw)


def summary_turn(draw: Draw) -> Turn:
    """All that is known of one subject of the world."""
    subject = draw.rng.choice([fact.subject for fact in facts() if fact.kind != "place"])
    told = " ".join(fact.sentence for fact in facts() if fact.subject == subject)
    asked = draw.wording(
        ("Tell me about {0}.", "What do you know about {0}?", "Describe {0}.", "Tell me all about {0}.")
    )
    return ask(asked.format(subject), told)
