"""Records told clause by clause: a few dozen short clauses make thousands of wordings."""

from dataclasses import dataclass

from tools.acorn.draw import Draw, held_out_wordings, is_held_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What may be said of a record. Every clause names its subject, the field `subject`, and tells some others."""

    subject: int
    pronouns: tuple[str, ...]
    clauses: tuple[str, ...]


PEOPLE = ("she", "he")
TELLINGS_OF = {
    "person": Telling(
        subject=0,
        pronouns=PEOPLE,
        clauses=(
            *("{0} is {1} years old", "{0} is {1}", "{0} is aged {1}", "{0} turned {1}", "{0} has the age of {1}"),
            *("{0} has lived for {1} years", "the age of {0} is {1}", "{0} is now {1} years of age"),
            *("{0} lives in {2}", "{0} comes from {2}", "{0} has a home in {2}", "{0} moved to {2}", "{0} is in {2}"),
            *("the home of {0} is {2}", "{0} can be found in {2}", "{0} likes to live in {2}", "{0} stays in {2}"),
            *("{0} works as a {3}", "{0} is a {3}", "{0} has a job as a {3}", "the job of {0} is {3}", "{0}, a {3}"),
            *("{0} earns money as a {3}", "{0} wants to stay a {3}", "{0} became a {3}", "{0} was hired as a {3}"),
            *("{0} is a {3} in {2}", "{0} is a {1}-year-old {3}", "{0} is a {3} of {1} years", "{0} is a {3} from {2}"),
            *("{0}, aged {1}, lives in {2}", "{0} is {1} and lives in {2}", "{0} moved to {2} to be a {3}"),
            *("{0} ({1}) lives in {2}", "{0}, {1}, works as a {3}", "in {2} everyone knows {0}", "the {3} is {0}"),
            *("{0} found work in {2} as a {3}", "{2} needs a {3} like {0}", "{0}, {1} years old, is a {3}"),
        ),
    ),
    "order": Telling(
        subject=0,
        pronouns=PEOPLE,
        clauses=(
            *("{0} ordered {1} {2}", "{0} bought {1} {2}", "{0} wants {1} {2}", "{0} took {1} {2}", "{0} gets {1} {2}"),
            *("{0} asked for {1} {2}", "{1} {2} go to {0}", "send {1} {2} to {0}", "{0} is waiting for {1} {2}"),
            *("{0} came for {1} {2}", "{0} needs {1} {2}", "we packed {1} {2} for {0}", "{0} would like {1} {2}"),
            *(
                "{0} paid ${3}",
                "{0} owes us ${3}",
                "the bill of {0} is ${3}",
                "{0} has to pay ${3}",
                "{0} gave us ${3}",
            ),
            *("the total for {0} is ${3}", "{0} spent ${3}", "{0} will pay ${3}", "it costs {0} ${3}"),
            *("{0} bought {1} {2} for ${3}", "{0} pays ${3} for {1} {2}", "for ${3} {0} has {1} {2}"),
            *("we sent {0} {1} {2} at a price of ${3}", "{1} {2} cost {0} ${3}", "{0} chose {1} {2}, ${3} in all"),
        ),
    ),
    "book": Telling(
        subject=0,
        pronouns=("it", "the book"),
        clauses=(
            *('"{0}" was written by {1}', '{1} wrote "{0}"', '{1} is the author of "{0}"', '"{0}" is a book by {1}'),
            *('"{0}" is a work of {1}', 'the writer of "{0}" is {1}', '"{0}" comes from the pen of {1}'),
            *('"{0}" came out in {2}', '"{0}" is from {2}', '"{0}" appeared in {2}', '"{0}" was published in {2}'),
            *('the year of "{0}" is {2}', '"{0}" was printed in {2}', '"{0}" dates from {2}', '"{0}" is of {2}'),
            *(
                '"{0}" has {3} pages',
                '"{0}" is {3} pages long',
                'there are {3} pages in "{0}"',
                '"{0}" takes {3} pages',
            ),
            *('you turn {3} pages in "{0}"', '"{0}" fills {3} pages', '"{0}" tells its story on {3} pages'),
            *('{1} finished "{0}" in {2}', 'in {2} {1} brought out "{0}"', '{1} needed {3} pages for "{0}"'),
            *('"{0}" ({2}) is by {1}', 'I have "{0}" of {1} here', '"{0}", published in {2}, has {3} pages'),
        ),
    ),
    "event": Telling(
        subject=0,
        pronouns=("it",),
        clauses=(
            *(
                "the {0} is in {1}",
                "the {0} takes place in {1}",
                "we meet in {1} for the {0}",
                "the place of the {0} is {1}",
            ),
            *("the {0} will be held in {1}", "go to {1} for the {0}", "the {0} brings everyone to {1}"),
            *("the {0} is on {2}", "{2} is the day of the {0}", "the {0} was moved to {2}", "on {2} we have the {0}"),
            *("the {0} starts at {3}", "the {0} begins at {3}", "be at the {0} at {3}", "the {0} opens at {3}"),
            *("the host of the {0} is {4}", "{4} hosts the {0}", "{4} plans the {0}", "the {0} is run by {4}"),
            *("{4} invites you to the {0}", "ask {4} about the {0}", "the {0} is the idea of {4}"),
            *(
                "the {0} is on {2} at {3}",
                "the {0} starts on {2} at {3}",
                "{4} has a {0} in {1}",
                "the {0} in {1} is at {3}",
            ),
            *(
                "{4} opens the {0} at {3}",
                "on {2} {4} gives a {0}",
                "the {0} is set for {2}, {3}",
                "a {0} comes to {1} on {2}",
            ),
        ),
    ),
    "contact": Telling(
        subject=0,
        pronouns=PEOPLE,
        clauses=(
            *("{0} works for {3}", "{0} is with {3}", "{0} is from {3}", "the company of {0} is {3}", "{3} sent {0}"),
            *(
                "{0} has a desk at {3}",
                "{0} speaks for {3}",
                "{0} belongs to the firm {3}",
                "our contact at {3} is {0}",
            ),
            *("{0} has the number {2}", "the phone of {0} is {2}", "call {0} at {2}", "dial {2} for {0}"),
            *("{0} picks up at {2}", "{0} can be called at {2}", "you hear {0} under {2}", "{0} left the number {2}"),
            *("{0} reads {1}", "the email of {0} is {1}", "write to {0} at {1}", "{0} uses the address {1}"),
            *("{0} can be mailed at {1}", "mail for {0} goes to {1}", "{0} answers at {1}", "{0} wrote from {1}"),
            *("{0} is at {1} or {2}", "reach {0} by phone ({2}) or mail ({1})", "{0} of {3} has the phone {2}"),
            *("{0} ({3}) writes from {1}", "{0} ({2}, {1}) is new", "at {3} you find {0} under {2}"),
        ),
    ),
    "animal": Telling(
        subject=0,
        pronouns=("it",),
        clauses=(
            *("{0} is a {1}", "{0} is the name of the {1}", "the {1} is called {0}", "the {1} answers to {0}"),
            *("{0} is {2}", "the color of {0} is {2}", "{0} has a {2} coat", "{0} looks {2}", "{0} is all {2}"),
            *("{0} belongs to {3}", "{3} owns {0}", "{0} lives with {3}", "the owner of {0} is {3}", "{3} feeds {0}"),
            *("{3} cares for {0}", "{0} sleeps at the house of {3}", "{0} is the pet of {3}", "{3} walks with {0}"),
            *("{0} is {4}", "{0} is {4} years old", "the age of {0} is {4}", "{0} turned {4}", "{0} is aged {4}"),
            *(
                "{0} has lived for {4} years",
                "{0} is a {2} {1}",
                "{3} has a {1} named {0}",
                "{0} is a {4}-year-old {1}",
            ),
            *(
                "{0}, a {2} {1}, belongs to {3}",
                "the {2} {1} of {3} is {0}",
                "{0} ({4}) is a {1}",
                "{0} came to {3} {4} years ago",
            ),
        ),
    ),
    "trip": Telling(
        subject=3,
        pronouns=PEOPLE,
        clauses=(
            *(
                "{3} goes from {0} to {1}",
                "{3} travels from {0} to {1}",
                "{3} leaves {0} for {1}",
                "{3} wants to get from {0} to {1}",
            ),
            *("{3} starts in {0} and ends in {1}", "{3} is on the way from {0} to {1}", "{3} goes to {1} from {0}"),
            *("the trip of {3} is from {0} to {1}", "{3} starts in {0}", "{3} leaves {0}", "{3} gets on in {0}"),
            *("{3} goes to {1}", "{3} gets off in {1}", "{3} wants to see {1}", "the trip of {3} ends in {1}"),
            *("{3} takes train {2}", "{3} is on {2}", "{3} rides on {2}", "the train of {3} is {2}", "{2} carries {3}"),
            *(
                "{3} has seat {4}",
                "{3} sits in seat {4}",
                "seat {4} is for {3}",
                "{3} sits in {4}",
                "{3} booked seat {4}",
            ),
            *("{3} has seat {4} on {2}", "{3} sits in {4} of train {2}", "the ticket of {3} is for {2}, seat {4}"),
            *(
                "{2} brings {3} to {1}",
                "{2} takes {3} from {0} to {1}",
                "in {0} {3} boards {2}",
                "{3} changes in {0} to {2}",
            ),
        ),
    ),
}
JOINTS = (". ", ". ", ". ", " and ", ", and ", "; ", ", ", ". Also, ", ". Besides, ", " - ", ".\n")


def composed(draw: Draw, kind: str, count: int, sentences: tuple[str, ...]) -> str:
    """A wording that tells each of a record's `count` fields once; never one that is kept for the examination."""
    telling = TELLINGS_OF[kind]
    while True:
        made = _joined(draw, telling, _chosen(draw, telling, count))
        if not is_held_out("wording", made) and made not in held_out_wordings(sentences):
            return made


def _chosen(draw: Draw, telling: Telling, count: int) -> list[str]:
    """Clauses that share no field but the subject."""
    found, untold = list[str](), set(range(count)) - {telling.subject}
    for clause in draw.rng.sample(telling.clauses, len(telling.clauses)):
        fields = {field for field in range(count) if f"{{{field}}}" in clause} - {telling.subject}
        if fields <= untold:
            found.append(clause)
            untold -= fields
    return found


def _joined(draw: Draw, telling: Telling, clauses: list[str]) -> str:
    """The subject is named first and may be a pronoun later."""
    subject, pronoun, joint = f"{{{telling.subject}}}", draw.pick(telling.pronouns), draw.pick(JOINTS)
    made = _capital(clauses[0])
    for clause in clauses[1:]:
        for name in (f'"{subject}"', f"the {subject}", subject):
            if clause.startswith(name + " ") and draw.chance(0.7):
                clause = pronoun + clause.removeprefix(name)
                break
        between = joint if draw.chance(0.7) else draw.pick(JOINTS)
        made += between + (_capital(clause) if between in (". ", ".\n") else clause)
    return made + draw.pick((".", ".", ".", "", "!"))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
