"""Small tasks on words and lists: reverse, sort, count, repeat, spell."""

from tools.acorn import words
from tools.acorn.draw import Draw
from tools.acorn.sample import Turn, ask

REPEATS = (
    "Repeat: {0}",
    "Repeat after me: {0}",
    "Say {0}",
    "Say this back to me: {0}",
    "Repeat this exactly: {0}",
    "Write {0}",
    "Echo: {0}",
    "Copy this text: {0}",
    "Please repeat {0}",
    "Type {0}",
)
REVERSES = (
    "Reverse the list: {0}",
    "Reverse this list: {0}",
    "Write this list backwards: {0}",
    "Turn the order around: {0}",
    "List these in reverse order: {0}",
    "Reverse the order of {0}",
    "Give me the reverse of: {0}",
)
SORTS = (
    "Sort these numbers: {0}",
    "Sort: {0}",
    "Put these numbers in order: {0}",
    "Sort from small to large: {0}",
    "Order these numbers: {0}",
    "Sort the list {0}",
    "Arrange in ascending order: {0}",
)
ALPHABETS = (
    "Sort these words: {0}",
    "Sort alphabetically: {0}",
    "Put these words in alphabetical order: {0}",
    "Order these words by the alphabet: {0}",
    "Sort the words {0}",
)
COUNTS = (
    "How many words are in this list: {0}?",
    "Count the words: {0}",
    "How many items are here: {0}?",
    "Count these: {0}",
    "How many things do I list? {0}",
    "Count the items in this list: {0}",
)
SPELLS = (
    "Spell {0}.",
    "How do you spell {0}?",
    "Spell the word {0}.",
    "Write {0} letter by letter.",
    "Please spell {0}.",
)
LETTERS = (
    "What is the {1} letter of {0}?",
    "Which letter is {1} in {0}?",
    "Tell me the {1} letter of {0}.",
    "Name the {1} letter of the word {0}.",
)
ITEMS_AT = (
    "What is the {1} item of this list: {0}?",
    "Which word comes {1}: {0}?",
    "Give me the {1} item: {0}",
    "Take the {1} word from {0}.",
)
PLACES = "first", "second", "third", "fourth", "fifth"


def _words(draw: Draw, low: int, high: int) -> list[str]:
    made = [draw.word() for _ in range(draw.number(low, high))]
    return [word.capitalize() for word in made] if draw.chance(0.15) else made


def repeat_turn(draw: Draw) -> Turn:
    """A text to say again: words, names or numbers."""
    kind = draw.rng.random()
    if kind < 0.5:
        text = " ".join(_words(draw, 1, 6))
    elif kind < 0.75:
        text = draw.full_name()
    elif kind < 0.9:
        text = str(draw.number(0, 99999))
    else:
        text = "".join(draw.pick("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789-_.") for _ in range(draw.number(3, 10)))
    return ask(draw.wording(REPEATS).format(text), text)


def reverse_turn(draw: Draw) -> Turn:
    """A list to write backwards."""
    listed = [str(draw.number(0, 99)) for _ in range(4)] if draw.chance(0.2) else _words(draw, 2, 6)
    return ask(draw.wording(REVERSES).format(", ".join(listed)), ", ".join(reversed(listed)))


def sort_turn(draw: Draw) -> Turn:
    """Numbers or words to put in order."""
    if draw.chance(0.7):
        numbers = draw.rng.sample(range(100), draw.number(3, 6))
        shown, right = ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers)))
        return ask(draw.wording(SORTS).format(shown), right)
    named = draw.nouns(draw.number(2, 5))
    return ask(draw.wording(ALPHABETS).format(", ".join(named)), ", ".join(sorted(named)))


def count_turn(draw: Draw) -> Turn:
    """Things to count."""
    listed = _words(draw, 2, 9)
    return ask(draw.wording(COUNTS).format(", ".join(listed)), str(len(listed)))


def spell_turn(draw: Draw) -> Turn:
    """A word to spell, or one of its letters."""
    word = draw.word()
    if draw.chance(0.5):
        return ask(draw.wording(SPELLS).format(word), "-".join(word))
    place = draw.pick(("first", "last"))
    return ask(draw.wording(LETTERS).format(word, place), word[0] if place == "first" else word[-1])


def pick_turn(draw: Draw) -> Turn:
    """One item of a list."""
    listed = _words(draw, 3, 6)
    place = draw.number(0, min(len(listed), len(PLACES)) - 1)
    if draw.chance(0.2):
        return ask(draw.wording(ITEMS_AT).format(", ".join(listed), "last"), listed[-1])
    return ask(draw.wording(ITEMS_AT).format(", ".join(listed), PLACES[place]), listed[place])


def case_turn(draw: Draw) -> Turn:
    """A word in capitals or without, or the opposite of an adjective."""
    word = draw.pick(words.NOUNS)
    if draw.chance(0.5):
        return ask(draw.pick(("Write {0} in capital letters.", "Uppercase: {0}")).format(word), word.upper())
    return ask(draw.pick(("Write {0} in small letters.", "Lowercase: {0}")).format(word.upper()), word)


def text_task_turn(draw: Draw) -> Turn:
    """Any of the tasks on words."""
    makers = (repeat_turn, repeat_turn, reverse_turn, sort_turn, count_turn, spell_turn, pick_turn, case_turn)
    return draw.rng.choice(makers)(draw)
