"""Sums and small number questions."""

from tools.acorn.draw import Draw
from tools.acorn.sample import Turn, ask

ADDITIONS = (
    "Can you tell me what {0} + {1} is?",
    "Do you know {0} + {1}?",
    "Add these numbers: {0} and {1}",
    "Add up {0} and {1}.",
    "{0} and {1} together?",
    "The total of {0} and {1}?",
    "What is the total of {0} and {1}?",
    "Please tell me {0} plus {1}.",
    "I bought {0} apples and {1} pears. How many fruits is that?",
    "One box holds {0} pens, another {1}. How many pens are there?",
    "{0} birds sit in a tree and {1} more come. How many are there now?",
    "Sum {0} and {1}.",
    "Sum up {0} and {1}.",
    "Result of {0} + {1}?",
    "How many is {0} and {1}?",
    "Let me know what {0} + {1} makes.",
    "{1} added to {0} is?",
    "Calculate the sum of {0} and {1}.",
    "Compute the sum: {0}+{1}",
    "Take {0} and add {1}.",
    "Start with {0} and add {1}.",
    "My age is {0}. How old am I in {1} years?",
    "Answer: {0} + {1} = ?",
    "Please compute {0} + {1}.",
    "What is {0} + {1}?",
    "{0} + {1} =",
    "{0}+{1}",
    "{0} + {1}",
    "Add {0} and {1}.",
    "What is {0} plus {1}?",
    "What is the sum of {0} and {1}?",
    "Calculate {0} + {1}.",
    "Compute {0} + {1}.",
    "How much is {0} + {1}?",
    "How much is {0} plus {1}?",
    "What do you get when you add {0} and {1}?",
    "Please add {0} to {1}.",
    "{0} plus {1}",
    "Can you add {0} and {1}?",
    "Tell me the sum of {0} and {1}.",
    "{0}+{1}=?",
    "{0} plus {1} is what?",
    "Sum of {0} and {1}?",
    "Find the sum: {0} + {1}",
    "Work out {0} + {1}.",
    "{0} and {1} make how much?",
    "What does {0} + {1} equal?",
    "I have {0} and get {1} more. How many do I have?",
    "Could you compute {0} plus {1}?",
    "Give me {0} + {1}.",
    "What is {0}+{1}?",
    "Solve {0} + {1}.",
    "The sum of {0} and {1} is",
    "Please calculate {0}+{1}",
    "There are {0} cups and {1} plates. How many things are there?",
    "If I add {1} to {0}, what do I get?",
    "How many are {0} and {1} together?",
    "Quick: {0} + {1}?",
    "What number is {0} + {1}?",
)
SUBTRACTIONS = (
    "What is {0} - {1}?",
    "{0} - {1} =",
    "{0}-{1}",
    "What is {0} minus {1}?",
    "Subtract {1} from {0}.",
    "Calculate {0} - {1}.",
    "How much is {0} - {1}?",
    "Take {1} away from {0}.",
    "Compute {0} - {1}.",
    "I have {0} and give away {1}. How many are left?",
    "Tell me {0} minus {1}.",
    "{0} minus {1}",
)
COMPARISONS = (
    "Which is larger, {0} or {1}?",
    "Which number is bigger: {0} or {1}?",
    "What is the larger of {0} and {1}?",
    "{0} or {1}, which is more?",
    "Tell me the bigger number: {0}, {1}.",
    "Pick the larger number, {0} or {1}.",
)
THOUGHTS = " Think before you answer.", " Think first.", " Think step by step."


def addition_turn(draw: Draw) -> Turn:
    """An addition, mostly of two-digit numbers, and its sum."""
    low, high = (10, 99) if draw.unseen_items or draw.chance(0.85) else (0, 99)
    a, b = draw.addends(low, high)
    return ask(draw.wording(ADDITIONS).format(a, b), str(a + b))


def addition_thought(a: int, b: int) -> str:
    """How to add two numbers of at most two digits."""
    ones = a % 10 + b % 10
    carry, tens = ones // 10, a // 10 + b // 10
    carried = f"carry {carry}" if carry else "no carry"
    tens_told = f"Tens: {a // 10} + {b // 10} + {carry} = {tens + carry}."
    return f"Ones: {a % 10} + {b % 10} = {ones}, {carried}. {tens_told} Sum: {a + b}."


def thoughtful_addition_turn(draw: Draw) -> Turn:
    """An addition with its steps."""
    a, b = draw.addends()
    return ask(draw.wording(ADDITIONS).format(a, b), str(a + b), addition_thought(a, b))


def subtraction_turn(draw: Draw) -> Turn:
    """A subtraction with a result that is not negative."""
    a, b = sorted(draw.addends(0, 99), reverse=True)
    return ask(draw.wording(SUBTRACTIONS).format(a, b), str(a - b))


def product_turn(draw: Draw) -> Turn:
    """A product from the table of ten."""
    a, b = draw.number(0, 10), draw.number(0, 10)
    return ask(draw.pick(("What is {0} x {1}?", "{0} * {1} =", "What is {0} times {1}?")).format(a, b), str(a * b))


def comparison_turn(draw: Draw) -> Turn:
    """The larger of two numbers."""
    a, b = draw.rng.sample(range(1000 if draw.chance(0.5) else 100), 2)
    return ask(draw.wording(COMPARISONS).format(a, b), str(max(a, b)))


def series_turn(draw: Draw) -> Turn:
    """The next number of a series, or whether a number is even."""
    if draw.chance(0.4):
        number = draw.number(0, 999)
        return ask(f"Is {number} even or odd?", "odd" if number % 2 else "even")
    start, step = draw.number(0, 20), draw.number(1, 5)
    shown = ", ".join(str(start + step * place) for place in range(4))
    return ask(f"What comes next: {shown}?", str(start + 4 * step))


def small_number_turn(draw: Draw) -> Turn:
    """Any number question but an addition."""
    makers = (subtraction_turn, subtraction_turn, product_turn, comparison_turn, series_turn)
    return draw.rng.choice(makers)(draw)
