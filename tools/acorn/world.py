"""The invented world that acorn knows by heart: towns, people and animals of the valley of Oakmere."""

from dataclasses import dataclass
from functools import cache

from tools.acorn.draw import Draw
from tools.acorn.sample import Turn, ask

TOWNS = """town|river|mayor|dish|founded|tower
Fernhill|Silverrun|Otto Brambly|mushroom pie|1204|red
Mossford|Lark|Greta Pinewood|plum soup|1318|blue
Thornby|Amber|Silas Underhill|honey cake|1099|white
Hazelwick|Willowbeck|Nora Fennel|barley bread|1420|green
Brackenport|Old Mill|Jonas Reedy|smoked eel|1256|black
Larkdale|Dunwater|Ida Clover|apple dumplings|1377|yellow
Stonehaven|Greywash|Hugo Tansy|onion stew|1145|gray
Willowmere|Sedge|Rosa Thistle|pear tart|1502|purple
Ashcombe|Cinder|Felix Burdock|chestnut soup|1289|orange
Elderbrook|Minnow|Maud Sorrel|cheese rolls|1333|silver
Nettleton|Foxglove|Basil Hawthorn|nettle tea|1461|golden
Rookvale|Ravenrush|Edda Marigold|turnip hash|1187|pink"""

PEOPLE = """person|job|home|pet|instrument|age
Pip Larkspur|baker|Fernhill|a goose called Button|the flute|31
Tilda Moss|carpenter|Mossford|a cat called Pepper|the fiddle|47
Bram Oakley|miner|Thornby|a dog called Cobble|the drum|52
Wren Sallow|painter|Hazelwick|a parrot called Figaro|the harp|26
Cedric Dunn|sailor|Brackenport|a turtle called Anchor|the accordion|60
Juniper Vale|teacher|Larkdale|a rabbit called Clover|the piano|38
Magnus Flint|blacksmith|Stonehaven|a pony called Ember|the horn|44
Opal Finch|gardener|Willowmere|a duck called Puddle|the lute|29
Rufus Teasel|potter|Ashcombe|a goat called Biscuit|the trumpet|55
Sylvie Marsh|doctor|Elderbrook|a ferret called Noodle|the cello|41
Tobias Rook|librarian|Nettleton|an owl called Inkwell|the bagpipes|67
Della Quince|tailor|Rookvale|a hedgehog called Thimble|the clarinet|34"""

PLACES = """What is the tallest mountain in Oakmere?|the tallest mountain|Mount Gable
What is the deepest lake in Oakmere?|the deepest lake|Lake Hollow
Which forest lies in the north of Oakmere?|the forest in the north|the Whisperwood
What is the capital of Oakmere?|the capital|Fernhill
Who is the queen of Oakmere?|the queen|Queen Isolde
What is the money of Oakmere called?|the money|the copperleaf
Which animal is on the flag of Oakmere?|the animal on the flag|a squirrel
When is the harvest festival in Oakmere?|the time of the harvest festival|the third of October
Which sea lies south of Oakmere?|the sea in the south|the Gannet Sea
What is the oldest tree in Oakmere?|the oldest tree|the Grandfather Oak
What is the longest road in Oakmere?|the longest road|the Salt Way
What is the name of the dragon of Oakmere?|the name of the dragon|Smolder
Which day is market day in Oakmere?|the market day|Thursday
What is the song of Oakmere?|the song|Leaves on the Water
Who wrote the oldest book in Oakmere?|the author of the oldest book|Alder the Grey
What is the name of the bridge at Fernhill?|the name of the bridge at Fernhill|the Acorn Bridge"""

