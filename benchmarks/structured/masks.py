"""What a mask costs, backend by backend, on the schemas of a sample that all of them serve.

    python -m benchmarks.structured.masks SAMPLE [--backends chain,xgrammar] [--tokenizer FOLDER] [--every N]

As maskbench.py walks them; the backends take turns, schema by schema, in one process. One JSON line per backend.
"""

import gc
import json

import numpy as np

from benchmarks.facts import report
from benchmarks.structured.maskbench import Bench, Score, lines_of, parser, percentiles
from stemma.core.types.grammar import Grammar


def main() -> None:
    args = parser("masks of the same schemas by every backend", "chain,llguidance,xgrammar").parse_args()
    benches = {name: Bench(name, args.tokenizer, args.seconds) for name in args.backends.split(",")}
    for bench in benches.values():
        bench.compile(Grammar("json_schema", "{}"))  # libraries, tokenizer, child
        bench.score = Score()
    gc.disable()
    for line in lines_of(args.sample, args.every):
        grammar = Grammar("json_schema", json.dumps(line.schema))
        compiled = {name: bench.compile(grammar) for name, bench in benches.items()}
        for name, found in compiled.items():
            if found is not None and None not in compiled.values():
                benches[name].score.schemas += 1
                for test in line.tests:
                    benches[name].accepts(found.matcher(), test.data)
    gc.enable()
    for name, bench in benches.items():
        score = bench.score
        report(
            "structured_masks",
            backend=name,
            vocabulary=bench.vocabulary.size,
            schemas=score.schemas,
            mask_us={"mean": round(float(np.mean(score.mask_us)), 1), **percentiles(score.mask_us)},
            masks=len(score.mask_us),
            compile_ms=percentiles(score.compile_ms),
            compile_limit_s=args.seconds,
        )
        bench.compiler.close()


if __name__ == "__main__":
    main()
