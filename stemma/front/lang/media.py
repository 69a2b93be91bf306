"""Images and videos of programs, as servers are sent them: in base64."""

import base64
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from stemma.core.base.registry import Registry
from stemma.front.lang.errors import Misuse

FRAMES = Registry[Callable[[str, int], bytes]]("reader of videos", {"av": "stemma.front.lang.frames:png_frames"})
VIDEO = "video:"  # what a video begins with, in the list of a program's images


def encoded_image(image: object) -> str:
    """Of a file's path, of the bytes of a file, or of an image that can save itself, as those of PIL."""
    if isinstance(image, str | os.PathLike):
        content = Path(image).read_bytes()
    elif isinstance(image, bytes):
        content = image
    elif hasattr(image, "save"):
        file = BytesIO()
        image.save(file, format="PNG")
        content = file.getvalue()
    else:
        raise Misuse(f"an image is a path, bytes or a PIL image, not {image!r}")
    return base64.b64encode(content).decode()


def encoded_video(path: str, num_frames: int) -> str:
    """So many frames at even distances, from the first to the last, each as PNG, one behind the other."""
    return VIDEO + base64.b64encode(FRAMES["av"](path, num_frames)).decode()


def media_type(encoded: str) -> str:
    """What kind of file it is, by its first bytes; JPEG when they do not say."""
    first = base64.b64decode(encoded[:16])
    known = {b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp"}
    return f"image/{known.get(first[:4], 'jpeg')}"
