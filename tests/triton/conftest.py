"""The interpreter, made right before any kernel runs."""

from tools import triton_interpreter

triton_interpreter.install()
