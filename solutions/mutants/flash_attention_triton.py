# course: instructor
"""Wrong solutions of homework 3, bonus included: its tests must fail each, and say why.

``says`` is a part of the message a learner must get to read.
"""

_FILES = {
    "hw3-7": "flash_attention/flash_backward.py",
    "hw3-8": "flash_attention/flash_backward_dq.py",
    "hw3-9": "flash_attention/flash_backward_dkdv.py",
}


_FORWARD = "flash_attention/flash_forward.py"


def _mutant(
    exercise: str, title: str, old: str, new: str, says: str = "", file: str = ""
) -> dict[str, str]:
    return {
        "exercise": exercise,
        "file": file or _FILES.get(exercise, _FORWARD),
        "title": title,
        "old": old,
        "new": new,
        "says": says,
    }


MUTANTS = [
    _mutant(
        "hw3-1",
        "a GPU would round Q and K to TF32",
        "tl.dot(q_tile, k_tile.T, input_precision=PRECISION)",
        "tl.dot(q_tile, k_tile.T)",
        "was not told its input_precision",
    ),
    _mutant(
        "hw3-1",
        "the accumulator is not rescaled",
        "v_tile, acc * rescale[:, None], input",
        "v_tile, acc, input",
        "O is wrong",
    ),
    _mutant(
        "hw3-1",
        "the sum is not rescaled",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l + tl.sum(p, 1)",
        "O is wrong",
    ),
    _mutant("hw3-1", "no final division", "acc / l[:, None]", "acc", "O is wrong"),
    _mutant(
        "hw3-1",
        "no 1 / sqrt(d)",
        "math.log2(math.e) / math.sqrt(d)",
        "math.log2(math.e)",
        "O is wrong",
    ),
    _mutant(
        "hw3-1",
        "powers of 2 of scores that were not scaled for them",
        "math.log2(math.e) / math.sqrt(d)",
        "1 / math.sqrt(d)",
        "O is wrong",
    ),
    _mutant(
        "hw3-1",
        "sums in 16 bits",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l * rescale + tl.sum(p.to(tl.float16), 1)",
        "O is wrong",
    ),
    _mutant(
        "hw3-1",
        "sums over the queries",
        "l = l * rescale + tl.sum(p, 1)",
        "l = l * rescale + tl.sum(p, 0)",
        "O is wrong",
    ),
    _mutant(
        "hw3-1",
        "the kernel runs, and PyTorch's result is returned",
        "        return O\n",
        "        return torch.softmax(Q @ K.mT / math.sqrt(Q.shape[-1]), -1) @ V\n",
        "that is the kernel's work",
    ),
    _mutant(
        "hw3-1",
        "only half of the batch entries",
        "rank, batch = place(tl.program_id(0), tiles, batches, group)\n",
        "rank, batch = place(tl.program_id(0), tiles, batches, group)\n    batch = batch // 2\n",
        "NaN",
    ),
    _mutant(
        "hw3-2",
        "the diagonal is hidden",
        "keys[None, :] <= rows[:, None]",
        "keys[None, :] < rows[:, None]",
        "NaN",
    ),
    _mutant(
        "hw3-2",
        "one key beyond the diagonal is seen",
        "keys[None, :] <= rows[:, None]",
        "keys[None, :] <= rows[:, None] + 1",
        "O is wrong",
    ),
    _mutant(
        "hw3-2",
        "all tiles are visited and masked",
        "end = min(seq_k, start_q + BLOCK_Q)",
        "end = seq_k",
        "instead of never visited",
    ),
    _mutant(
        "hw3-2",
        "the tile on the diagonal is not masked",
        "unmasked = min(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)",
        "unmasked = min(unmasked, (start_q + BLOCK_Q) // BLOCK_K * BLOCK_K)",
        "O is wrong",
    ),
    _mutant(
        "hw3-3",
        "L to base 2",
        "(m + tl.log2(l)) * LN_2",
        "m + tl.log2(l)",
    ),
    _mutant(
        "hw3-3",
        "L without the maximum",
        "(m + tl.log2(l)) * LN_2",
        "tl.log2(l) * LN_2",
    ),
    _mutant("hw3-3", "L is a sum", "(m + tl.log2(l)) * LN_2", "(m + l) * LN_2"),
    _mutant(
        "hw3-3",
        "the probabilities are saved too",
        "ctx.save_for_backward(Q, K, V, O, L)",
        "ctx.save_for_backward(Q, K, V, O, L, Q @ K.mT)",
    ),
    _mutant(
        "hw3-3",
        "the backward pass forgets the mask",
        "O, L, dO, ctx.is_causal)",
        "O, L, dO, False)",
        "dQ is wrong",
    ),
    _mutant(
        "hw3-4",
        "keys that are not there score 0",
        "visible = keys[None, :] < seq_k",
        "visible = keys[None, :] >= 0",
        "O is wrong",
    ),
    _mutant(
        "hw3-4",
        "the last, shorter tile is taken for a full one",
        "unmasked = seq_k // BLOCK_K * BLOCK_K",
        "unmasked = tl.cdiv(seq_k, BLOCK_K) * BLOCK_K",
        "O is wrong",
    ),
    _mutant(
        "hw3-4",
        "the last, shorter tile of keys is left out",
        "    end = seq_k\n",
        "    end = seq_k // BLOCK_K * BLOCK_K\n",
        "O is wrong",
    ),
    _mutant(
        "hw3-4",
        "V is read with the strides of K",
        "load_tile(v, batch, start, stride_vb, stride_vn, stride_vd,",
        "load_tile(v, batch, start, stride_kb, stride_kn, stride_kd,",
        "views with strides of their own, O is wrong",
    ),
    _mutant(
        "hw3-4",
        "O takes over the strides of Q",
        "O = torch.empty(Q.shape, dtype=Q.dtype, device=Q.device)",
        "O = torch.empty_like(Q)",
        "views with strides",
    ),
    _mutant(
        "hw3-5",
        "the forward pass makes the whole score matrix",
        "seq_q, d = q.shape[1:]\n",
        "seq_q, d = q.shape[1:]\n        S = q @ k.mT\n",
        "Is an N x N tensor made?",
    ),
    _mutant(
        "hw3-9",
        "the backward pass makes the whole score matrix",
        "        dQ, dK, dV = attention_backward(",
        "        S = Q @ K.mT\n        dQ, dK, dV = attention_backward(",
        "backward: ",
        file=_FORWARD,
    ),
    _mutant("hw3-7", "O squared", "tl.sum(o * do, 1)", "tl.sum(o * o, 1)", "delta is wrong"),
    _mutant("hw3-7", "O is forgotten", "tl.sum(o * do, 1)", "tl.sum(do, 1)", "delta is wrong"),
    _mutant(
        "hw3-7",
        "the kernel runs, and PyTorch's result is returned",
        "    return delta\n",
        "    return (O.float() * dO.float()).sum(dim=-1)\n",
        "that is the kernel's work",
    ),
    _mutant(
        "hw3-8",
        "delta is missing",
        "ds = p * (dp - delta[:, None])",
        "ds = p * dp",
        "This is what comes out without D",
    ),
    _mutant(
        "hw3-8",
        "no 1 / sqrt(d) at the end",
        "dq * scale, batch",
        "dq, batch",
        "without the division by sqrt(d) in dQ and dK",
    ),
    _mutant(
        "hw3-8",
        "L taken for a base-2 logarithm",
        "mask=rows < seq_q, other=0.0) * LOG2_E",
        "mask=rows < seq_q, other=0.0)",
        "dQ is wrong",
    ),
    _mutant(
        "hw3-8",
        "the diagonal is hidden",
        "keys[None, :] <= rows[:, None]",
        "keys[None, :] < rows[:, None]",
        "dQ is wrong",
    ),
    _mutant(
        "hw3-8",
        "the last, shorter tile of keys is left out",
        "    end = seq_k\n",
        "    end = seq_k // BLOCK_K * BLOCK_K\n",
        "dQ is wrong",
    ),
    _mutant(
        "hw3-8",
        "V is read with the strides of K",
        "load_tile(v, batch, start, stride_vb, stride_vn, stride_vd,",
        "load_tile(v, batch, start, stride_kb, stride_kn, stride_kd,",
        "dQ is wrong",
    ),
    _mutant(
        "hw3-9",
        "a GPU would round dO and P to TF32",
        "do_tile, dv, input_precision=PRECISION",
        "do_tile, dv",
        "was not told its input_precision",
    ),
    _mutant(
        "hw3-9",
        "delta is missing",
        "ds = p * (dp - delta[None, :])",
        "ds = p * dp",
        "dK is wrong",
    ),
    _mutant(
        "hw3-9",
        "V is read with the strides of K",
        "load_tile(v, batch, start_k, stride_vb, stride_vn, stride_vd,",
        "load_tile(v, batch, start_k, stride_kb, stride_kn, stride_kd,",
        "dK is wrong",
    ),
    _mutant(
        "hw3-9",
        "no 1 / sqrt(d) in dK",
        "dk * scale, batch",
        "dk, batch",
        "without the division by sqrt(d) in dQ and dK",
    ),
    _mutant("hw3-9", "dV is scaled", "dv, batch", "dv * scale, batch", "dV is wrong"),
    _mutant(
        "hw3-9",
        "dV keeps only the last tile of queries",
        "do_tile, dv, input_precision",
        "do_tile, input_precision",
        "dV is wrong",
    ),
    _mutant(
        "hw3-9",
        "the diagonal is hidden",
        "keys[:, None] <= rows[None, :]",
        "keys[:, None] < rows[None, :]",
        "is wrong",
    ),
    _mutant(
        "hw3-9",
        "nothing is masked",
        "p = tl.where(keys[:, None] <= rows[None, :], p, 0.0)",
        "pass",
        "is wrong",
    ),
    _mutant(
        "hw3-9",
        "the tile of queries on the diagonal is left out",
        "first = start_k // BLOCK_Q * BLOCK_Q",
        "first = (start_k // BLOCK_Q + 1) * BLOCK_Q",
        "is wrong",
    ),
]
