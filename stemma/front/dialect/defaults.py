"""What a request that leaves sampling parameters out gets: settled once, at start."""

from pathlib import Path

import msgspec

from stemma.core.base.errors import BadRequest, ConfigError
from stemma.core.config.serve import ServeConfig
from stemma.front.dialect.sampling import read_sampling

OF_THE_MODEL = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


class Defaults(msgspec.Struct, frozen=True):
    """Defaults of the native route, and of OpenAI's, which also listen to the model's generation_config.json."""

    native: dict[str, object]
    openai: dict[str, object]


def read_defaults(serve: ServeConfig) -> Defaults:
    """Raises ConfigError when the server's own defaults are not valid sampling parameters."""
    try:
        preferred = msgspec.json.decode(serve.preferred_sampling, type=dict[str, object])
        read_sampling(preferred, {})
    except (msgspec.DecodeError, BadRequest) as error:
        raise ConfigError(
            f"the preferred sampling parameters {serve.preferred_sampling!r} cannot be: {error}"
        ) from None
    of_model = generation_config(Path(serve.model_path)) if serve.sampling_defaults == "model" else {}
    return Defaults(native=preferred, openai=of_model | preferred)


def generation_config(model_path: Path) -> dict[str, object]:
    """What the model's authors recommend. A null, and a top_k of 0, mean: as usual."""
    path = model_path / "generation_config.json"
    if not path.is_file():
        return {}
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
        recommended = {name: content[name] for name in OF_THE_MODEL if content.get(name)}
        read_sampling(recommended, {})
    except (msgspec.DecodeError, BadRequest) as error:
        raise ConfigError(f"{path} recommends what cannot be: {error}; use --sampling-defaults openai") from None
    return recommended
