"""Self-consistency: several answers are drawn, and the one that is given most often wins."""

from collections import Counter

import stemma as sgl


@sgl.function
def vote(s, question, voters):
    s += sgl.user(question)
    branches = s.fork(voters)
    branches += sgl.assistant(sgl.gen("answer", max_tokens=12))
    branches.join()
    return Counter(answer.strip() for answer in s["answer"])


def main(backend):
    votes = vote.run("What is 34 + 58?", 5, backend=backend, temperature=0.7).ret_value
    for answer, count in votes.most_common():
        print(f"{count} x {answer}")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
