"""Frames of a video file, by PyAV."""

from stemma.core.base.errors import ConfigError
from stemma.front.lang.errors import Misuse

try:
    import av
except ImportError as error:
    raise ConfigError("videos need PyAV: pip install 'stemma-llm[video]'") from error


def png_frames(path: str, count: int) -> bytes:
    """Frames at even distances, each as PNG; of a short video some come twice. It is read twice, not held."""
    if count < 1:
        raise Misuse(f"num_frames is at least 1, not {count}")
    with av.open(path) as video:
        total = sum(1 for _ in video.decode(video=0))
    if not total:
        raise Misuse(f"{path} has no frames")
    wanted = [at * (total - 1) // max(count - 1, 1) for at in range(count)]
    with av.open(path) as video:
        found = {at: png(frame) for at, frame in enumerate(video.decode(video=0)) if at in wanted}
    return b"".join(found[at] for at in wanted)


def png(frame: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "rgb24"
    packets = [*encoder.encode(frame.reformat(format="rgb24")), *encoder.encode(None)]
    return b"".join(map(bytes, packets))
