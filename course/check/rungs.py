"""Judging a rung of the attention ladder by its file, as that is now.

A rung runs in a process of its own, so that a store without a mask ends that and not the notebook;
where this process is there for one check only, it is that process.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course import process
from course.check import mistakes
from course.check.case import case
from course.check.close import assert_matches
from course.check.fresh import Guarded, Traffic, like_a_gpu, surrounded
from course.oracle.attention import attention as oracle
from course.oracle.attention import scores
from course.subject import Child, Direct, Reply, Subject


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
        return self.by_kernels(reply, alone)

    def by_kernels(self, reply: Reply, alone: bool) -> Tensor:
        """The output of a reply, see :meth:`run`."""
        assert reply.kernels, f"{self.name} launched no kernel"
        assert not (alone and reply.torch_ops), (
            f"{self.name} let PyTorch compute {reply.torch_ops[0]}; the kernel should do it all"
        )
        return reply.output

    def judge(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        what: str,
        reference: Callable[..., Tensor] | None = None,
    ) -> None:
        """Compare with PyTorch, plain and causal; ``what`` says what is special about the inputs.

        Inputs are (seq, d) or (seq, heads, d). ``reference``: :func:`by_heads` unless given.
        """
        for is_causal in (False, True):
            shape = f"seq_q={len(q)}, seq_k={len(k)}, d={q.shape[-1]}"
            heads = f", heads={q.shape[1]}" if q.ndim == 3 else ""
            inputs = f"{shape}{heads}{what}{', causal' if is_causal else ''}"
            got = self.run(q, k, v, is_causal, alone=True)
            with case(inputs):
                try:
                    assert_attention("o", got, q, k, v, is_causal, reference=reference)
                except Unexplained as error:
                    own = self.own_mistake(got, q, k, v, is_causal)
                    raise AssertionError(f"{error} {own}".strip()) from None

    def own_mistake(self, got: Tensor, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> str:
        """A mistake that this kind of rung alone has and that gives ``got``; "" if none does."""
        return ""

    def close(self) -> None:
        """End the process, if it was started for the rung."""
        self._subject.close()


class Unexplained(AssertionError):
    """A wrong result that no usual mistake gives."""


def assert_attention(
    name: str,
    got: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool,
    condition: float = 1.0,
    reference: Callable[..., Tensor] | None = None,
) -> None:
    """``got`` is attention, see :func:`course.check.assert_matches`; a usual mistake is named."""
    try:
        assert_matches(name, got, reference or by_heads, q, k, v, is_causal, condition=condition)
    except AssertionError as error:
        reason = _reason(got, q, k, v, is_causal)
        if not reason:
            raise Unexplained(*error.args) from None
        raise AssertionError(f"{error} {reason}") from None


def _reason(got: object, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> str:
    """The usual mistake that gives just this result, in words; "" if none does."""
    if not isinstance(got, Tensor) or got.shape != q.shape or not got.isfinite().all():
        return ""
    tolerance = 1e-3 if got.dtype == torch.float32 else 1e-2
    right = by_heads(q.double(), k.double(), v.double(), is_causal)
    for words, wrong in _wrong_results(q, k, v, is_causal):
        limit = tolerance * wrong.abs().max()
        # a mistake that hardly shows on these inputs explains nothing
        if ((got - wrong).abs() <= limit).all() and (wrong - right).abs().max() > 5 * limit:
            return f"This is what comes out {words}."
    return ""


def _wrong_results(
    q: Tensor, k: Tensor, v: Tensor, is_causal: bool
) -> Iterator[tuple[str, Tensor]]:
    """What attention becomes with a usual mistake, in float64."""
    Q, K, V = (t.double() for t in (q, k, v))
    power_of_two = 1 << (len(k) - 1).bit_length()
    for tile in sorted({power_of_two, 16, 32, 64, 128}):
        beyond = -len(k) % tile
        if beyond:
            more, more_values = (torch.cat([t, t.new_zeros(beyond, *t.shape[1:])]) for t in (K, V))
            keys = "1 key that does" if beyond == 1 else f"{beyond} keys that do"
            verb = "takes" if beyond == 1 else "take"
            words = f"when {keys} not exist {verb} part with score 0: the score should be -inf"
            yield words, by_heads(Q, more, more_values, is_causal)
    HQ, HK, HV = (t.transpose(0, 1) if t.ndim == 3 else t for t in (Q, K, V))
    made = mistakes.outputs(HQ, HK, HV, is_causal) | _one_key_at_a_time(HQ, HK, HV, is_causal)
    for words, (wrong,) in made.items():
        if words:
            yield words, wrong.transpose(0, 1) if q.ndim == 3 else wrong
    if k.stride() != v.stride() and _last(v, k.stride()) <= _last(v, v.stride()):
        mixed = v.as_strided(v.shape, k.stride()).double()
        yield "if V is read with the strides of K", by_heads(Q, K, mixed, is_causal)


def _last(tensor: Tensor, strides: tuple[int, ...]) -> int:
    return sum((n - 1) * stride for n, stride in zip(tensor.shape, strides, strict=True))


def _one_key_at_a_time(
    Q: Tensor, K: Tensor, V: Tensor, is_causal: bool
) -> dict[str, tuple[Tensor, ...]]:
    """The recurrence over single keys where acc, l or both are not rescaled; masks that are off."""
    S = scores(Q, K, is_causal)
    p = torch.exp(S - S.amax(-1, keepdim=True))
    stale = torch.exp(S - S.cummax(-1).values)
    acc, l = p @ V, p.sum(-1, keepdim=True)
    stale_acc, stale_l = stale @ V, stale.sum(-1, keepdim=True)
    words = "multiplied by alpha when m grows"
    made: dict[str, tuple[Tensor, ...]] = {
        f"if acc is not {words}": (stale_acc / l,),
        f"if l is not {words}": (acc / stale_l,),
        f"if neither acc nor l is {words}": (stale_acc / stale_l,),
    }
    if is_causal:
        hidden = S.isinf()
        plain = scores(Q, K)
        zero = torch.softmax(plain.masked_fill(hidden, 0.0), -1)
        words = "when a key that may not be seen takes part with score 0: it should be -inf"
        made[words] = (zero @ V,)
        made[f"{words} (its value is not loaded)"] = (zero.masked_fill(hidden, 0.0) @ V,)
        next_too = torch.softmax(plain.masked_fill(hidden.triu(2), -torch.inf), -1)
        made["if query i sees key i + 1 too"] = (next_too @ V,)
    return made


def by_heads(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """The oracle for (seq, d) and (seq, heads, d)."""
    if q.ndim == 2:
        return oracle(q, k, v, is_causal)
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    return oracle(q, k, v, is_causal).transpose(0, 1)


def by_heads_in_float32(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """As :func:`by_heads`, all of it at float32 or wider, and only the result at q's dtype."""
    wide = torch.promote_types(q.dtype, torch.float32)
    return by_heads(q.to(wide), k.to(wide), v.to(wide), is_causal).to(q.dtype)


