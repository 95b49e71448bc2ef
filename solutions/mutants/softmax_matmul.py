# course: instructor
"""Wrong solutions of homework 1's kernel: its tests must fail each, and say why.

``says`` is a part of the message a learner must get to read.
"""


def _mutant(exercise: str, title: str, old: str, new: str, says: str = "") -> dict[str, str]:
    return {
        "exercise": exercise,
        "file": "softmax_matmul/softmax_matmul.py",
        "title": title,
        "old": old,
        "new": new,
        "says": says,
    }


MUTANTS = [
    _mutant(
        "hw1-1",
        "the maximum starts at 0",
        'm = tl.full((BLOCK_1,), float("-inf"), tl.float32)',
        "m = tl.zeros((BLOCK_1,), tl.float32)",
        "NaN",
    ),
    _mutant(
        "hw1-1",
        "rows of the output as far apart as those of x",
        "(batch * d1 + rows[:, None]) * d3",
        "(batch * d1 + rows[:, None]) * d2",
        "tl.store writes memory that belongs to no tensor",
    ),
    _mutant(
        "hw1-1",
        "a pass for the maximum before the others",
        'm = tl.full((BLOCK_1,), float("-inf"), tl.float32)',
        'm = tl.full((BLOCK_1,), float("-inf"), tl.float32)\n'
        "    for start in range(0, d2, BLOCK_2):\n"
        "        k = start + tl.arange(0, BLOCK_2)\n"
        "        there = (rows[:, None] < d1) & (k[None, :] < d2)\n"
        '        x = tl.load(x_rows + k[None, :] * stride_x2, mask=there, other=float("-inf"))\n'
        "        m = tl.maximum(m, tl.max(x.to(tl.float32), 1))",
        "one pass loads each",
    ),
    _mutant(
        "hw1-1",
        "a GPU would round the inputs of the product to TF32",
        "tl.dot(p.to(V.dtype), V, input_precision=PRECISION)",
        "tl.dot(p.to(V.dtype), V)",
        "was not told its input_precision",
    ),
    _mutant(
        "hw1-1",
        "x is cleared at the end",
        "    return out\n    ### END",
        "    x.zero_()\n    return out\n    ### END",
        "input 1 was changed",
    ),
    _mutant(
        "hw1-2",
        "what V's mask hides is anything",
        "mask=V_mask, other=0.0",
        "mask=V_mask",
        "NaN",
    ),
    _mutant(
        "hw1-2",
        "V is read beyond its last column",
        "V_mask = (k[:, None] < d2) & (cols[None, :] < d3)",
        "V_mask = (k[:, None] < d2) & (cols[None, :] >= 0)",
        "tl.load reads memory that belongs to no tensor",
    ),
    _mutant(
        "hw1-2",
        "x is read beyond its last row",
        "x_mask = (rows[:, None] < d1) & (k[None, :] < d2)",
        "x_mask = (rows[:, None] >= 0) & (k[None, :] < d2)",
        "tl.load reads memory that belongs to no tensor",
    ),
    _mutant(
        "hw1-3",
        "the inputs are copied",
        "_check(x, V, BLOCK_1, BLOCK_2)\n    ### BEGIN",
        "_check(x, V, BLOCK_1, BLOCK_2)\n    x, V = x.contiguous(), V.contiguous()\n    ### BEGIN",
        "Are the inputs copied?",
    ),
    _mutant(
        "hw1-3",
        "running values are rounded to 16 bits",
        "acc = acc * rescale[:, None] + tl.dot(",
        "acc = acc.to(V.dtype).to(tl.float32) * rescale[:, None] + tl.dot(",
        "out is wrong",
    ),
    _mutant(
        "hw1-1",
        "the accumulator is not rescaled",
        "acc = acc * rescale[:, None] + tl.dot(",
        "acc = acc + tl.dot(",
        "if acc is not multiplied by exp(m - m_new)",
    ),
    _mutant(
        "hw1-1",
        "the sum is not rescaled",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l + tl.sum(p, 1)",
        "if l is not multiplied by exp(m - m_new)",
    ),
    _mutant(
        "hw1-1",
        "no final division",
        "out = acc / l[:, None]",
        "out = acc",
        "without the division by l at the end",
    ),
    _mutant(
        "hw1-1",
        "the maximum of the block instead of the running one",
        "m_new = tl.maximum(m, tl.max(x, 1))",
        "m_new = tl.max(x, 1)",
        "NaN",
    ),
    _mutant(
        "hw1-1",
        "the maximum is never subtracted",
        "m_new = tl.maximum(m, tl.max(x, 1))",
        "m_new = tl.zeros_like(m)",
        "NaN",
    ),
    _mutant(
        "hw1-1",
        "the running maximum is never kept",
        "        m = m_new\n",
        "",
        "out is wrong",
    ),
    _mutant(
        "hw1-1",
        "sums over the rows instead of the columns",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l * rescale + tl.sum(p, 0)",
        "out is wrong",
    ),
    _mutant(
        "hw1-1",
        "sums in 16 bits",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l * rescale + tl.sum(p.to(tl.float16), 1)",
        "out is wrong",
    ),
    _mutant(
        "hw1-1",
        "every batch entry reads the first V",
        "V_ptr + batch * stride_Vb + cols",
        "V_ptr + cols",
        "out is wrong",
    ),
    _mutant(
        "hw1-1",
        "PyTorch computes, the kernel is never launched",
        "    batch, d1, d2 = x.shape\n",
        "    return softmax_mult(x, V)\n    batch, d1, d2 = x.shape\n",
        "expected one launch of fused_softmax_kernel",
    ),
    _mutant(
        "hw1-1",
        "the kernel runs, and PyTorch's result is returned",
        "    return out\n",
        "    return softmax_mult(x, V)\n",
        "that is the kernel's work",
    ),
    _mutant(
        "hw1-1",
        "the softmax is given room in memory",
        "    d3 = V.shape[2]\n",
        "    d3 = V.shape[2]\n    P = torch.empty_like(x)\n",
        "the output alone",
    ),
    _mutant(
        "hw1-2",
        "columns that are not there hold 0",
        'other=float("-inf"))\n        V',
        "other=0.0)\n        V",
        "out is wrong",
    ),
    _mutant(
        "hw1-2",
        "the last, shorter block of columns is left out",
        "for start in range(0, d2, BLOCK_2):",
        "for start in range(0, d2 // BLOCK_2 * BLOCK_2, BLOCK_2):",
        "out is wrong",
    ),
    _mutant(
        "hw1-2",
        "the last, shorter block of rows is left out",
        "grid = (batch * triton.cdiv(d1, BLOCK_1) *",
        "grid = (batch * (d1 // BLOCK_1) *",
        "NaN",
    ),
    _mutant(
        "hw1-3",
        "the columns of x taken for neighbours in memory",
        "x_rows + k[None, :] * stride_x2",
        "x_rows + k[None, :]",
        "out is wrong",
    ),
    _mutant(
        "hw1-3",
        "the columns of V taken for neighbours in memory",
        "cols[None, :] * stride_V3",
        "cols[None, :]",
        "out is wrong",
    ),
    _mutant(
        "hw1-3",
        "the rows of x taken for dense",
        "rows[:, None].to(tl.int64) * stride_x1",
        "rows[:, None].to(tl.int64) * d2",
        "out is wrong",
    ),
    _mutant(
        "hw1-3",
        "the output always float32",
        "dtype=x.dtype, device=x.device",
        "dtype=torch.float32, device=x.device",
        "expected dtype torch.float16",
    ),
]
