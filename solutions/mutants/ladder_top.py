# course: instructor
"""Wrong solutions of the ladder's upper rungs; more of them stand with notebook 06's."""

_TILED = "attention_ladder/tiled.py"
_MULTIHEAD = "attention_ladder/multihead.py"
_FP8 = "attention_ladder/fp8.py"


def _mutant(file: str, title: str, old: str, new: str) -> dict[str, str]:
    exercise = {_TILED: "nb06-2", _MULTIHEAD: "nb06-5", _FP8: "nb06-8"}[file]
    return {"exercise": exercise, "file": file, "title": title, "old": old, "new": new}


MUTANTS = [
    _mutant(
        _TILED,
        "the sum is not rescaled",
        "l = l * alpha + tl.sum(p, 1)",
        "l = l + tl.sum(p, 1)",
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
    ),
    _mutant(
        _MULTIHEAD,
        "every head reads the first one's values",
        "    v_ptr += head * stride_vh\n",
        "",
    ),
    _mutant(
        _MULTIHEAD,
        "a key after the query is visible",
        "start + j[None, :] <= i[:, None]",
        "start + j[None, :] <= i[:, None] + 1",
    ),
    _mutant(
        _MULTIHEAD,
        "the end is not masked",
        "visible = start + j[None, :] < seq_k\n",
        "visible = start + j[None, :] < seq_k + BLOCK_K\n",
    ),
    _mutant(
        _MULTIHEAD,
        "powers of 2 of scores that were not scaled for them",
        "math.log2(math.e) / math.sqrt",
        "1 / math.sqrt",
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
    ),
    _mutant(
        _FP8,
        "one scale of K for all tiles",
        "tl.load(k_scale_ptr + start // SCALED)",
        "tl.load(k_scale_ptr)",
    ),
    _mutant(
        _FP8,
        "every head has the first one's scale of V",
        "    v_scale_ptr += head * (rows_k // SCALED)\n",
        "",
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
]
