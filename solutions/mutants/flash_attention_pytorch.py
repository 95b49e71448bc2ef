# course: instructor
"""Wrong solutions of homework 2: its tests must fail each, and say why.

``says`` is a part of the message a learner must get to read.
"""


def _mutant(exercise: str, title: str, old: str, new: str, says: str = "") -> dict[str, str]:
    return {
        "exercise": exercise,
        "file": "flash_attention/flash_pytorch.py",
        "title": title,
        "old": old,
        "new": new,
        "says": says,
    }


_SCORES = "_scores(Q, K, i, j, sqrt_d, is_causal)"

MUTANTS = [
    _mutant(
        "hw2-1",
        "the accumulator is not rescaled",
        "acc = acc * rescale[..., None] + P @",
        "acc = acc + P @",
        "O is wrong",
    ),
    _mutant(
        "hw2-1",
        "the sum is not rescaled",
        "l = l * rescale + P.sum(dim=-1)",
        "l = l + P.sum(dim=-1)",
        "O is wrong",
    ),
    _mutant("hw2-1", "no final division", "acc / l[..., None]", "acc", "O is wrong"),
    _mutant(
        "hw2-1",
        "no 1 / sqrt(d) in the scores",
        ".transpose(-1, -2) / sqrt_d\n    if",
        ".transpose(-1, -2)\n    if",
        "O is wrong",
    ),
    _mutant(
        "hw2-1",
        "divided by d instead of sqrt(d)",
        ".transpose(-1, -2) / sqrt_d\n    if",
        ".transpose(-1, -2) / sqrt_d**2\n    if",
        "O is wrong",
    ),
    _mutant(
        "hw2-1",
        "stops at the diagonal without a mask",
        "min(seq_k, i + TILE) if is_causal else seq_k",
        "min(seq_k, i + TILE)",
        "O is wrong",
    ),
    _mutant(
        "hw2-1",
        "products in 16 bits",
        "P @ Vw[..., j : j + TILE, :]",
        "(P.half() @ Vw[..., j : j + TILE, :].half()).to(wide)",
        "O is wrong",
    ),
    _mutant(
        "hw2-1",
        "the softmax over the queries",
        "l = l * rescale + P.sum(dim=-1)",
        "l = l * rescale + P.sum(dim=-2)",
        "O is wrong",
    ),
    _mutant(
        "hw2-2",
        "the diagonal is hidden",
        "key[None, :] > query[:, None]",
        "key[None, :] >= query[:, None]",
        "NaN",
    ),
    _mutant(
        "hw2-2",
        "one key beyond the diagonal is seen",
        "key[None, :] > query[:, None]",
        "key[None, :] > query[:, None] + 1",
        "O is wrong",
    ),
    _mutant(
        "hw2-2",
        "the tile on the diagonal is not masked",
        "j + S.shape[-1] - 1 > i:",
        "j > i:",
        "O is wrong",
    ),
    _mutant(
        "hw2-2",
        "hidden scores become 0",
        'query[:, None], float("-inf"))',
        "query[:, None], 0.0)",
        "O is wrong",
    ),
    _mutant(
        "hw2-2",
        "the tile on the diagonal is never visited",
        "min(seq_k, i + TILE) if is_causal",
        "min(seq_k, max(i, TILE)) if is_causal",
        "O is wrong",
    ),
    _mutant(
        "hw2-3",
        "L without the maximum",
        "= m + torch.log(l)",
        "= torch.log(l)",
        "L is not the log-sum-exp",
    ),
    _mutant("hw2-3", "L is a sum", "= m + torch.log(l)", "= m + l", "L is not the log-sum-exp"),
    _mutant(
        "hw2-3",
        "L to base 2",
        "= m + torch.log(l)",
        "= (m + torch.log(l)) / math.log(2)",
        "base-2 logarithm",
    ),
    _mutant(
        "hw2-3",
        "the probabilities are saved too",
        "ctx.save_for_backward(Q, K, V, O, L)",
        "ctx.save_for_backward(Q, K, V, O, L, torch.softmax(Q @ K.mT / sqrt_d, -1))",
        "one too many of shape",
    ),
    _mutant(
        "hw2-4",
        "D is missing",
        "(dP - D[..., rows, None])",
        "dP",
        "dQ is wrong",
    ),
    _mutant(
        "hw2-4",
        "no 1 / sqrt(d) in dS",
        "(dP - D[..., rows, None]) / sqrt_d",
        "(dP - D[..., rows, None])",
        "a missing scale?",
    ),
    _mutant(
        "hw2-4",
        "the probabilities are not normalised",
        f"torch.exp({_SCORES} - L[..., rows, None])",
        f"torch.exp({_SCORES} - {_SCORES}.amax(-1, keepdim=True))",
        "dQ is wrong",
    ),
    _mutant(
        "hw2-4",
        "dV from P instead of its transpose",
        "+= P.transpose(-1, -2) @",
        "+= P @",
        "dV is wrong",
    ),
    _mutant(
        "hw2-4",
        "dK from dS instead of its transpose",
        "+= dS.transpose(-1, -2) @",
        "+= dS @",
        "dK is wrong",
    ),
    _mutant(
        "hw2-4",
        "dQ keeps only the last tile of keys",
        "dQ[..., rows, :] += dS",
        "dQ[..., rows, :] = dS",
        "dQ is wrong",
    ),
    _mutant(
        "hw2-4",
        "dV keeps only the last tile of queries",
        "dV[..., cols, :] += P",
        "dV[..., cols, :] = P",
        "dV is wrong",
    ),
    _mutant(
        "hw2-4",
        "D is the sum of dO squared",
        "D = (dO * O).sum(dim=-1)",
        "D = (dO * dO).sum(dim=-1)",
        "dQ is wrong",
    ),
    _mutant(
        "hw2-4",
        "dK from the keys",
        "dS.transpose(-1, -2) @ Q[..., rows, :]",
        "dS.transpose(-1, -2) @ K[..., rows, :]",
        "dK is wrong",
    ),
    _mutant(
        "hw2-5",
        "the last, shorter tile of queries is left out",
        "range(0, Q.shape[-2], TILE):\n            rows",
        "range(0, Q.shape[-2] // TILE * TILE, TILE):\n            rows",
        "NaN",
    ),
    _mutant(
        "hw2-5",
        "L has room for one head",
        "L = torch.empty(Q.shape[:-1],",
        "L = torch.empty((Q.shape[0], Q.shape[-2]),",
    ),
    _mutant(
        "hw2-6",
        "one tile for everything",
        "TILE = 64 ",
        "TILE = 1 << 20 ",
        "Is an N x N tensor made?",
    ),
    _mutant(
        "hw2-6",
        "the backward pass makes the whole score matrix",
        "    D = (dO * O).sum(dim=-1)\n",
        "    D = (dO * O).sum(dim=-1)\n    S = Q @ K.transpose(-1, -2)\n",
        "backward: ",
    ),
]
