"""Images and videos as servers get them."""

import base64
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy
import pytest

import stemma as sgl
from stemma.front.lang.errors import Misuse
from stemma.front.lang.media import encoded_image, encoded_video, media_type
from tests.unit.front.lang.fakes import FakeBackend

MAGIC = b"\x89PNG\r\n\x1a\n"


class Drawing:
    """Saves itself as PIL's images do."""

    def save(self, file: object, format: str) -> None:
        assert format == "PNG" and hasattr(file, "write")
        file.write(MAGIC + b"drawn")


def test_images_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 a jpeg")
    for given, content in ((str(path), path.read_bytes()), (path, path.read_bytes()), (b"GIF89a", b"GIF89a")):
        assert base64.b64decode(encoded_image(given)) == content
    assert base64.b64decode(encoded_image(Drawing())) == MAGIC + b"drawn"
    kinds = [media_type(encoded_image(content)) for content in (MAGIC, b"GIF89a", b"RIFF....WEBP", b"\xff\xd8\xff")]
    assert kinds == ["image/png", "image/gif", "image/webp", "image/jpeg"]
    with pytest.raises(Misuse, match="an image is a path"):
        encoded_image(3)


def grey_film(path: Path, count: int) -> None:
    """Frame `at` is all of the brightness `20 * at`, losslessly."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("ffv1", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gray"
        for at in range(count):
            frame = av.VideoFrame.from_ndarray(numpy.full((16, 32), 20 * at, numpy.uint8), format="gray")
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


def brightness(png: bytes) -> int:
    codec = av.CodecContext.create("png", "r")
    assert isinstance(codec, av.VideoCodecContext)
    (frame,) = [*codec.decode(av.Packet(png)), *codec.decode(None)]
    return int(frame.to_ndarray(format="gray")[0, 0])


@pytest.mark.parametrize(("frames", "wanted"), [(11, [0, 5, 10]), (3, [0, 1, 2]), (2, [0, 0, 1]), (1, [0, 0, 0])])
def test_frames_are_taken_at_even_distances(frames: int, wanted: list[int], tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    grey_film(path, frames)
    kind, _, encoded = encoded_video(str(path), 3).partition(":")
    pngs = [MAGIC + part for part in base64.b64decode(encoded).split(MAGIC)[1:]]
    assert kind == "video" and len(pngs) == 3
    assert [brightness(png) for png in pngs] == pytest.approx([20 * at for at in wanted], abs=2)
    assert numpy.array_equal(wanted, numpy.linspace(0, frames - 1, 3, dtype=int))


def test_a_video_is_said_as_an_image_is(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    grey_film(path, 2)

    @sgl.function
    def program(s: Any) -> None:
        s += sgl.user(sgl.video(path, 2) + "What happens?")

    state = program.run(backend=FakeBackend())
    content = state.messages()[0]["content"]
    assert isinstance(content, list) and content[0] == {"type": "text", "text": "<image>What happens?"}
    assert content[1]["image_url"]["url"] == "data:image/jpeg;base64," + encoded_video(str(path), 2)
    with pytest.raises(Misuse, match="num_frames"):
        encoded_video(str(path), 0)
