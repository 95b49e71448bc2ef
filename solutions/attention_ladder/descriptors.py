# course: given
"""Rung 7: tiles through tensor descriptors. It is homework 3's kernel, called on another layout.

What changed since multihead: a program no longer computes an address for each element of a tile. A
descriptor says once, on the host, where a tensor lies, and a kernel asks for "the tile at (head,
row, 0)". From Hopper on that is one instruction of one thread: the Tensor Memory Accelerator (TMA)
fetches the tile, fills with zeros what lies outside the tensor, and no register holds an address.

What it asks for: the last dimension dense and all other strides multiples of 16 bytes. Heads in the
middle, (seq, heads, d), meet that as they are: a view with heads in front has the strides
(d, heads d, 1). Nothing is copied. Where there is little to compute (HEAVY in
``flash_attention/tiles.py``), making descriptors costs more than they save, and the homework's
kernel takes the same tiles through pointers; so it does for float32 heads of more than 64 numbers.
"""

from jaxtyping import Float
from torch import Tensor

from attention_ladder.inputs import check_chip, check_inputs
from flash_attention.flash_attention import FlashAttentionTriton


def attention(
    q: Float[Tensor, "seq_q *heads d"],
    k: Float[Tensor, "seq_k *heads d"],
    v: Float[Tensor, "seq_k *heads d"],
    is_causal: bool = False,
) -> Float[Tensor, "seq_q *heads d"]:
    """``softmax(q k^T / sqrt(d)) v``; causal hides key j from query i if j > i.

    (seq, heads, d) or (seq, d). The result is a view: its memory has heads in front.

    Raises:
        ValueError: wrong shape, dtype or device, a GPU before sm_90, or strides that no descriptor
            can say; names the argument and what it got.
    """
    check_inputs(q, k, v, heads=True)
    check_chip(q, (9, 0), "TMA")
    heads_first = [t.transpose(0, 1) if t.ndim == 3 else t[None] for t in (q, k, v)]
    for name, t in zip("qkv", heads_first, strict=True):
        steps = [stride * t.element_size() for stride in t.stride()[:-1]]
        if t.stride(-1) != 1 or t.data_ptr() % 16 or any(step % 16 or step <= 0 for step in steps):
            raise ValueError(
                f"{name}: a descriptor needs a dense last dimension, and 16 bytes or a multiple "
                f"from the start of one row, head or tensor to the next, got strides {t.stride()} "
                f"of {t.dtype} (heads, seq, d)"
            )
    o = FlashAttentionTriton.apply(*heads_first, is_causal)
    return o.transpose(0, 1) if q.ndim == 3 else o[0]


if __name__ == "__main__":
    from attention_ladder.script import main

    main("descriptors", attention)
