"""A service over an engine, wherever that is."""

from stemma.core.config.serve import ServeConfig
from stemma.core.wire.channel import FrontChannel
from stemma.front.service.client import EngineClient
from stemma.front.service.service import Service
from stemma.front.text.template import ChatTemplate
from stemma.front.text.tokenizer import Tokenizer


def connect(serve: ServeConfig, channel: FrontChannel) -> Service:
    """Over the engine at the other end, which need not be there yet. To be called inside the event loop.

    Raises CheckpointError when the folder has no tokenizer that can be used.
    """
    tokenizer = Tokenizer.from_folder(serve.tokenizer_path)
    template = ChatTemplate.from_folder(serve.tokenizer_path, serve.chat_template)
    return Service(tokenizer, template, EngineClient(channel))
