"""A service over an engine in another process."""

from stemma.core.config.serve import ServeConfig
from stemma.core.wire.zmq import ZmqFrontChannel
from stemma.front.service.client import EngineClient
from stemma.front.service.service import Service
from stemma.front.text.template import ChatTemplate
from stemma.front.text.tokenizer import Tokenizer


def connect(serve: ServeConfig, address: str) -> Service:
    """Over the engine at `address`, which need not be there yet. To be called inside the event loop.

    Raises CheckpointError when the folder has no tokenizer that can be used.
    """
    tokenizer = Tokenizer.from_folder(serve.tokenizer_path)
    template = ChatTemplate.from_folder(serve.tokenizer_path, serve.chat_template)
    return Service(tokenizer, template, EngineClient(ZmqFrontChannel(address)))
