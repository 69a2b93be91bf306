"""A model as a judge: it chooses between given words, so that there is nothing to parse, and tells how sure it is."""

import stemma as sgl

GRADES = ["Yes", "No"]


@sgl.function
def judge(s, claim):
    s += sgl.user(claim)
    s += sgl.assistant(sgl.select("grade", GRADES, choices_method=sgl.token_length_normalized))


def main(backend):
    claims = ["Is 5 more than 3?", "Is 2 more than 9?", "Is grass green?"]
    for claim, state in zip(claims, judge.run_batch([[claim] for claim in claims], backend=backend), strict=True):
        scores = state.get_meta_info("grade")["normalized_prompt_logprobs"]
        told = ", ".join(f"{grade} {score:.2f}" for grade, score in zip(GRADES, scores, strict=True))
        print(f"{claim} {state['grade']} (log-probabilities: {told})")


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
