"""What is decided for an accelerator that is only imagined, and its floor against arithmetic by hand."""

import msgspec
import pytest

from stemma.core.base.errors import ConfigError
from stemma.core.config.accelerator import Accelerator, known
from stemma.core.config.ask import ask_from
from stemma.core.config.buckets import bucket_of, decode_buckets, prefill_buckets
from stemma.core.config.floor import decode_seconds, prefill_rate
from stemma.core.config.machine import Machine
from stemma.core.config.model import ModelSpec, RopeSpec, kv_bytes_per_token, parameter_count
from stemma.core.config.place import imagined
from stemma.core.config.resolve import Settled, settle

BARE = Machine(name="Quick One", architecture="x86_64", cores=16, memory_bytes=128 << 30)
QWEN3_8B = ModelSpec(
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    vocab_size=151936,
    hidden=4096,
    layers=36,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=12288,
    norm_eps=1e-6,
    rope=RopeSpec(),
    max_context=40960,
    windows=(0,) * 36,
    tied=False,
    qk_norm=True,
)


def h200() -> Accelerator:
    found = known("h200")
    assert found is not None
    return found


def settled(machine: Machine, **kwargs: object) -> Settled:
    return settle(ask_from(kwargs), machine, "/models/some", QWEN3_8B)


def with_device(**changes: object) -> Machine:
    return msgspec.structs.replace(BARE, accelerators=(msgspec.structs.replace(h200(), **changes),))


def test_an_accelerator_that_is_there_is_taken() -> None:
    engine = settled(with_device()).engine
    device = engine.device
    assert (device.platform, device.device, device.graphs) == ("cuda", "cuda:0", True)
    assert (device.dtype, device.kernels, device.attention) == ("bfloat16", "triton", "triton")
    assert (engine.cache.page_size, engine.schedule.depth, engine.schedule.max_running) == (16, 2, 256)
    assert not device.is_native


def test_the_ledger_fills_its_memory_and_no_more() -> None:
    ledger = settled(with_device()).ledger
    assert 0.95 * h200().free_bytes < ledger.private_bytes <= h200().free_bytes
    assert {"graphs", "row tables", "KV cache"} <= {line.name for line in ledger.lines}
    half = settled(with_device(free_bytes=70 << 30)).ledger
    assert half.private_bytes <= 70 << 30
    with pytest.raises(ConfigError, match="largest part is weights"):
        settled(with_device(free_bytes=10 << 30))


def test_without_graphs_no_memory_is_kept_for_them() -> None:
    found = settled(with_device(), disable_cuda_graph=True)
    assert not found.engine.device.graphs
    assert "graphs" not in {line.name for line in found.ledger.lines}


