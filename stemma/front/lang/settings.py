"""Settings of the language in this process, where SGLang's programs look for them."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class GlobalConfig:
    """Written by programs and by `set_default_backend`; read where a program starts."""

    verbosity: int = 0  # 2: print the text of every run
    default_backend: object = None
    skip_special_tokens_in_output: bool = True
    spaces_between_special_tokens_in_out: bool = True
    enable_precache_with_tracing: bool = True
    enable_parallel_encoding: bool = True  # accepted: branches are appended as text in any case, as where it is False


global_config = GlobalConfig()
