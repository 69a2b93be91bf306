import json
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from stemma.core.base.errors import BadRequest, CheckpointError
from stemma.front.text.tokenizer import Tokenizer
from tests.unit.front.vocabularies import EOS, byte_level_backend, metaspace_backend, spelled, vocabularies

VOCABULARIES = vocabularies()


def write(folder: Path, backend: Backend, **settings: object) -> Path:
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("backend", [byte_level_backend(), metaspace_backend()])
def test_a_folder_encodes_and_decodes_as_transformers_does(tmp_path: Path, backend: Backend) -> None:
    backend.save(str(tmp_path / "judge.json"))
    judge: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # its library
        tokenizer_file=str(tmp_path / "judge.json"), clean_up_tokenization_spaces=False
    )
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    tokenizer = Tokenizer.from_folder(write(tmp_path, backend, eos_token={"content": EOS}, bos_token=None))
    assert tokenizer.eos_id == judge.convert_tokens_to_ids(EOS)
    assert tokenizer.vocab_size == len(judge)
    random = Random(1)
    texts = ["", "the cat", f"a {EOS}<think>é😀 日本\n\n"] + [
        "".join(random.choices("the é日😀\n", k=40)) for _ in range(50)
    ]
    for special in (True, False):
        ids = [judge.encode(text, add_special_tokens=special) for text in texts]
        assert tokenizer.encode_batch(texts, special) == ids
        assert [tokenizer.encode(text, special) for text in texts] == ids
        for skip in (True, False):
            assert [tokenizer.decode(i, skip) for i in ids] == judge.batch_decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_bytes_of_tokens_are_the_bytes_of_the_text(name: str) -> None:
    tokenizer = VOCABULARIES[name]
    for text in ("the cat é", "日本 😀\x00 the\n\n ing", f"naïve token{EOS}"):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        joined = b"".join(tokenizer.bytes_of(token) for token in tokens)
        assert joined.removeprefix(b" ") == text.encode()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_token_alone_keeps_its_leading_space(name: str) -> None:
    tokenizer = VOCABULARIES[name]
    token = tokenizer.id_of(spelled(" the") if tokenizer.is_byte_level else "▁the")
    assert token is not None
    assert (tokenizer.text_of(token), tokenizer.bytes_of(token)) == (" the", b" the")
    assert tokenizer.text_of(tokenizer.vocab_size) == ""
    assert tokenizer.bytes_of(tokenizer.vocab_size) == b""
    assert tokenizer.eos_id in tokenizer.special_ids
    assert tokenizer.id_of(EOS) == tokenizer.eos_id
    assert tokenizer.piece_of(tokenizer.eos_id or 0) == EOS


def test_half_a_surrogate_pair_is_refused() -> None:
    for text in ("a\ud800", "\udfff"):
        with pytest.raises(BadRequest, match=r"not valid Unicode: U\+D"):
            VOCABULARIES["llama"].encode_batch(["fine", text])


def test_a_folder_that_will_not_do_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json does not exist"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged"):
        Tokenizer.from_folder(tmp_path)
    backend = byte_level_backend()
    write(tmp_path, backend)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json is damaged"):
        Tokenizer.from_folder(tmp_path)
    backend.decoder = decoders.CTC()
    write(tmp_path, backend)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: its decoder CTC"):
        Tokenizer.from_folder(tmp_path)


def test_a_vocabulary_without_letters_says_so() -> None:
    tokenizer = Tokenizer(Backend(models.BPE(vocab={"!": 0, "?": 1}, merges=[])))
    assert tokenizer.decode([0]) == "!"
    with pytest.raises(CheckpointError, match="no token that is a letter"):
        tokenizer.text_of(0)


def test_text_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None;"
        "import stemma.front.text.detokenize, stemma.front.text.template, stemma.front.service.service"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_long_text_leaves_the_interpreter_to_others() -> None:
    tokenizer = VOCABULARIES["llama"]
    beats = 0
    is_done = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not is_done.wait(0.001):
            beats += 1

    thread = threading.Thread(target=beat)
    thread.start()
    tokens = tokenizer.encode("the cat sat on the mat " * 20_000)
    seen = beats
    is_done.set()
    thread.join()
    assert len(tokens) > 100_000
    assert seen > 3
