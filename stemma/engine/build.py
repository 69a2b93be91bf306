"""From a settled configuration to a loop that is ready to turn."""

import time
from collections.abc import Callable

from stemma.control.grammar.compiler import Compiler
from stemma.control.grammar.matcher import Vocabulary, Whitespace
from stemma.control.scheduler.parking import Parking
from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.base.clock import process_seconds
from stemma.core.config.engine import EngineConfig, GrammarConfig
from stemma.core.config.model import ModelSpec
from stemma.core.types.control import EngineReady
from stemma.core.wire.channel import EngineChannel
from stemma.device.worker.accelerated import AcceleratedWorker
from stemma.device.worker.worker import Worker
from stemma.engine.executor import Executor, LocalExecutor
from stemma.engine.inbox import Inbox
from stemma.engine.loop import EngineLoop
from stemma.engine.outbox import Outbox
from stemma.engine.pace import Pace
from stemma.engine.queue import QueueExecutor


def build_loop(
    config: EngineConfig, channel: EngineChannel, progress: Callable[[int, int], None] | None = None
) -> tuple[EngineLoop, EngineReady]:
    """Load the model and put the parts together. Raises CheckpointError.

    `progress` is called with bytes loaded and bytes in all.
    """
    started = time.monotonic()
    spec = config.model
    executor = executor_of(config, progress)
    parking = None if config.grammar is None else parking_of(config.grammar, spec, channel.wake)
    scheduler = Scheduler(
        config.cache,
        config.schedule,
        config.context,
        spec.vocab_size,
        spec.stop_ids,
        config.seed,
        parking,
    )
    ready = EngineReady(
        context=config.context,
        max_total_tokens=config.cache.pages * config.cache.page_size,
        page_size=config.cache.page_size,
        vocab_size=spec.vocab_size,
        load_seconds=time.monotonic() - started,
        startup_seconds=process_seconds(),
    )
    outbox, pace = Outbox(channel), Pace()
    inbox = Inbox(channel, scheduler, outbox, pace, ready)
    return EngineLoop(scheduler, executor, inbox, outbox, pace, config.schedule.depth), ready


def executor_of(config: EngineConfig, progress: Callable[[int, int], None] | None) -> Executor:
    """The device, with its model loaded, behind what hands it plans."""
    if config.device.is_accelerated:
        return QueueExecutor(AcceleratedWorker(config, progress))
    return LocalExecutor(Worker(config, progress).step, config.schedule.depth)


def parking_of(config: GrammarConfig, spec: ModelSpec, wake: Callable[[], None]) -> Parking:
    """Where requests wait for the grammars that bind them."""
    vocabulary = Vocabulary.from_folder(config.tokenizer_path, spec.vocab_size, spec.stop_ids)
    whitespace = Whitespace(config.whitespace_pattern, config.most_whitespace)
    compiler = Compiler(vocabulary, config.backend, config.compile_seconds, wake, whitespace)
    return Parking(compiler, config.jump_forward, vocabulary.size, vocabulary.stop_ids, config.backend)
