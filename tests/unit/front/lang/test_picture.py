"""The picture of a program that has run: what is in it, and where."""

import threading
import time
from typing import Any
from xml.etree import ElementTree

import stemma as sgl
from stemma.front.lang.errors import BackendError
from tests.unit.front.lang.fakes import FakeBackend

SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture: str) -> dict[str, tuple[float, float, float]]:
    """Left, right and height of each box, by the first word of its title."""
    found = {}
    for group in ElementTree.fromstring(picture).iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None and title.text is not None and rect is not None
        left = float(rect.attrib["x"])
        found[title.text.split()[0]] = (left, left + float(rect.attrib["width"]), float(rect.attrib["y"]))
    return found


@sgl.function
def program(s: Any) -> None:
    s += "Q:" + sgl.gen("first")
    forks = s.fork(2)
    forks += lambda index: f"{index}" + sgl.gen(f"branch{index}")
    forks.join()
    s += sgl.select("last", ["<a>", "&b"])


def test_a_picture_shows_what_waited_when_and_where() -> None:
    together = threading.Barrier(2, timeout=20)

    def script(text: str) -> str:
        if text[-1] in "01":
            together.wait()
        time.sleep(0.01)  # a box has a width
        return "<&>"

    picture = program.run(backend=FakeBackend(script)).visualize()
    found = boxes(picture)
    assert list(found) == ["first", "fork", "last", "branch0", "branch1"]
    first, fork, last, zero, one = found.values()
    assert first[1] <= fork[0] + 0.2 and fork[1] <= min(zero[0], one[0]) + 0.2
    assert max(zero[1], one[1]) <= last[0] + 0.2
    assert first[2] == fork[2] == last[2] < zero[2] < one[2]
    assert zero[0] < one[1] and one[0] < zero[1]  # at the same time
    lines = [line.attrib for line in ElementTree.fromstring(picture).iter(f"{SVG}line")]
    vertical = [line for line in lines if line["x1"] == line["x2"] and line["y1"] != line["y2"]]
    assert len(lines) - len(vertical) == 3 and len(vertical) == 4  # a line each; out and back
    assert f"{__file__}:" in picture and "&lt;&amp;&gt;" in picture


def test_what_failed_is_in_the_picture() -> None:
    def script(text: str) -> str:
        raise BackendError("gone")

    @sgl.function
    def alone(s: Any) -> None:
        s += "Q:" + sgl.gen("x") + sgl.gen("never")

    assert list(boxes(alone.run(backend=FakeBackend(script)).visualize())) == ["x"]


def test_a_program_without_a_model_has_a_picture() -> None:
    @sgl.function
    def says(s: Any) -> None:
        s += "text"

    assert boxes(says.run(backend=FakeBackend()).visualize()) == {}
