# course: given
"""What attention accepts, and the one shape the kernels see."""

import torch
import triton
from jaxtyping import Float
from torch import Tensor


def check_inputs(Q: Tensor, K: Tensor, V: Tensor, runs_kernel: bool) -> None:
    """Refuse what cannot be computed.

    Args:
        runs_kernel: the tensors go to a Triton kernel, not to PyTorch.

    Raises:
        ValueError: names the argument that is wrong, and what it got.
    """
    dtypes = [torch.float32, torch.float16, torch.bfloat16]
    if not runs_kernel:
        dtypes.append(torch.float64)
    if Q.ndim not in (3, 4):
        raise ValueError(
            f"Q: expected (batch, seq_q, d) or (batch, heads, seq_q, d), got shape {tuple(Q.shape)}"
        )
    for name, t in (("K", K), ("V", V)):
        if t.ndim != Q.ndim or t.shape[:-2] != Q.shape[:-2] or t.shape[-1] != Q.shape[-1]:
            expected = (*Q.shape[:-2], "seq_k", Q.shape[-1])
            raise ValueError(
                f"{name}: expected ({', '.join(map(str, expected))}) to fit Q, "
                f"got shape {tuple(t.shape)}"
            )
    if V.shape != K.shape:
        raise ValueError(f"V: expected the shape of K, {tuple(K.shape)}, got {tuple(V.shape)}")
    for name, t in (("Q", Q), ("K", K), ("V", V)):
        if t.numel() == 0:
            raise ValueError(f"{name}: no dimension may be empty, got shape {tuple(t.shape)}")
        if t.dtype not in dtypes:
            known = ", ".join(str(d).removeprefix("torch.") for d in dtypes)
            raise ValueError(f"{name}: expected one of {known}, got {t.dtype}")
        if t.dtype != Q.dtype:
            raise ValueError(f"{name}: expected the dtype of Q, {Q.dtype}, got {t.dtype}")
        if t.device != Q.device:
            raise ValueError(f"{name}: expected the device of Q, {Q.device}, got {t.device}")
    if Q.shape[-1] > 256:
        raise ValueError(f"Q: head dimensions up to 256 are supported, got {Q.shape[-1]}")
    if runs_kernel and not Q.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"Q: kernels are compiled here and need the GPU, got {Q.device}")


def fold_heads(t: Float[Tensor, "... seq d"]) -> Float[Tensor, "batch seq d"]:
    """Batch and heads as one dimension: a view where the strides allow it, else a copy."""
    return t.flatten(0, 1) if t.ndim == 4 else t
