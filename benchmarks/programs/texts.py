"""Text without meaning, as long as one likes; equal seeds give equal texts."""

from random import Random

KINDS = ("old", "red", "quiet", "large", "small", "green", "early", "wooden", "bright", "cold", "warm", "young")
THINGS = (
    "fox",
    "river",
    "house",
    "garden",
    "teacher",
    "train",
    "market",
    "window",
    "bridge",
    "forest",
    "letter",
    "ship",
)
DEEDS = ("follows", "watches", "finds", "leaves", "crosses", "remembers", "opens", "sells", "draws", "reaches")
NAMES = ("Ada", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Leo")
CITIES = ("London", "Paris", "Berlin", "Madrid", "Vienna", "Oslo", "Athens", "Lisbon", "Prague", "Dublin")


def thing(chance: Random) -> str:
    return f"the {chance.choice(KINDS)} {chance.choice(THINGS)}"


def sentence(chance: Random) -> str:
    said = f"{thing(chance)} {chance.choice(DEEDS)} {thing(chance)}."
    return said[0].upper() + said[1:]


def paragraph(chance: Random, sentences: int) -> str:
    return " ".join(sentence(chance) for _ in range(sentences))


def question(chance: Random) -> str:
    return f"Question: What is it that {thing(chance)} {chance.choice(DEEDS)}?"


def options(chance: Random) -> list[str]:
    """Four, all different."""
    return [f" {kind} {chance.choice(THINGS)}" for kind in chance.sample(KINDS, 4)]