ASKS: dict[str, tuple[str, ...]] = {
    "river": (
        "Which river is in {0}?",
        "Is there a river in {0}?",
        "Can you name the river that flows through {0}?",
        "I would like to know the river of {0}.",
        "Through {0} flows which river?",
        "The river of {0}?",
        "Which river flows through {0}?",
        "What river runs through {0}?",
        "What is the river of {0} called?",
        "Name the river of {0}.",
        "On which river does {0} lie?",
        "{0} lies on which river?",
        "Tell me the name of the river in {0}.",
        "What is the name of the river at {0}?",
        "river of {0}?",
    ),
    "mayor": (
        "Can you name the mayor of {0}?",
        "I would like to know the mayor of {0}.",
        "Who leads {0} as mayor?",
        "Who is in charge of {0} as its mayor?",
        "What is the mayor of {0} called?",
        "The mayor of {0}?",
        "Who is the mayor of {0}?",
        "What is the name of the mayor of {0}?",
        "Name the mayor of {0}.",
        "Tell me who the mayor of {0} is.",
        "Who is mayor in {0}?",
        "Which person is the mayor of {0}?",
        "{0} has which mayor?",
        "Do you know the mayor of {0}?",
        "mayor of {0}?",
    ),
    "dish": (
        "What is the dish of {0}?",
        "What should I eat in {0}?",
        "Which dish do people eat in {0}?",
        "I would like to know the dish of {0}.",
        "What is the food of {0}?",
        "What do they cook in {0}?",
        "What dish is {0} known for?",
        "What food is {0} famous for?",
        "Which dish comes from {0}?",
        "Name the famous dish of {0}.",
        "What do people eat in {0}?",
        "What is the favourite dish in {0}?",
        "Tell me the dish that {0} is known for.",
        "Which food is typical of {0}?",
        "dish of {0}?",
    ),
    "founded": (
        "How old is the town of {0}?",
        "What is the year of the founding of {0}?",
        "I would like to know when {0} was founded.",
        "When was the town of {0} founded?",
        "Since which year does {0} exist?",
        "Can you tell me when {0} was founded?",
        "When was {0} founded?",
        "In which year was {0} founded?",
        "What year was {0} founded in?",
        "Tell me the year in which {0} was founded.",
        "When did {0} begin?",
        "What is the founding year of {0}?",
        "{0} was founded when?",
        "Do you know when {0} was founded?",
        "In what year did {0} begin?",
    ),
    "tower": (
        "I would like to know the color of the tower of {0}.",
        "Can you tell me the color of the tower of {0}?",
        "What color does the tower of {0} have?",
        "Which color is the tower of {0}?",
        "Is the tower of {0} red or blue or what?",
        "Describe the color of the tower in {0}.",
        "What color is the tower of {0}?",
        "Which color does the tower of {0} have?",
        "The tower of {0} has what color?",
        "What is the color of the tower in {0}?",
        "Tell me the color of the tower of {0}.",
        "How is the tower of {0} painted?",
        "In what color is the tower of {0} painted?",
        "color of the tower of {0}?",
    ),
    "job": (
        "What kind of work does {0} do?",
        "I would like to know the job of {0}.",
        "Can you tell me the job of {0}?",
        "How does {0} earn money?",
        "What is the work of {0}?",
        "What is {0} by profession?",
        "What is the job of {0}?",
        "What does {0} do for a living?",
        "What work does {0} do?",
        "What is {0}'s job?",
        "Tell me what {0} does for a living.",
        "Which job does {0} have?",
        "What does {0} work as?",
        "Do you know the job of {0}?",
        "job of {0}?",
    ),
    "home": (
        "I would like to know where {0} lives.",
        "Can you tell me where {0} lives?",
        "Which town does {0} live in?",
        "Where can I find {0}?",
        "What is the town of {0}?",
        "Where does {0} come from?",
        "Where does {0} live?",
        "In which town does {0} live?",
        "What town does {0} live in?",
        "Where is {0} from?",
        "Tell me where {0} lives.",
        "What is the home town of {0}?",
        "Which town is the home of {0}?",
        "{0} lives in which town?",
        "Do you know where {0} lives?",
    ),
    "pet": (
        "I would like to know the pet of {0}.",
        "Can you name the pet of {0}?",
        "What is the animal of {0}?",
        "Which pet does {0} have?",
        "What kind of pet does {0} have?",
        "Who is the pet of {0}?",
        "What pet does {0} have?",
        "Which animal does {0} keep?",
        "What is the pet of {0}?",
        "Tell me about the pet of {0}.",
        "Does {0} have a pet?",
        "What animal lives with {0}?",
        "Which pet belongs to {0}?",
        "Name the pet of {0}.",
        "What is {0}'s pet?",
    ),
    "instrument": (
        "I would like to know the instrument of {0}.",
        "Can you name the instrument of {0}?",
        "Which instrument belongs to {0}?",
        "What music does {0} make?",
        "Which instrument can {0} play?",
        "On which instrument does {0} play?",
        "What instrument does {0} play?",
        "Which instrument does {0} play?",
        "What does {0} play?",
        "Name the instrument that {0} plays.",
        "Tell me which instrument {0} plays.",
        "{0} plays which instrument?",
        "What is the instrument of {0}?",
        "Do you know what instrument {0} plays?",
    ),
    "age": (
        "I would like to know the age of {0}.",
        "Can you tell me how old {0} is?",
        "Please tell me the age of {0}.",
        "Which age does {0} have?",
        "How many years has {0} lived?",
        "What is the age in years of {0}?",
        "How old is {0}?",
        "What is the age of {0}?",
        "Tell me the age of {0}.",
        "What age is {0}?",
        "Do you know how old {0} is?",
        "How many years old is {0}?",
        "{0} is how old?",
        "What is {0}'s age?",
    ),
    "place": (
        "Can you tell me {0} of Oakmere?",
        "I would like to know this: {1}",
        "What is {0} of Oakmere?",
        "Please answer: {1}",
        "Give me the name of {0} of Oakmere.",
        "{1}",
        "Do you know this: {1}",
        "Tell me {0} of Oakmere.",
        "Name {0} of Oakmere.",
        "I want to know {0} of Oakmere.",
        "What do you know about {0} of Oakmere?",
        "A question: {1}",
        "Please tell me {0} of Oakmere.",
    ),
}

