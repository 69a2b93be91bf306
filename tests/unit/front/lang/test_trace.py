"""What a program says without a model: its graph, and the text that every run begins with."""

import re
from contextlib import suppress
from typing import Any

import pytest

import stemma as sgl
from tests.unit.front.lang.fakes import FakeBackend


def test_trace_and_cache() -> None:
    @sgl.function
    def inner(s: Any) -> None:
        s += "inner"

    @sgl.function
    def program(s: Any, question: str) -> None:
        s += sgl.user("Constant. " + question)
        inner()
        forks = s.fork(2)
        forks += sgl.gen("x")
        forks.join()
        s += "after" + s["x"][0]

    backend = FakeBackend(template="llama-3-instruct")
    program.cache(backend)
    assert backend.cached == ["<|start_header_id|>user<|end_header_id|>\n\nConstant. "]
    last = program.trace(backend=backend).last_node
    assert last is not None
    nodes = last.print_graph_dfs()
    assert re.search(r"RoleBegin.*\n.*Constant.*\n.*Argument.*\n(.*\n)*.*Fork.*\n(.*\n)*.*after", nodes)

    @sgl.function
    def formats(s: Any, name: str) -> None:
        s += "Before "
        s += f"my {name}"

    formats.cache(backend)
    assert backend.cached[-1] == "Before "


def loops(s: Any) -> None:
    while "done" not in s.text():
        s += "more" + sgl.gen("x")


def catches(s: Any) -> None:
    with suppress(Exception):
        s += "more" + sgl.select("x", ["a", "b"])
    s += "after"


def branches(s: Any) -> None:
    s += "more"
    s.fork(2).join()
    s += "after"


def reads(s: Any) -> None:
    s["kept"] = sgl.gen("never said")
    with s.var_scope("scope"):
        s += "mo"
    s += "re" if s["scope"] == s.text() else "less"
    s += sgl.image("/no/such/file")


@pytest.mark.parametrize("say", [loops, catches, branches, reads])
def test_a_prefix_ends_where_a_model_is_asked_or_runs_may_differ(say: Any) -> None:
    backend = FakeBackend()
    sgl.function(say).cache(backend)
    assert backend.cached == ["more"] and not backend.asked
