"""Where the model lies that comes with the package."""

from pathlib import Path

NAME = "acorn"


def embedded_model_path() -> Path:
    """The folder of the embedded model; it lies beside the code, installed or not."""
    return Path(__file__).parents[2] / NAME