def laid_out_apart(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of (seq, d) tensors with gaps of NaN, each in a layout of its own.

    K and V lie in the same places, in different orders: whoever reads V with the strides of K meets
    its numbers, mixed up, and can be told so.
    """
    n, d = k.shape
    layouts = ((3, 3 * len(q) + 2), (2, 2 * n), (2 * d, 2))
    q, k, v = (surrounded(t, strides) for t, strides in zip((q, k, v), layouts, strict=True))
    return q, k, v


def beyond_float16(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(seq, d) tensors like these in float16; two products in each score are too large for it.

    In float32 they cancel, and as all else is a multiple of 1/16, nothing is rounded in any order.
    """
    q, k = (torch.round(4 * t) / 4 for t in (q, k))
    q[:, :2], k[:, 0], k[:, 1] = 320, 300, -300
    return q.half(), k.half(), v.half()


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


def traffic(name: str, q: Tensor, k: Tensor, v: Tensor) -> Traffic:
    """What a rung loads of tensors made by :func:`surrounded`, in this process; not causal.

    Counts nothing on a GPU. Only for a rung that was seen to write nothing but its output.
    """
    with like_a_gpu(q=q, k=k, v=v) as seen:
        reloaded(name)(q, k, v, False)
    return seen


def assert_writes_only_its_output(name: str, *inputs: Tensor, what: str) -> None:
    """Run a rung in this process and fail when it writes beside its output."""
    attention = reloaded(name)
    with fenced() as found:
        attention(*inputs, False)
    for output in found.outputs:
        output.check(f"o ({what})")
