"""What computes: the types of numbers, the kernels, the weights' format and attention, for a place and a model."""

from typing import get_args

from stemma.core.base.errors import ConfigError
from stemma.core.config.ask import Ask
from stemma.core.config.engine import LIBRARIES, Attention, DeviceConfig, DType, Kernels, KVType, NativeKernels
from stemma.core.config.machine import Machine
from stemma.core.config.model import ModelSpec
from stemma.core.config.notes import ASKED, Notes
from stemma.core.config.place import Place
from stemma.core.config.quant import Format

_FASTEST = "native, with the best instructions of this processor"

_TYPES: dict[str, DType] = {
    "half": "float16",
    "float16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "float": "float32",
    "float32": "float32",
}

# What kernels need; those that are not here run everywhere.
_NEEDS = {
    "amx": ("amx_tile", "amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni"),
    "avx512_bf16": ("avx512_bf16", "avx512_vnni"),
    "avx512_vnni": ("avx512_vnni", "avx512bw"),
    "avx512": ("avx512bw",),
    "avx2": ("avx2",),
}


def device_of(ask: Ask, machine: Machine, place: Place, spec: ModelSpec, notes: Notes) -> DeviceConfig:
    dtype = notes.take("dtype", _dtype(ask, machine, place, spec))
    kv_dtype = notes.take("KV dtype", _kv_dtype(ask, dtype))
    is_native = place.accelerator is None
    choice = _kernels(ask, machine, dtype, kv_dtype) if is_native else _accelerated_kernels(ask, place)
    kernels = notes.take("kernels", choice)
    weights = notes.take("weights", _weights(ask, dtype, kernels))
    attention = notes.take("attention", _attention(ask, machine, kernels))
    return DeviceConfig(
        platform=place.platform,
        device=place.device,
        dtype=dtype,
        kv_dtype=kv_dtype,
        weights=weights,
        kernels=kernels,
        attention=attention,
        deterministic=notes.take("deterministic", _deterministic(ask, place, attention)),
        threads=notes.take("threads", _threads(ask, machine)),
        graphs=not is_native and attention not in LIBRARIES and not ask.disable_cuda_graph,
    )


def _dtype(ask: Ask, machine: Machine, place: Place, spec: ModelSpec) -> tuple[DType, str]:
    if ask.dtype != "auto":
        return _TYPES[ask.dtype], ASKED
    if spec.dtype != "float16" or place.accelerator is not None or machine.has("avx512_fp16", "amx_fp16", "asimdhp"):
        return spec.dtype, "as the checkpoint"
    if machine.has("avx512_bf16", "amx_bf16", "bf16"):
        return "bfloat16", "the checkpoint has float16; this processor computes in bfloat16, of the same size"
    return "float32", "the checkpoint has float16; this processor has no arithmetic for 16 bits"


def _kv_dtype(ask: Ask, dtype: DType) -> tuple[KVType, str]:
    if ask.kv_cache_dtype == "int8":
        return "int8", ASKED
    if ask.kv_cache_dtype != "auto":
        return _TYPES[ask.kv_cache_dtype], ASKED
    return dtype, "as the activations"


def runnable(machine: Machine) -> list[Kernels]:
    """Native kernels whose instructions this processor has, the best first."""
    return [name for name in get_args(NativeKernels) if all(map(machine.has, _NEEDS.get(name, ())))]


def _kernels(ask: Ask, machine: Machine, dtype: DType, kv_dtype: KVType) -> tuple[Kernels, str]:
    can_run, torch = runnable(machine), get_args(Kernels)[-1]
    obstacle = machine.cannot_build
    if "float16" in (dtype, kv_dtype):
        obstacle = "native kernels compute in bfloat16 and float32 only"
    if ask.kernels is None:
        return (torch, f"{obstacle}; native kernels are many times faster") if obstacle else (can_run[0], _FASTEST)
    if ask.kernels != torch and obstacle:
        raise ConfigError(f"kernels: {ask.kernels} cannot be served: {obstacle}; take {torch}")
    if ask.kernels not in (*can_run, torch):
        raise ConfigError(
            f"kernels: this processor lacks instructions of {ask.kernels}; it has those of {', '.join(can_run)}"
        )
    return ask.kernels, ASKED


def _accelerated_kernels(ask: Ask, place: Place) -> tuple[Kernels, str]:
    *_, compiled, _ = get_args(Kernels)
    if ask.kernels not in (None, compiled):
        raise ConfigError(f"kernels: {ask.kernels} are a processor's, and {place} is none; take {compiled}")
    return (ask.kernels, ASKED) if ask.kernels else (compiled, "compiled at start, for what was found")


def _weights(ask: Ask, dtype: DType, kernels: Kernels) -> tuple[Format, str]:
    if ask.quantization is None:
        return "plain", f"in {dtype}, as nothing else was asked for"
    bits = 8 if "avx512_vnni" in _NEEDS.get(kernels, ()) else 16
    if kernels not in get_args(NativeKernels):
        bits = 64 if kernels == get_args(Kernels)[-1] else {"int8": 8, "int4": 16}[ask.quantization]
    return ask.quantization, f"{ASKED}; {kernels} kernels compute its sums in products of {bits} bits, exactly"


def _attention(ask: Ask, machine: Machine, kernels: Kernels) -> tuple[Attention, str]:
    native, compiled, *_, torch = get_args(Attention)
    is_native, is_plain = kernels in get_args(NativeKernels), kernels == get_args(Kernels)[-1]
    fitting = native if is_native else torch if is_plain else compiled
    asked = ask.attention_backend
    if asked in (None, fitting) or (asked == torch and fitting != compiled):
        return (asked, ASKED) if asked else (fitting, "as the other kernels")
    if asked not in LIBRARIES or fitting != compiled:
        own = {native: "native", torch: "a processor's"}.get(asked, "an accelerator's")
        raise ConfigError(f"attention_backend: {asked} needs {own} kernels, and these are {kernels}; take {fitting}")
    if asked not in machine.attention:
        raise ConfigError(f"attention_backend: {asked} needs {LIBRARIES[asked]}, not installed here; take {fitting}")
    return asked, f"{ASKED}; a row's bits may depend on its neighbours"


def _deterministic(ask: Ask, place: Place, attention: Attention) -> tuple[bool, str]:
    """Whether products keep one order of summation for any number of rows."""
    if place.accelerator is None:
        if ask.deterministic == "off":
            raise ConfigError("deterministic: off is an accelerator's; a processor's kernels have one order of sums")
        return True, "kernels of processors have one order of sums"
    if ask.deterministic == "on" and attention in LIBRARIES:
        raise ConfigError(f"deterministic: on cannot be kept by attention_backend {attention}; leave one of them out")
    if ask.deterministic != "auto":
        return ask.deterministic == "on", ASKED
    return True, "what it costs was not measured yet (benchmarks/gpu); --deterministic off gives it up"


def _threads(ask: Ask, machine: Machine) -> tuple[int, str]:
    return (ask.threads, ASKED) if ask.threads else (machine.cores, "one per core that this process may use")
