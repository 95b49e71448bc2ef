# course: given
"""The names of homework 2 and 3 in one place; each is imported only when it is asked for.

So an error in one file leaves the exercises in the others alone.
"""

import importlib
from typing import Any

_HOME = {
    "FlashAttentionPytorch": "flash_attention.flash_pytorch",
    "attention_backward_impl": "flash_attention.flash_pytorch",
    "FlashAttentionTriton": "flash_attention.flash_forward",
    "flash_fwd_kernel": "flash_attention.flash_forward",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOME[name])
    except AttributeError as error:
        # left alone, it would say that this module has no such name
        raise ImportError(f"{_HOME[name]}: {error}") from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(_HOME)
