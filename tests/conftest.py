"""Triton's kernels run on its interpreter in this process; Triton reads so when it is imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"
