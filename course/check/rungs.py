"""Judging a rung of the attention ladder by its file, as that is now.

A rung runs in a process of its own, so that a store without a mask ends that and not the notebook;
where this process is there for one check only, it is that process.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course import process
from course.check.case import case
from course.check.close import assert_matches
from course.check.fresh import Guarded
from course.oracle.attention import attention as oracle
from course.subject import Child, Direct, Subject


def tree() -> Path:
    """The folder that holds the student packages this process sees."""
    return Path(importlib.import_module("attention_ladder").__path__[0]).parent


class Rung:
    """A rung in a process that reads its file as it is now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._subject: Subject = Direct(tree()) if process.expendable else Child(tree())

    def run(self, q: Tensor, k: Tensor, v: Tensor, is_causal: bool, alone: bool = False) -> Tensor:
        """What ``attention`` returns; ``alone``: its kernels must have computed all of it.

        Raises:
            AssertionError: it launched no kernel, or PyTorch did part of the work.
        """
        reply = self._subject.call(f"attention_ladder.{self.name}:attention", q, k, v, is_causal)
        assert reply.kernels, f"{self.name} launched no kernel"
        assert not (alone and reply.torch_ops), (
            f"{self.name} let PyTorch compute {reply.torch_ops[0]}; the kernel should do it all"
        )
        return reply.output

    def judge(self, q: Tensor, k: Tensor, v: Tensor, what: str) -> None:
        """Compare with PyTorch, plain and causal; ``what`` says what is special about the inputs.

        Inputs are (seq, d) or (seq, heads, d).
        """
        for is_causal in (False, True):
            shape = f"seq_q={len(q)}, seq_k={len(k)}, d={q.shape[-1]}"
            heads = f", heads={q.shape[1]}" if q.ndim == 3 else ""
            inputs = f"{shape}{heads}{what}{', causal' if is_causal else ''}"
            got = self.run(q, k, v, is_causal, alone=True)
            with case(inputs):
                try:
                    assert_matches("o", got, by_heads, q, k, v, is_causal)
                except AssertionError as error:
                    reason = _reason(got, q, k, v, is_causal)
                    raise AssertionError(f"{error}{reason}") from None

    def close(self) -> None:
        """End the process, if it was started for the rung."""
        self._subject.close()


def _reason(got: Tensor, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> str:
    """The usual mistake that gives just this result, in words; "" if none does."""
    if got.shape != q.shape:
        return ""
    for tile in (16, 32, 64, 128):
        beyond = -len(k) % tile
        if not beyond:
            continue
        K, V = (torch.cat([t, t.new_zeros(beyond, *t.shape[1:])]).double() for t in (k, v))
        wrong = by_heads(q.double(), K, V, is_causal)
        if (got.double() - wrong).abs().max() <= 1e-2 * wrong.abs().max():
            return (
                f" That is what comes out when {beyond} keys that do not exist take part with "
                "score 0: give them the score -inf."
            )
    return ""


def by_heads(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The oracle for (seq, d) and (seq, heads, d)."""
    if q.ndim == 2:
        return oracle(q, k, v, is_causal)
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    return oracle(q, k, v, is_causal).transpose(0, 1)


class fenced(TorchFunctionMode):
    """Inside it, the memory that is handed out lies between two red zones."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Guarded] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.empty_like:
            return result
        self.outputs.append(Guarded(*result.shape, dtype=result.dtype))
        return self.outputs[-1].tensor


def reloaded(name: str) -> Callable[..., Tensor]:
    """The rung as its file says now, for the cells that follow."""
    module = importlib.import_module(f"attention_ladder.{name}")
    return importlib.reload(module).attention


def assert_writes_only_its_output(name: str, *inputs: Tensor, what: str) -> None:
    """Run a rung in this process and fail when it writes beside its output."""
    attention = reloaded(name)
    with fenced() as found:
        attention(*inputs, False)
    for output in found.outputs:
        output.check(f"o ({what})")
