# course: instructor
"""Wrong solutions of the ladder's upper rungs; more of them stand with notebook 06's."""

from pathlib import Path

_TILED = "attention_ladder/tiled.py"
_MULTIHEAD = "attention_ladder/multihead.py"
_FP8 = "attention_ladder/fp8.py"


def _mutant(file: str, title: str, old: str, new: str, says: str = "") -> dict[str, str]:
    exercise = {_TILED: "nb06-2", _MULTIHEAD: "nb06-5", _FP8: "nb06-8"}[file]
    return {
        **{"exercise": exercise, "file": file, "title": title, "old": old, "new": new},
        "says": says,
    }


MUTANTS = [
    _mutant(
        _TILED,
        "the sum is not rescaled",
        "l = l * alpha + tl.sum(p, 1)",
        "l = l + tl.sum(p, 1)",
        "if l is not multiplied",
    ),
    _mutant(
        _TILED,
        "values of the first features only",
        "j[:, None] * stride_vs + f[None, :] * stride_vd",
        "j[:, None] * stride_vs + tl.arange(0, BLOCK_V)[None, :] * stride_vd",
    ),
    _mutant(
        _TILED,
        "the diagonal is hidden",
        "keys[None, :] <= i[:, None]",
        "keys[None, :] < i[:, None]",
    ),
    _mutant(
        _TILED,
        "the causal walk ends before the diagonal",
        "(tl.program_id(0) + 1) * BLOCK_Q",
        "tl.program_id(0) * BLOCK_Q",
    ),
    _mutant(
        _TILED,
        "the values stay at the first tile",
        "        v_ptr += BLOCK_K * stride_vs\n",
        "",
    ),
    _mutant(
        _MULTIHEAD,
        "the accumulator is not rescaled",
        "v, acc * alpha[:, None], input",
        "v, acc, input",
        "if acc is not multiplied",
    ),
    _mutant(
        _MULTIHEAD,
        "every head reads the first one's values",
        "    v_ptr += head * stride_vh\n",
        "",
        "the values of head 0",
    ),
    _mutant(
        _MULTIHEAD,
        "a key after the query is visible",
        "start + j[None, :] <= i[:, None]",
        "start + j[None, :] <= i[:, None] + 1",
        "sees key i + 1",
    ),
    _mutant(
        _MULTIHEAD,
        "the end is not masked",
        "visible = start + j[None, :] < seq_k\n",
        "visible = start + j[None, :] < seq_k + BLOCK_K\n",
        "keys that do not exist take part",
    ),
    _mutant(
        _MULTIHEAD,
        "powers of 2 of scores that were not scaled for them",
        "math.log2(math.e) / math.sqrt",
        "1 / math.sqrt",
        "without the factor log2(e)",
    ),
    _mutant(
        _FP8,
        "the accumulator is not rescaled",
        "acc * alpha[:, None] + tl.dot",
        "acc + tl.dot",
    ),
    _mutant(
        _FP8,
        "the scale of V is missing",
        "tl.dot(p, v.T) * v_scale",
        "tl.dot(p, v.T)",
        "without the scale of v",
    ),
    _mutant(
        _FP8,
        "one scale of K for all tiles",
        "tl.load(k_scale_ptr + start // SCALED)",
        "tl.load(k_scale_ptr)",
        "the scale of block 0 of k",
    ),
    _mutant(
        _FP8,
        "every head has the first one's scale of V",
        "    v_scale_ptr += head * (rows_k // SCALED)\n",
        "",
        "the scale of head 0 of v",
    ),
    _mutant(
        _FP8,
        "weights in the order of keys, values in another",
        "in_order_of_values(p, BLOCK_Q, BLOCK_K).to(v.dtype)",
        "p.to(v.dtype)",
    ),
    _mutant(
        _FP8,
        "weights are one step of the format or none",
        "SHIFT: tl.constexpr = 8.0",
        "SHIFT: tl.constexpr = -9.0",
    ),
    _mutant(
        _FP8,
        "a tile across the diagonal counts as full",
        "(start_q + 1) // BLOCK_K * BLOCK_K",
        "(start_q + BLOCK_Q) // BLOCK_K * BLOCK_K",
    ),
    # tiles that are not square
    _mutant(
        _TILED,
        "the walk ends one key after the tile's first query",
        "(tl.program_id(0) + 1) * BLOCK_Q",
        "tl.program_id(0) * BLOCK_Q + 1",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _TILED,
        "the walk takes steps of 64",
        "range(0, end, BLOCK_K)",
        "range(0, end, 64)",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _TILED,
        "tiles of 64 keys whatever BLOCK_K is",
        "j = tl.arange(0, BLOCK_K)",
        "j = tl.arange(0, 64)",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _MULTIHEAD,
        "the masked loop stays at its first tile",
        "            k_ptr += BLOCK_K * stride_ks\n            v_ptr += BLOCK_K * stride_vs\n",
        "            if not MASKED:\n"
        "                k_ptr += BLOCK_K * stride_ks\n"
        "                v_ptr += BLOCK_K * stride_vs\n",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _MULTIHEAD,
        "the walk ends one key after the tile's first query",
        "end = tl.minimum(seq_k, start_q + BLOCK_Q)",
        "end = tl.minimum(seq_k, start_q + 1)",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _MULTIHEAD,
        "the pointers move by 64 rows",
        "k_ptr += BLOCK_K * stride_ks",
        "k_ptr += 64 * stride_ks",
        "tiles of 64 queries and 32 keys",
    ),
    _mutant(
        _MULTIHEAD,
        "whole tiles are tiles of 64",
        "(start_q + 1) // BLOCK_K * BLOCK_K",
        "(start_q + 1) // 64 * 64",
        "tiles of 64 queries and 128 keys",
    ),
    _mutant(
        _MULTIHEAD,
        "no mask up to the tile's first query",
        "(start_q + 1) // BLOCK_K * BLOCK_K",
        "start_q",
        "tiles of 32 queries and 64 keys",
    ),
    # fewer keys than queries
    _mutant(
        _MULTIHEAD,
        "no mask beyond the last whole tile of keys",
        "tl.minimum(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)",
        "(start_q + 1) // BLOCK_K * BLOCK_K",
        "seq_q=140, seq_k=70",
    ),
    # strides
    *(
        _mutant(file, f"{title} ({Path(file).stem})", old, new, "strides (50, 1, 2) of q")
        for file in (_TILED, _MULTIHEAD)
        for title, old, new in (
            ("components of q lie side by side", "d[None, :] * stride_qd", "d[None, :]"),
            ("components of k lie side by side", "d[None, :] * stride_kd", "d[None, :]"),
            ("values have the strides of keys", "j[:, None] * stride_vs", "j[:, None] * stride_ks"),
            (
                "heads of values have the strides of keys",
                "v_ptr += head * stride_vh",
                "v_ptr += head * stride_kh",
            ),
        )
    ),
    # masks that change no number
    _mutant(
        _TILED,
        "queries that do not exist are read",
        "q_mask = (i[:, None] < seq_q) & (d[None, :] < head_dim)",
        "q_mask = d[None, :] < head_dim",
        "is a mask missing",
    ),
    _mutant(
        _TILED,
        "features of v that do not exist are read",
        "v_mask = (keys[:, None] < seq_k) & (f[None, :] < head_dim)",
        "v_mask = keys[:, None] < seq_k",
        "is a mask missing",
    ),
    # what the exercise is about
    _mutant(
        _MULTIHEAD,
        "one loop with masks for all keys",
        '    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)\n',
        '    unmasked = 0\n    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)\n',
        "all 10 tiles",
    ),
    _mutant(
        _MULTIHEAD,
        "products in float32",
        "acc = tl.dot(p.to(v.dtype), v, acc",
        "acc = tl.dot(p, v.to(tl.float32), acc",
        "p.to(v.dtype)",
    ),
    _mutant(
        _MULTIHEAD,
        "scores in 16 bits",
        "s = tl.dot(q, k.T, input_precision=PRECISION)",
        "s = tl.dot(q, k.T, input_precision=PRECISION).to(q.dtype).to(tl.float32)",
        "keep s in float32",
    ),
    _mutant(
        _MULTIHEAD,
        "an accumulator in 16 bits",
        "acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision=PRECISION)",
        "acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision=PRECISION)"
        ".to(v.dtype).to(tl.float32)",
        "keep acc in float32",
    ),
    _mutant(
        _FP8,
        "products in float32",
        "tl.dot(p, v.T)",
        "tl.dot(p.to(tl.float32), v.T.to(tl.float32), input_precision='ieee')",
        "FP8 twice as fast",
    ),
    _mutant(
        _FP8,
        "weights in float16",
        "p = in_order_of_values(p, BLOCK_Q, BLOCK_K).to(v.dtype)\n"
        "            acc = acc * alpha[:, None] + tl.dot(p, v.T) * v_scale",
        "p = in_order_of_values(p, BLOCK_Q, BLOCK_K).to(tl.float16)\n"
        "            acc = acc * alpha[:, None] + tl.dot(p, v.T.to(tl.float16)) * v_scale",
        "FP8 twice as fast",
    ),
    _mutant(
        _FP8,
        "tiles beyond the diagonal are read and masked",
        "        end = tl.minimum(seq_k, start_q + BLOCK_Q)\n",
        "",
        "keys 128 to 255",
    ),
    _mutant(
        _FP8,
        "weights are not shifted",
        "(m_new[:, None] - SHIFT)",
        "m_new[:, None]",
        "2^SHIFT",
    ),
    _mutant(
        _FP8,
        "scales of k as if there were one block",
        "k_scale_ptr += head * (rows_k // SCALED)",
        "k_scale_ptr += head",
    ),
    _mutant(
        _FP8,
        "as many blocks of keys as of queries",
        "v_scale_ptr += head * (rows_k // SCALED)",
        "v_scale_ptr += head * (rows_q // SCALED)",
    ),
    _mutant(
        _FP8,
        "the first head's scale of k for all",
        "    k_scale_ptr += head * (rows_k // SCALED)\n",
        "",
        "the scale of head 0 of k",
    ),
    _mutant(
        _FP8,
        "no mask beyond the last whole tile of keys",
        "tl.minimum(unmasked, (start_q + 1) // BLOCK_K * BLOCK_K)",
        "(start_q + 1) // BLOCK_K * BLOCK_K",
        "seq_q=150, seq_k=70",
    ),
    _mutant(
        _FP8,
        "the causal mask is missing",
        "visible & (start + j[None, :] <= i[:, None])",
        "visible",
        "all keys of the tile that the diagonal crosses",
    ),
]
