"""Calls what a learner wrote with tensors that must stay as they are."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def unchanged(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``.

    Raises:
        AssertionError: names the argument, a tensor, that the call has changed.
    """
    tensors = [(i, a, a.clone()) for i, a in enumerate(arguments) if isinstance(a, Tensor)]
    result = function(*arguments)
    for i, tensor, before in tensors:
        if not torch.equal(tensor, before):
            name, parameters = function.__name__, list(inspect.signature(function).parameters)
            raise AssertionError(
                f"{name} changed the {parameters[i]} it was given. Was it written to in place (-=, "
                "*=, exp_())? Make a new tensor"
            )
    return result
