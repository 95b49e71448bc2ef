"""Benchmarks and checks of attention for a notebook: a kernel of your own in two lines.

    from course.bench import quick_benchmark, test_correctness

    test_correctness(my_attention, Q, K, V)
    quick_benchmark({"mine": my_attention})

Tensors are (seq, d), (heads, seq, d) or (batch, heads, seq, d): your function is called with the
shape you name, and returns the shape of Q.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course.bench.clock import Clock
from course.bench.reference import AttentionJudge
from course.bench.registry import Function, find

if TYPE_CHECKING:
    import pandas as pd

_LAYOUTS = "(seq, d), (heads, seq, d) or (batch, heads, seq, d)"
_SIZES = ("batch", "num_heads", "seq_len", "head_dim", "d_model")


def test_correctness(
    fn: Callable[..., Tensor], Q: Tensor, K: Tensor, V: Tensor, is_causal: bool = False
) -> bool:
    """Compare ``fn(Q, K, V)`` with attention in float64, and say in words what is wrong.

    Works without a GPU too. Where Q, K and V ask for gradients (``requires_grad_()``), theirs are
    compared as well. Only the first and the last head are compared, so that it is quick at any
    length.

    Args:
        fn: called as fn(Q, K, V), with True as a fourth argument when ``is_causal``.
        Q, K, V: (seq, d), (heads, seq, d) or (batch, heads, seq, d), of one dtype.

    Returns:
        Whether it is right.

    Raises:
        ValueError: Q, K or V are not of such a shape.
    """
    for name, t in (("Q", Q), ("K", K), ("V", V)):
        if not isinstance(t, Tensor) or t.ndim not in (2, 3, 4):
            got = tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(f"{name}: expected a tensor of shape {_LAYOUTS}, got {got}")
    if K.shape != V.shape or Q.shape[:-2] != K.shape[:-2] or Q.shape[-1] != K.shape[-1]:
        raise ValueError(
            "K and V: expected one shape, with the heads and head dim of Q, got "
            f"Q {tuple(Q.shape)}, K {tuple(K.shape)}, V {tuple(V.shape)}"
        )
    from course.check import in_words

    gradients = all(t.requires_grad for t in (Q, K, V))
    q, k, v = (_flat(t.detach()).requires_grad_(gradients) for t in (Q, K, V))
    judge = AttentionJudge((q, k, v, torch.randn_like(q)), is_causal, gradients)
    name = getattr(fn, "__name__", type(fn).__name__)
    if is_causal and not _takes_four(fn):
        print(
            f"{name} takes no fourth argument: with is_causal it is called as {name}(Q, K, V, True)"
        )
        return False
    try:
        judge(name, _called(fn, Q.shape, K.shape, is_causal))
    except Exception as error:
        print(f"{name} {in_words(error, name)}")
        return False
    what = "output and gradients" if gradients else "output"
    mask = "causal" if is_causal else "full"
    dtype = str(Q.dtype).removeprefix("torch.")
    print(f"Right: {what}, {tuple(Q.shape)}, {dtype}, {mask}, against float64.")
    return True


# pytest collects functions of this name where a test imports them
test_correctness.__test__ = False  # type: ignore[attr-defined]


def quick_benchmark(
    functions: Mapping[str, Callable[..., Tensor]],
    shape: Sequence[int] = (16, 4096, 64),
    dtype: str | torch.dtype = "bf16",
    is_causal: bool = False,
    passes: Sequence[str] = ("forward",),
    against: Sequence[str] = ("sdpa_default", "naive"),
    clock: Clock | None = None,
    **limits: Any,
) -> "pd.DataFrame":
    """Check and time your own attention, in turns with PyTorch's.

    Args:
        functions: name -> fn; called as fn(Q, K, V), with True as a fourth argument when causal.
        shape: of Q, K and V: (seq, d), (heads, seq, d) or (batch, heads, seq, d).
        passes: "forward", "backward", "total".
        against: implementations of the op "attention" to race; () for none.

    Returns:
        A row an implementation; the columns are those of :func:`course.bench.harness.rows_of`. What
        is wrong has no time, and its row says why.

    Raises:
        ValueError: a shape, dtype or name that does not exist.
        RuntimeError: there is no GPU; the message says what can be done instead.
    """
    shape = tuple(shape)
    if len(shape) not in (2, 3, 4):
        raise ValueError(f"shape: expected {_LAYOUTS}, got {shape}")
    batch, heads, seq_len, head_dim = (1,) * (4 - len(shape)) + shape
    sizes = {"batch": batch, "heads": heads, "seq_len": seq_len, "head_dim": head_dim}
    case = find("attention").case(**sizes, dtype=dtype, is_causal=is_causal)
    mine = {name: _called(fn, shape, shape, is_causal) for name, fn in functions.items()}
    return _raced([case], mine, against, passes, clock, limits)


def benchmark_attention(
    config: Mapping[str, Any],
    implementations: Sequence[str] | Mapping[str, Callable[..., Tensor]] | None = None,
    dtype: str | torch.dtype = "bf16",
    is_causal: bool = True,
    passes: Sequence[str] = ("forward", "backward", "total"),
    clock: Clock | None = None,
    **limits: Any,
) -> "pd.DataFrame":
    """Time attention at the shapes of a model.

    Args:
        config: seq_len, num_heads, head_dim, and batch (1); or d_model = num_heads * head_dim in
            place of one of them. seq_len may be a list.
        implementations: names of the op "attention"; or name -> fn of your own, called with
            (batch, heads, seq, d) tensors, and raced against all. Without them, all there are.

    Returns, raises: as :func:`quick_benchmark`.
    """
    op = find("attention")
    sizes = _model(config)
    lengths = sizes.pop("seq_len")
    cases = [op.case(**sizes, seq_len=n, dtype=dtype, is_causal=is_causal) for n in lengths]
    mine: dict[str, Function] = {}
    names: Sequence[str] = ()
    if isinstance(implementations, Mapping):
        names = op.named(None)
        for name, fn in implementations.items():
            mine[name] = _four_dimensions(fn, sizes["batch"], sizes["heads"], is_causal)
    else:
        names = op.named(implementations)
    return _raced(cases, mine, names, passes, clock, limits)


def _raced(
    cases: list[dict[str, Any]],
    mine: dict[str, Function],
    names: Sequence[str],
    passes: Sequence[str],
    clock: Clock | None,
    limits: dict[str, Any],
) -> "pd.DataFrame":
    import pandas as pd

    from course import device

    names = find("attention").named(names) if names else []
    if clock is None and device.prepare().device != "cuda":
        from course.bench.show import no_gpu

        raise RuntimeError(no_gpu() + " course.bench.test_correctness works here.")
    from course.bench.clock import cuda_clock
    from course.bench.harness import bench

    limits = {"budget_ms": 300.0} | limits
    op, clock = find("attention"), clock or cuda_clock()
    rows = bench(op, cases, names, clock, passes, None, mine, **limits)
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    for name in config:
        if name not in _SIZES:
            raise ValueError(f"config: there is no {name!r}; there are: {', '.join(_SIZES)}")
    given = {name: config.get(name) for name in _SIZES}
    heads, width, model = (given[name] for name in ("num_heads", "head_dim", "d_model"))
    if heads and width and model and heads * width != model:
        raise ValueError(
            f"config: d_model is num_heads * head_dim, but {model} is not {heads} * {width}"
        )
    if heads and model and not width:
        width = model // heads
    if width and model and not heads:
        heads = model // width
    if not (heads and width) or (model and heads * width != model):
        raise ValueError(
            "config: expected num_heads and head_dim, or one of them and a d_model it divides, "
            f"got {dict(config)}"
        )
    length = given["seq_len"]
    lengths = [length] if isinstance(length, int) else list(length or ())
    if not lengths:
        raise ValueError("config: seq_len is missing; it is a number of tokens, or a list of them")
    return {"batch": given["batch"] or 1, "heads": heads, "head_dim": width, "seq_len": lengths}


def _takes_four(fn: Callable[..., Tensor]) -> bool:
    try:
        inspect.signature(fn).bind(None, None, None, True)
    except TypeError:
        return False
    except ValueError:  # a function of C has no signature to read
        return True
    return True


def _flat(t: Tensor) -> Tensor:
    return t.reshape(-1, *t.shape[-2:])


def _called(
    fn: Callable[..., Tensor], q_shape: Sequence[int], k_shape: Sequence[int], is_causal: bool
) -> Function:
    more = (True,) if is_causal else ()

    def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        got = fn(Q.reshape(q_shape), K.reshape(k_shape), V.reshape(k_shape), *more)
        assert isinstance(got, Tensor), f"expected a tensor, got {type(got).__name__}"
        assert got.shape == torch.Size(q_shape), (
            f"expected the shape of Q, {tuple(q_shape)}, got {tuple(got.shape)}"
        )
        return got.reshape(Q.shape)

    return attention


def _four_dimensions(
    fn: Callable[..., Tensor], batch: int, heads: int, is_causal: bool
) -> Function:
    def attention(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        shape = (batch, heads, *Q.shape[-2:])
        return _called(fn, shape, shape, is_causal)(Q, K, V)

    return attention
