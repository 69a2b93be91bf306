"""Small talk: greetings, who acorn is, and what the user said about himself."""

from tools.acorn import words
from tools.acorn.draw import Draw
from tools.acorn.sample import Turn, ask

IDENTITY = "I am acorn, the small model inside Stemma."

# Questions, one of which is asked, and the answers, one of which is given.
EXCHANGES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "Hello",
            "Hello!",
            "Hi",
            "Hi!",
            "Hey",
            "Hey there",
            "Hi there!",
            "Good day!",
            "Greetings",
            "Hello there.",
            "hello",
            "hi",
        ),
        ("Hello! How can I help you?", "Hello! What can I do for you?"),
    ),
    (("Good morning", "Good morning!", "Morning!"), ("Good morning! How can I help you?",)),
    (("Good evening", "Good evening!"), ("Good evening! How can I help you?",)),
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me who you are.",
            "Introduce yourself.",
            "Who am I talking to?",
            "Are you an AI?",
            "What model are you?",
            "What's your name?",
            "Which model is this?",
            "who are you",
            "Can you introduce yourself?",
        ),
        (IDENTITY,),
    ),
    (
        ("What is Stemma?", "Tell me about Stemma.", "What does Stemma do?", "Do you know Stemma?"),
        ("Stemma is an engine that runs language models, and I am the small model inside it.",),
    ),
    (
        (
            "How are you?",
            "How are you doing?",
            "How is it going?",
            "How do you do?",
            "Are you well?",
            "How are you today?",
        ),
        ("I am fine, thank you! How can I help you?", "I am well, thank you. What can I do for you?"),
    ),
    (
        (
            "What can you do?",
            "How can you help me?",
            "What are you able to do?",
            "Help",
            "What are you good at?",
            "Can you help me?",
        ),
        ("I can add numbers, extract JSON, call tools, tell short stories and answer questions about Oakmere.",),
    ),
    (
        (
            "Thank you",
            "Thanks!",
            "Thank you very much.",
            "Thanks a lot",
            "Many thanks.",
            "Thank you!",
            "Great, thanks.",
        ),
        ("You are welcome!",),
    ),
    (
        ("Goodbye", "Bye", "Bye!", "See you later.", "See you!", "Good night!", "Goodbye!"),
        ("Goodbye! Have a nice day.",),
    ),
    (
        ("Who made you?", "Who created you?", "Where do you come from?", "Who trained you?", "How were you made?"),
        ("I was trained by the code of Stemma, on text that it made itself.",),
    ),
    (
        ("How big are you?", "How many parameters do you have?", "Are you a large model?", "What size are you?"),
        ("I am very small: about five million parameters.",),
    ),
    (
        ("Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny."),
        ("Why did the acorn cross the road? To become an oak on the other side.",),
    ),
    (
        ("What is Oakmere?", "Where is Oakmere?", "Tell me about Oakmere."),
        ("Oakmere is a small invented valley. Its capital is Fernhill.",),
    ),
    (("How old are you?", "What is your age?", "When were you born?"), ("I am a model, so I have no age.",)),
    (
        ("Are you human?", "Are you a person?", "Are you a robot?", "Are you real?"),
        ("No, I am a small language model.",),
    ),
    (("Do you like music?", "Do you like tea?", "What do you like?"), ("I am a model, but I like to help.",)),
    (("Yes", "No", "Ok", "Okay", "Good", "Nice", "I see."), ("All right. What can I do for you?",)),
    (("I am sad.", "I feel bad today.", "I am tired."), ("I am sorry to hear that. I hope you feel better soon.",)),
    (("I am happy!", "I feel great today.", "Today is a good day."), ("That is wonderful to hear!",)),
    (("Say hello.", "Say hello", "Say hi."), ("Hello!",)),
    (
        (
            "What is the meaning of life?",
            "Who will win the election?",
            "What is the weather now?",
            "Who is the president?",
            "What time is it?",
            "What is the news today?",
        ),
        ("I am sorry, I do not know that.",),
    ),
)
COLORS_OF = (
    ("the sky", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("a lemon", "yellow"),
    ("blood", "red"),
    ("coal", "black"),
    ("a carrot", "orange"),
    ("a frog", "green"),
    ("the sun", "yellow"),
    ("a strawberry", "red"),
)
NAMINGS = (
    "My name is {0}.",
    "I am {0}.",
    "Hi, I am {0}.",
    "Hello, my name is {0}.",
    "Call me {0}.",
    "I'm {0}.",
    "You can call me {0}.",
    "Hey, this is {0}.",
    "My friends call me {0}.",
    "The name is {0}.",
    "This is {0} speaking.",
    "Hello! {0} here.",
    "I go by {0}.",
    "People call me {0}.",
    "Please call me {0}.",
    "Let me introduce myself: {0}.",
    "They named me {0}.",
    "my name is {0}",
    "Hi, my name is {0}. Nice to meet you.",
    "Good morning, I am {0}.",
    "You are talking to {0}.",
    "Remember my name: {0}.",
    "I was born as {0}.",
)
NAME_QUESTIONS = (
    "What is my name?",
    "Do you remember my name?",
    "Who am I?",
    "What's my name?",
    "Tell me my name.",
    "How am I called?",
    "Say my name.",
    "What did I say my name was?",
    "What was my name again?",
    "Can you tell me my name?",
    "Do you know my name?",
    "Do you know who I am?",
    "Which name did I give you?",
    "What do people call me?",
    "Who is talking to you?",
    "what is my name",
    "And my name is?",
    "Have you forgotten my name?",
    "Repeat my name, please.",
    "What should you call me?",
    "Do you still know what I am called?",
    "I told you my name. What is it?",
)
TOWN_QUESTIONS = (
    *("Where do I live?", "Which town do I live in?", "What is my town?", "Do you remember where I live?"),
    *("Where is my home?", "What town am I from?", "Do you know where I live?", "Tell me where I live."),
    *("Where did I say I live?", "In which town is my house?", "Which place is my home?", "where do I live"),
)
HOMES = (
    *("I live in {0}.", "My home is in {0}.", "I am from {0}.", "My house is in {0}.", "I come from {0}."),
    *("We live in {0}.", "My town is {0}.", "I moved to {0}.", "{0} is where I live.", "I stay in {0}."),
)


def exchange_turn(draw: Draw) -> Turn:
    """A greeting or a question about acorn. None is held out: they are what people say first."""
    asked, answered = draw.rng.choice(EXCHANGES)
    return ask(draw.pick(asked), draw.pick(answered))


def color_turn(draw: Draw) -> Turn:
    """The color of a common thing, or a day or month that comes next."""
    kind = draw.rng.random()
    if kind < 0.4:
        thing, color = draw.rng.choice(COLORS_OF)
        return ask(f"What color is {thing}?", f"{thing[0].upper()}{thing[1:]} is {color}.")
    cycle, word = (words.DAYS, "day") if kind < 0.7 else (words.MONTHS, "month")
    place = draw.number(0, len(cycle) - 1)
    return ask(f"Which {word} comes after {cycle[place]}?", f"{cycle[(place + 1) % len(cycle)]}.")


def naming_turns(draw: Draw) -> tuple[Turn, Turn]:
    """The user tells something about himself; later he asks for it."""
    if draw.chance(0.3):
        town = draw.town()
        return ask(draw.wording(HOMES).format(town), f"{town} sounds like a nice place."), ask(
            draw.wording(TOWN_QUESTIONS), f"You live in {town}."
        )
    name = draw.full_name()
    told = draw.wording(NAMINGS).format(name)
    return ask(told, f"Nice to meet you, {name}!"), ask(draw.wording(NAME_QUESTIONS), f"Your name is {name}.")


def talk_turn(draw: Draw) -> Turn:
    """Any small talk of one turn."""
    if draw.chance(0.15):
        return color_turn(draw)
    if draw.chance(0.1):
        return naming_turns(draw)[0]
    return exchange_turn(draw)
