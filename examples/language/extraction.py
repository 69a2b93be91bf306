"""Values out of sentences: what is generated is held to a type, and comes back as a value of it."""

import msgspec

import stemma as sgl

SENTENCES = [
    "Camila Stone is 31 years old, lives in Oslo and works as a teacher.",
    "In Lisbon lives Peter Bell, a baker aged 52.",
    "Name: Anna Field\nAge: 44\nCity: Rome\nJob: painter",
]


class Person(msgspec.Struct):  # or a dataclass, or a pydantic model
    name: str
    age: int
    city: str
    job: str


@sgl.function
def extract(s, sentence):
    s += sgl.user("Extract name, age, city and job as JSON.\n\n" + sentence)
    s += sgl.assistant(sgl.gen("person", schema=Person, max_tokens=100))


def main(backend):
    states = extract.run_batch([[sentence] for sentence in SENTENCES], backend=backend, temperature=0)
    people = [state["person"] for state in states]
    for person in sorted(people, key=lambda person: person.age):
        print(f"{person.age}: {person.name}, {person.job} in {person.city}")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
