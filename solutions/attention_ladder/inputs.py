# course: given
"""What every rung accepts, said in one place."""

import torch
import triton
from torch import Tensor, bfloat16, float16, float32

MAX_HEAD_DIM = 256


def check_inputs(
    q: Tensor, k: Tensor, v: Tensor, runs_kernel: bool = True, heads: bool = False
) -> None:
    """Refuse what the rungs cannot compute.

    Args:
        q: (seq_q, d), float32 or float16, any strides.
        k, v: (seq_k, d), of q's dtype and on q's device.
        runs_kernel: whether the tensors are handed to a Triton kernel.
        heads: whether the rung also takes (seq, heads, d), and bfloat16.

    Raises:
        ValueError: names the argument and what it got.
    """
    layout = "(seq, d) or (seq, heads, d)" if heads else "(seq, d)"
    dtypes = (float32, float16, bfloat16) if heads else (float32, float16)
    known = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tensor.ndim not in ((2, 3) if heads else (2,)):
            raise ValueError(f"{name}: expected {layout}, got shape {tuple(tensor.shape)}")
        if tensor.dtype not in dtypes:
            raise ValueError(f"{name}: expected {known}, got {tensor.dtype}")
        if tensor.dtype != q.dtype:
            raise ValueError(f"{name}: expected the dtype of q, {q.dtype}, got {tensor.dtype}")
        if tensor.device != q.device:
            raise ValueError(f"{name}: expected the device of q, {q.device}, got {tensor.device}")
    if q.numel() == 0 or q.shape[-1] > MAX_HEAD_DIM:
        raise ValueError(
            f"q: expected a query or more and a head dimension of 1 to {MAX_HEAD_DIM}, "
            f"got shape {tuple(q.shape)}"
        )
    if k.numel() == 0 or k.shape[1:] != q.shape[1:]:
        expected = ", ".join(map(str, q.shape[1:]))
        raise ValueError(
            f"k: expected (seq_k, {expected}) to fit q, with a key or more, "
            f"got shape {tuple(k.shape)}"
        )
    if v.shape != k.shape:
        raise ValueError(f"v: expected the shape of k, {tuple(k.shape)}, got {tuple(v.shape)}")
    if runs_kernel and not q.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(
            f"q: expected a tensor on the GPU, got one on {q.device}: this process compiles its "
            "kernels (TRITON_INTERPRET=1, set before triton is imported, interprets them instead)"
        )


def check_chip(q: Tensor, needed: tuple[int, int], feature: str) -> None:
    """Refuse a GPU without a feature; the interpreter has them all.

    Raises:
        ValueError: says which feature is missing, and where it is not.
    """
    if q.is_cuda:
        got = torch.cuda.get_device_capability(q.device)
        if got < needed:
            raise ValueError(
                f"q: {feature} needs sm_{needed[0]}{needed[1]} or later, "
                f"got a tensor on sm_{got[0]}{got[1]}"
            )