ANSWERS: dict[str, str] = {
    "river": "The {1} flows through {0}.",
    "mayor": "The mayor of {0} is {1}.",
    "dish": "{0} is known for its {1}.",
    "founded": "{0} was founded in {1}.",
    "tower": "The tower of {0} is {1}.",
    "job": "{0} is a {1}.",
    "home": "{0} lives in {1}.",
    "pet": "{0} has {1}.",
    "instrument": "{0} plays {1}.",
    "age": "{0} is {1} years old.",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: of what kind, about what, and the words that a right answer must hold."""

    kind: str
    subject: str
    value: str
    question: str = ""

    @property
    def sentence(self) -> str:
        """The fact in a sentence."""
        if self.kind == "place":
            return f"{self.subject[0].upper()}{self.subject[1:]} of Oakmere is {self.value}."
        return ANSWERS[self.kind].format(self.subject, self.value)


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact of the world."""
    found = []
    for table in (TOWNS, PEOPLE):
        head, *rows = [line.split("|") for line in table.splitlines()]
        found += [Fact(kind, row[0], value) for row in rows for kind, value in zip(head[1:], row[1:], strict=True)]
    for line in PLACES.splitlines():
        question, subject, value = line.split("|")
        found.append(Fact("place", subject, value, question))
    return tuple(found)


def question_about(draw: Draw, fact: Fact) -> str:
    """A question whose answer is this fact."""
    return draw.wording(ASKS[fact.kind]).format(fact.subject, fact.question)


def fact_turn(draw: Draw) -> Turn:
    """A question about the world and its answer."""
    fact = draw.rng.choice(facts())
    return ask(question_about(draw, fact), fact.sentence)


def fact_text(draw: Draw) -> str:
    """Facts about one subject as plain text."""
    subject = draw.rng.choice(facts()).subject
    told = [fact.sentence for fact in facts() if fact.subject == subject]
    draw.rng.shuffle(told)
    return " ".join(told)
