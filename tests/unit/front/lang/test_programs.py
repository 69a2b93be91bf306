"""Programs, on a backend without a model: every primitive, what is read, what waits, what fails."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import stemma as sgl
from stemma.core.base.errors import ConfigError
from stemma.front.lang.errors import BackendError, Misuse, ProgramError
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.settings import global_config
from stemma.front.lang.transcript import Transcript
from tests.unit.front.lang.fakes import FakeBackend

SECONDS = 10.0


@pytest.fixture(autouse=True)
def _no_default_backend() -> Iterator[None]:
    yield
    global_config.default_backend = None


def test_text_variables_and_turns() -> None:
    @sgl.function
    def program(s: Any, question: str) -> str:
        s += sgl.system("Be kind.")
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen("answer", max_tokens=7, stop="\n"))
        return "returned"

    backend = FakeBackend(lambda text: " forty-two")
    state = program.run(question="Why?", backend=backend, temperature=0.5)
    assert state.text() == "SYSTEM:Be kind.\nUSER:Why?\nASSISTANT: forty-two\n"
    assert state.messages() == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "forty-two"},
    ]
    assert state["answer"] == " forty-two" and state.get_meta_info("answer") == {"length": 10}
    assert state.ret_value == "returned" and state.error() is None and "answer" in state
    ((text, sampling),) = backend.asked
    assert text.endswith("ASSISTANT:")
    assert (sampling.max_new_tokens, sampling.stop, sampling.temperature) == (7, "\n", 0.5)


def test_turns_in_every_form_are_the_same() -> None:
    @sgl.function
    def listed(s: Any) -> None:
        s += sgl.system("A") + sgl.user("B") + sgl.assistant("C" + sgl.gen("x"))

    @sgl.function
    def begun(s: Any) -> None:
        s += sgl.system_begin() + "A" + sgl.system_end()
        s += sgl.user_begin()
        s += "B"
        s += sgl.user_end()
        s += sgl.assistant_begin() + "C" + sgl.gen("x") + sgl.assistant_end()

    @sgl.function
    def scoped(s: Any) -> None:
        with s.system():
            s += "A"
        s.user("B")
        with s.assistant():
            s += "C"
            s += sgl.gen("x")

    states = [program.run(backend=FakeBackend(template="llama-2-chat")) for program in (listed, begun, scoped)]
    assert len({state.text() for state in states}) == 1
    assert states[0].text() == "[INST] <<SYS>>\nA\n<</SYS>>\n\nB [/INST]Canswer </s><s>"
    assert states[0].messages() == states[1].messages() == states[2].messages()


def test_the_template_brings_its_system_prompt_and_its_stop() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("x", stop=["a", "b"]))

    backend = FakeBackend(template="qwen")
    assert program.run(backend=backend).text().startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>")
    assert backend.asked[0][1].stop == ("a", "b", "<|im_end|>")


def test_turns_do_not_nest() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += sgl.user_begin() + sgl.assistant_begin()

    assert isinstance(program.run(backend=FakeBackend()).error(), Misuse)


def test_generation_does_not_block_and_reading_waits() -> None:
    backend = FakeBackend()
    backend.hold()
    reached = threading.Event()

    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        s += sgl.gen("y")
        reached.set()

    state = program.run(backend=backend)
    assert reached.is_set() and "x" in state
    with pytest.raises(TimeoutError):
        state.get_meta_info("x", timeout=0.01)
    backend.go()
    assert state["y"] == "answer" and state.text() == "Qansweranswer"


def test_who_reads_does_what_no_thread_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()
    called: list[Callable[[], None]] = []
    monkeypatch.setattr(backend.crew, "start", called.append)  # threads that come late

    @sgl.function
    def program(s: Any) -> Any:
        s += "Q" + sgl.gen("x") + sgl.gen("y")
        first = s["x"], len(backend.asked)
        s += sgl.gen("z")
        return *first, s["z"], len(backend.asked)

    state = program.run(backend=backend)
    assert state.ret_value == ("answer", 1, "answer", 3) and len(called) == 1
    state += sgl.gen("w")
    called.pop()()
    assert state.get_meta_info("w", timeout=SECONDS) == {"length": 6} and not called


def test_without_threads_everything_is_done_when_run_returns() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")

    before = threading.active_count()
    assert program.run(backend=FakeBackend(), use_thread=False)["x"] == "answer"
    assert threading.active_count() <= before


def test_n_answers_are_a_list_and_the_text_goes_on_with_the_first() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q:" + sgl.gen("x", n=3)

    state = program.run(backend=FakeBackend())
    assert state["x"] == ["answer0", "answer1", "answer2"] and state.text() == "Q:answer0"
    assert [meta["index"] for meta in state.get_meta_info("x")] == [0, 1, 2]


def test_select_and_gen_with_choices() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q:" + sgl.select("x", ["a", "b"]) + sgl.gen("y", choices=["c", "d"]) + sgl.select(choices=["e"])

    state = program.run(backend=FakeBackend())
    assert (state["x"], state["y"], state.text()) == ("b", "d", "Q:bde")
    assert state.get_meta_info("x") == {"choices": ["a", "b"]}
    with pytest.raises(AssertionError):
        sgl.select("x")


def test_scopes_and_variables() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s["given"] = 3
        with s.var_scope("whole"):
            s += "a" + sgl.gen("inner") + "b"
        s.set_var("read", s["inner"] + "!")

    state = program.run(backend=FakeBackend())
    assert (state["given"], state["whole"], state["read"]) == (3, "aanswerb", "answer!")
    with pytest.raises(KeyError):
        state["nothing"]
    with pytest.raises(ValueError, match="None"):
        state += None  # type: ignore[arg-type]  # the mistake


def test_forks_share_what_stands_before_and_are_gathered() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Tips:" + sgl.gen("first")
        forks = s.fork(3)
        forks += lambda index: f" {index}"
        forks += ["a", "b", "c"]
        forks += sgl.gen("tip")
        forks.join()

    backend = FakeBackend(lambda text: f"<{text[-2:]}>")
    state = program.run(backend=backend)
    assert state["tip"] == ["<0a>", "<1b>", "<2c>"]
    assert state.text() == "Tips:<s:>" and backend.cached == ["Tips:<s:>"]


def test_join_can_append_and_a_copy_is_joined() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "A"
        forks = s.fork(2)
        forks += str
        forks.join("concate_and_append")
        with s.copy() as other:
            other += sgl.gen("x")
            other["y"] = 1

    state = program.run(backend=FakeBackend())
    assert (state.text(), state["x"], state["y"]) == ("A01", ["answer"], [1])


def test_a_failure_names_the_line_of_the_program() -> None:
    def fail(text: str) -> str:
        raise BackendError("the engine is gone")

    @sgl.function
    def program(s: Any) -> None:
        s += "Q"
        s += sgl.gen("x")  # this line
        s += "never said" + sgl.gen("y")

    state = program.run(backend=FakeBackend(fail))
    line = program.func.__code__.co_firstlineno + 3
    assert isinstance(state.error(), BackendError) and state.text() == "Q"
    for name in ("x", "y"):
        with pytest.raises(ProgramError, match=re.escape(f"{__file__}:{line}: BackendError: the engine is gone")):
            state[name]
    for stream in (False, True):
        with pytest.raises(ProgramError, match="the engine is gone"):
            list(program.run(backend=FakeBackend(fail), stream=stream).text_iter())


def test_the_log_has_a_line_for_what_a_backend_says_and_all_of_what_nobody_expected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(text: str) -> str:
        raise BackendError("gone") if text == "Q" else LookupError("a mistake of ours")

    for text in "QR":
        sgl.function(lambda s, text: s.__iadd__(text + sgl.gen("x"))).run(text, backend=FakeBackend(fail)).sync()
    said, unexpected = caplog.records
    assert re.fullmatch(rf"{__file__}:\d+: BackendError: gone", said.getMessage()) and said.exc_info is None
    assert "LookupError: a mistake of ours" in unexpected.getMessage() and unexpected.exc_info is not None


def test_a_node_says_nothing_in_an_f_string() -> None:
    with pytest.raises(TypeError, match="Gen says nothing in an f-string; add it with"):
        f"Answer: {sgl.gen('x')}"


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_program_raises_reaches_the_caller(stream: bool) -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        s["absent"]

    if not stream:
        with pytest.raises(KeyError, match="absent"):
            program.run(backend=FakeBackend())
        return
    state = program.run(backend=FakeBackend(), stream=True)
    assert state["x"] == "answer" and isinstance(state.error(), KeyError)
    line = program.func.__code__.co_firstlineno + 3
    with pytest.raises(ProgramError, match=re.escape(f"{__file__}:{line}: KeyError: 'absent'")):
        state["other"]
    with pytest.raises(ProgramError, match="absent"):
        list(state.text_iter("other"))


def test_a_failed_fork_and_a_failed_branch_reach_the_program() -> None:
    def fail_at(mark: str) -> FakeBackend:
        def script(text: str) -> str:
            if text.endswith(mark):
                raise BackendError(f"no more after {mark}")
            return "fine"

        return FakeBackend(script)

    @sgl.function
    def program(s: Any) -> None:
        s += "P"
        forks = s.fork(2)
        forks += lambda index: f"{index}" + sgl.gen("x")
        forks.join()

    for mark in ("P", "1"):
        with pytest.raises(ProgramError, match=f"no more after {mark}"):
            program.run(backend=fail_at(mark))


def test_a_stream_yields_text_as_it_comes() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q:" + sgl.gen("x")
        s += "|" + sgl.gen("y")

    backend = FakeBackend(lambda text: "abc")
    backend.hold()
    state = program.run(backend=backend, stream=True)
    growing = state.text_iter()
    assert next(growing) == "Q:"
    backend.go()
    assert "".join(growing) == "abc|abc"
    assert "".join(state.text_iter("y")) == "abc" and list(state.text_iter("absent")) == [""]
    whole = program.run(backend=backend)
    assert list(whole.text_iter()) == ["Q:abc|abc"] and list(whole.text_iter("x")) == ["abc"]


def test_what_came_before_a_failure_is_told_first() -> None:
    class Breaks(FakeBackend):
        def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
            yield "ab", {}
            if "second" in transcript.text:
                raise BackendError("broken")

    @sgl.function
    def program(s: Any) -> None:
        s += "first" + sgl.gen("x")
        s += "second" + sgl.gen("y")

    state = program.run(backend=Breaks(), stream=True)
    for name, expected in ((None, "firstabsecondab"), ("y", "ab")):
        came: list[str] = []
        with pytest.raises(ProgramError, match="broken"):
            came.extend(state.text_iter(name))
        assert "".join(came) == expected
    assert "".join(state.text_iter("x")) == state["x"] == "ab"


async def test_an_asynchronous_stream_tells_meta_info_of_what_is_new() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "Q:" + sgl.gen("x")

    state = program.run(backend=FakeBackend(lambda text: "abc"), stream=True)
    texts = [text async for text in state.text_async_iter()]
    parts = [part async for part in state.text_async_iter("x", return_meta_data=True)]
    assert "".join(texts) == "Q:abc" and "".join(text for text, _ in parts) == "abc"
    entries = [entry for _, meta in parts for entry in meta["output_token_logprobs"]]
    assert [token for _, token, _ in entries] == [*b"abc"]


def test_batches_keep_their_order_and_compute_their_prefix_first() -> None:
    shots = "Few-shot examples, the same for every question, long enough to matter.\n"

    @sgl.function
    def program(s: Any, question: str, mark: str = "?") -> None:
        s += shots
        s += question + mark
        s += sgl.gen("answer")

    backend = FakeBackend(lambda text: text[-2:])
    batch = [{"question": str(number)} for number in range(9)]
    assert [state["answer"] for state in program.run_batch(batch, backend=backend)] == [f"{at}?" for at in range(9)]
    assert backend.cached == [shots]
    states = program.run_batch(
        [(1, "!"), ["2"]], backend=backend, num_threads=1, generator_style=True, max_new_tokens=3
    )
    with pytest.raises(TypeError):  # a number is no text
        next(states)
    assert program.run_batch([], backend=backend) == []
    with pytest.raises(Misuse, match="takes 1 to 2 arguments, not 3"):
        program.run_batch([("1", "2", "3")], backend=backend)
    seen = program.bind(question="bound").run_batch([{"mark": "a"}, {"mark": "b"}], backend=backend, progress_bar=True)
    assert [state["answer"] for state in seen] == ["da", "db"] and backend.cached[-1] == f"{shots}bound"


def test_a_batch_takes_as_many_threads_as_it_may() -> None:
    running: list[int] = []
    lock = threading.Lock()

    def script(text: str) -> str:
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.01)
        with lock:
            running.pop()
        return "x"

    most: list[int] = []

    @sgl.function
    def program(s: Any, number: str) -> None:
        s += number + sgl.gen("x")

    program.run_batch([{"number": str(at)} for at in range(12)], backend=FakeBackend(script), num_threads=3)
    assert max(most) == 3


def test_backends_are_found_and_missed() -> None:
    @sgl.function(num_api_spec_tokens=16)
    def program(s: Any) -> None:
        s += sgl.gen("x")

    assert not sgl.flush_cache() and sgl.get_server_info() is None
    with pytest.raises(AssertionError, match="specify a backend"):
        program.run()
    sgl.set_default_backend(FakeBackend())
    assert program()["x"] == "answer" and sgl.flush_cache()
    with pytest.raises(AssertionError, match="named s"):
        sgl.function(lambda x: None)
    with pytest.raises(Misuse, match="not served"):
        sgl.VertexAI("gemini")


def test_every_public_name_is_there() -> None:
    """LiteLLM is a package of its own; without it, the backend says how to get it."""
    for name in sgl.__all__:
        if name == "LiteLLM" and not find_spec("litellm"):
            with pytest.raises(ConfigError, match="pip install 'stemma-llm\\[litellm]'"):
                getattr(sgl, name)
        elif name not in ("Engine", "LLM"):
            assert getattr(sgl, name) is not None


def test_a_primitive_costs_little() -> None:
    @sgl.function
    def program(s: Any) -> None:
        for _ in range(1000):
            s += "a"

    backend = FakeBackend()
    best = min(timed(lambda: program.run(backend=backend).sync()) for _ in range(5))
    assert best < 1000 * 100e-6  # twice the goal: other work may be going on beside


def timed(run: Any) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
