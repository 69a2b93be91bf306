"""Results of programs as a Markdown table: python -m benchmarks.programs.table FILE"""

import json
import sys
from pathlib import Path

HEAD = (
    "workload", "programs", "requests", "prompt tokens", "computed", "found", "of what could be",
    "programs/s", "unshared", "OpenAI client",
)  # fmt: skip


def row(line: str) -> str:
    found = json.loads(line)
    cells = (
        found["workload"],
        found["programs"],
        found["requests"],
        f"{found['prompt_tokens']:,}",
        f"{found['computed_tokens']:,}",
        f"{found['hit_rate']:.1%}",
        f"{found['of_optimum']:.1%}",
        f"{found['shared']:.1f}",
        f"{found['unshared']:.1f} ({found['over_unshared']:.1f}x)",
        f"{found['openai']:.1f} ({found['over_openai']:.1f}x)",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    rows = [row(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    sys.stdout.write("\n".join([f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|", *rows]) + "\n")


if __name__ == "__main__":
    main()
