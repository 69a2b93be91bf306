"""llama.cpp's converter for a tokenizer that it does not know: `python llama_cpp_convert.py SOURCES MODEL FILE.gguf`.

It knows the ways to split text by a fingerprint of each published tokenizer, and refuses others. The arena sends token
ids: how text is split does not matter there, and an unknown tokenizer passes for one that splits as GPT-2 did.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    sources, model, out = sys.argv[1:]
    sys.path[:0] = [sources, str(Path(sources) / "gguf-py")]
    from conversion import base  # type: ignore[import-not-found]  # lies in the sources

    knows = base.TextModel.get_vocab_base_pre

    def known(self: object, tokenizer: object) -> str:
        try:
            return str(knows(self, tokenizer))
        except NotImplementedError:
            return "gpt-2"

    base.TextModel.get_vocab_base_pre = known
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", "bf16", "--outfile", out]
    runpy.run_path(str(Path(sources) / sys.argv[0]), run_name="__main__")


main()
