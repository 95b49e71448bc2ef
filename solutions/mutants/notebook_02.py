# course: instructor
"""Wrong solutions of notebook 02: the checks must fail each of them."""

_FUSION = "notebooks/02_softmax_matmul.py"

MUTANTS = [
    {
        "exercise": "nb02-1",
        "file": _FUSION,
        "title": "P is written, but never read back",
        "old": "    softmax = 2 * d1 * d2\n",
        "new": "    softmax = d1 * d2\n",
    },
    {
        "exercise": "nb02-1",
        "file": _FUSION,
        "title": "elements instead of bytes",
        "old": "return size * (d1 * d2 + d2 * d3 + d1 * d3)",
        "new": "return d1 * d2 + d2 * d3 + d1 * d3",
    },
    {
        "exercise": "nb02-2",
        "file": _FUSION,
        "title": "the store has no mask",
        "old": "tl.store(y_ptr + offsets, y, mask=mask)",
        "new": "tl.store(y_ptr + offsets, y)",
    },
    {
        "exercise": "nb02-2",
        "file": _FUSION,
        "title": "relu before the shift",
        "old": "tl.maximum(a * x + b, 0.0)",
        "new": "tl.maximum(a * x, 0.0) + b",
    },
    {
        "exercise": "nb02-3",
        "file": _FUSION,
        "title": "whole blocks only",
        "old": "for j in range(0, P.shape[1], BLOCK):",
        "new": "for j in range(0, P.shape[1] // BLOCK * BLOCK, BLOCK):",
    },
    {
        "exercise": "nb02-3",
        "file": _FUSION,
        "title": "the product in one go",
        "old": "    for j in range(0, P.shape[1], BLOCK):\n"
        "        acc += P[:, j : j + BLOCK] @ V[j : j + BLOCK]\n"
        "    return acc\n",
        "new": "    return P @ V\n",
    },
    {
        "exercise": "nb02-3",
        "file": _FUSION,
        "title": "all products at once, added up",
        "old": "    for j in range(0, P.shape[1], BLOCK):\n"
        "        acc += P[:, j : j + BLOCK] @ V[j : j + BLOCK]\n"
        "    return acc\n",
        "new": "    return (P[:, :, None] * V).sum(1)\n",
        "says": "columns of P were taken at once",
    },
    {
        "exercise": "nb02-4",
        "file": _FUSION,
        "title": "the sum is rescaled, the accumulator is not",
        "old": "acc = alpha * acc + P @ V",
        "new": "acc = acc + P @ V",
    },
    {
        "exercise": "nb02-4",
        "file": _FUSION,
        "title": "the sum is not rescaled",
        "old": "l = alpha * l + P.sum(dim=-1, keepdim=True)",
        "new": "l = l + P.sum(dim=-1, keepdim=True)",
    },
    {
        "exercise": "nb02-4",
        "file": _FUSION,
        "title": "the block's maximum instead of the running one",
        "old": "m_new = torch.maximum(m, X.amax(dim=-1, keepdim=True))",
        "new": "m_new = X.amax(dim=-1, keepdim=True)",
    },
    {
        "exercise": "nb02-5",
        "file": _FUSION,
        "title": "no final division",
        "old": '    return acc / l\n    ### END SOLUTION\n\n\n# %% check="nb02-5"',
        "new": '    return acc\n    ### END SOLUTION\n\n\n# %% check="nb02-5"',
    },
    {
        "exercise": "nb02-5",
        "file": _FUSION,
        "title": "P as a whole after all",
        "old": "        m, l, acc = step(m, l, acc, x[:, j : j + BLOCK], V[j : j + BLOCK])\n"
        "    return acc / l\n",
        "new": "        pass\n    return torch.softmax(x, dim=-1) @ V\n",
    },
    {
        "exercise": "nb02-5",
        "file": _FUSION,
        "title": "the maximum first, in a pass of its own",
        "old": '    m = torch.full((x.shape[0], 1), -float("inf"), dtype=x.dtype, device='
        "x.device)\n    l = torch.zeros_like(m)\n    acc = torch.zeros(x.shape[0], V",
        "new": "    m = x.amax(-1, keepdim=True)\n"
        "    l = torch.zeros_like(m)\n    acc = torch.zeros(x.shape[0], V",
        "says": "x was read in 2 passes",
    },
    {
        "exercise": "nb02-6",
        "file": _FUSION,
        "title": "the accumulator is not rescaled",
        "old": 'acc = acc * alpha[:, None] + tl.dot(P, V, input_precision="ieee")',
        "new": 'acc = acc + tl.dot(P, V, input_precision="ieee")',
        "says": "if acc is not multiplied by exp(m - m_new)",
    },
    {
        "exercise": "nb02-6",
        "file": _FUSION,
        "title": "the factor is taken after the maximum has moved",
        "old": "        alpha = tl.exp(m - m_new)\n        P = tl.exp(X - m_new[:, None])\n",
        "new": "        m = m_new\n        alpha = tl.exp(m - m_new)\n"
        "        P = tl.exp(X - m_new[:, None])\n",
    },
    {
        "exercise": "nb02-6",
        "file": _FUSION,
        "title": "no final division",
        "old": "c3[None, :], acc / l[:, None])",
        "new": "c3[None, :], acc)",
        "says": "without the division by l at the end",
    },
    {
        "exercise": "nb02-6",
        "file": _FUSION,
        "title": "the same rows of V for every block",
        "old": "V_ptr + (start + cols)[:, None] * D3",
        "new": "V_ptr + cols[:, None] * D3",
    },
    {
        "exercise": "nb02-7",
        "file": _FUSION,
        "title": "V read once",
        "old": "return size * (d1 * d2 + programs * d2 * d3 + d1 * d3)",
        "new": "return size * (d1 * d2 + d2 * d3 + d1 * d3)",
    },
    {
        "exercise": "nb02-8",
        "file": _FUSION,
        "title": "the result is forgotten",
        "old": "    return size * (d1 * d2 + d1 * d3)\n",
        "new": "    return size * d1 * d2\n",
    },
    {
        "exercise": "nb02-8",
        "file": _FUSION,
        "title": "registers counted as memory",
        "old": "    return size * d1 * d3\n",
        "new": "    return 2 * size * d1 * d3\n",
    },
]