def test_why_not() -> None:
    plain = "this torch is a build for processors only"
    for machine, obstacle in (
        (BARE, "no accelerator was found"),
        (msgspec.structs.replace(with_device(), cannot_accelerate=plain), plain),
        (with_device(capability=(7, 5)), "capability 7.5 and kernels need 8.0"),
    ):
        found = settled(machine, disable_cuda_graph=True)
        assert found.engine.device.platform == "cpu"
        assert obstacle in next(reason.why for reason in found.reasons if reason.name == "device")
        with pytest.raises(ConfigError, match=obstacle):
            settled(machine, device="cuda")


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"device": "tpu"}, "device: 'tpu' is none"),
        ({"device": "h200"}, "device: 'h200' is none"),
        ({"device": "cuda:1"}, "no accelerator 1 was found"),
        ({"kernels": "avx2"}, "avx2 are a processor's, and cuda:0 is none; take triton"),
        ({"kernels": "reference"}, "reference are a processor's, and cuda:0 is none; take triton"),
        (
            {"attention_backend": "reference"},
            "reference needs a processor's kernels",
        ),
        ({"attention_backend": "paged"}, "paged needs native kernels, and these are triton; take triton"),
    ],
)
def test_what_an_accelerator_cannot_do(kwargs: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(with_device(), **kwargs)
    assert says in caught.value.message


def test_a_device_may_be_imagined() -> None:
    machine, device = imagined(BARE, "h200")
    assert (machine.accelerators, device) == ((h200(),), "cuda")
    assert imagined(BARE, "cpu") == (BARE, "cpu")
    amd, device = imagined(BARE, "mi300x")
    found = settled(amd, device=device).engine.device
    assert (found.platform, found.device) == ("rocm", "cuda:0")


def test_the_floor_of_decode_is_weights_and_cache_once() -> None:
    engine = settled(with_device()).engine
    embedding = 151936 * 4096
    read = 2 * (parameter_count(QWEN3_8B) - embedding) + 64 * 1024 * kv_bytes_per_token(QWEN3_8B, "bfloat16")
    assert decode_seconds(engine, h200(), 64, 1024) == pytest.approx(read / 4.8e12)
    tied = msgspec.structs.replace(engine, model=msgspec.structs.replace(QWEN3_8B, tied=True))
    assert decode_seconds(tied, h200(), 64, 1024) == pytest.approx(read / 4.8e12)


def test_the_floor_of_prefill_is_its_products() -> None:
    engine = settled(with_device()).engine
    layer = 4096 * (32 + 2 * 8) * 128 + 32 * 128 * 4096 + 3 * 4096 * 12288
    operations = 2 * 36 * layer + 36 * 4 * 32 * 128 * 8192 / 2
    assert prefill_rate(engine, h200(), 8192) == pytest.approx(989e12 / operations)
    sliding = msgspec.structs.replace(engine, model=msgspec.structs.replace(QWEN3_8B, windows=(128,) * 36))
    assert prefill_rate(sliding, h200(), 8192) > prefill_rate(engine, h200(), 8192)


@pytest.mark.parametrize("rows", [1, 3, 8, 100, 256, 300])
def test_every_step_up_to_the_limit_has_a_bucket(rows: int) -> None:
    buckets = decode_buckets(rows)
    assert buckets == sorted(set(buckets))
    assert buckets[-1] == rows
    for size in range(1, rows + 1):
        bucket = bucket_of(buckets, size)
        assert bucket is not None
        assert size <= bucket <= max(size + 31, 1.15 * size)
    assert bucket_of(buckets, rows + 1) is None
    assert prefill_buckets(8192)[-1] == 512
    assert prefill_buckets(20) == [16, 20]


def test_weights_and_cache_of_fewer_bits_are_served() -> None:
    found = settled(with_device(), quantization="int4", kv_cache_dtype="int8")
    device = found.engine.device
    assert (device.weights, device.kv_dtype, device.kernels) == ("int4", "int8", "triton")
    assert "products of 16 bits" in next(reason.why for reason in found.reasons if reason.name == "weights")


def test_bits_that_depend_on_company_are_asked_for() -> None:
    assert settled(with_device()).engine.device.deterministic
    assert not settled(with_device(), deterministic="off").engine.device.deterministic
    with pytest.raises(ConfigError, match="off is an accelerator's"):
        settled(BARE, deterministic="off")
    equipped = msgspec.structs.replace(with_device(), attention=("flash",))
    with pytest.raises(ConfigError, match="on cannot be kept by attention_backend flash"):
        settled(equipped, deterministic="on", attention_backend="flash")


def test_attention_of_a_library_is_used_if_asked_for_and_installed() -> None:
    with pytest.raises(ConfigError, match="flash needs flash_attn_interface, not installed here; take triton"):
        settled(with_device(), attention_backend="flash")
    equipped = msgspec.structs.replace(with_device(), attention=("flash",))
    assert settled(equipped).engine.device.attention == "triton"
    device = settled(equipped, attention_backend="flash").engine.device
    assert (device.attention, device.graphs) == ("flash", False)
    with pytest.raises(ConfigError, match="flash needs an accelerator's kernels"):
        settled(equipped, attention_backend="flash", device="cpu")
