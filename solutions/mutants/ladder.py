# course: instructor
"""Wrong solutions of nb03-1 and nb03-2, the ladder's kernels: the checks must fail each of them."""

_VISIBLE = "visible = tl.minimum(seq_k, i + 1) if IS_CAUSAL else seq_k"
_LOOP = """    for _ in range(visible):
        # reads 2 d elements for about 5 d flops: every program reads all of K and V for itself
        k = tl.load(k_ptrs, mask=d_mask, other=0.0).to(tl.float32)
        v = tl.load(v_ptrs, mask=d_mask, other=0.0).to(tl.float32)
        s = tl.sum(q * k, 0) * scale
        m_new = tl.maximum(m, s)
        alpha = tl.exp(m - m_new)
        p = tl.exp(s - m_new)
        l = l * alpha + p
        acc = acc * alpha + p * v
        m = m_new
        k_ptrs += stride_ks
        v_ptrs += stride_vs
"""
_TILES = """    for start in range(0, TOTAL, WIDTH):
        n = start + tl.arange(0, WIDTH)
        at = (n < visible)[:, None] & d_mask[None, :]
        k = tl.load(k_ptrs[None, :] + n[:, None] * stride_ks, mask=at, other=0.0).to(tl.float32)
        v = tl.load(v_ptrs[None, :] + n[:, None] * stride_vs, mask=at, other=0.0).to(tl.float32)
        s = tl.where(n < visible, tl.sum(q[None, :] * k, 1) * scale, -float("inf"))
        m_new = tl.maximum(m, tl.max(s, 0))
        alpha = tl.exp(m - m_new)
        p = tl.exp(s - m_new)
        l = l * alpha + tl.sum(p, 0)
        acc = acc * alpha + tl.sum(p[:, None] * v, 0)
        m = m_new
"""
_ALL_AT_ONCE = """    k = tl.load(k_ptrs, mask=tile_mask, other=0.0).to(tl.float32)
    s = tl.sum(q[None, :] * k, 1) * scale
    # a masked key scores 0, not -inf: without this line it would take part
    s = tl.where(visible, s, -float("inf"))
    p = tl.exp(s - tl.max(s, 0))
    v = tl.load(v_ptrs, mask=tile_mask, other=0.0).to(tl.float32)
    o = tl.sum(p[:, None] * v, 0) / tl.sum(p, 0)
"""
_ONE_BY_ONE = """    m = -float("inf")
    l = 0.0
    acc = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for n in range(tl.minimum(seq_k, i + 1) if IS_CAUSAL else seq_k):
        at = n * stride_ks + d * stride_kd
        k = tl.load(k_ptr + at, mask=d_mask, other=0.0).to(tl.float32)
        at = n * stride_vs + d * stride_vd
        v = tl.load(v_ptr + at, mask=d_mask, other=0.0).to(tl.float32)
        s = tl.sum(q * k, 0) * scale
        m_new = tl.maximum(m, s)
        alpha, p = tl.exp(m - m_new), tl.exp(s - m_new)
        l, acc, m = l * alpha + p, acc * alpha + p * v, m_new
    o = acc / l
"""

# title, what stands there, what a wrong solution has instead, what a learner must read
_BASIC = [
    (
        "the accumulator is not rescaled",
        "acc = acc * alpha + p * v",
        "acc = acc + p * v",
        "if acc is not multiplied by alpha",
    ),
    (
        "l is not rescaled",
        "l = l * alpha + p",
        "l = l + p",
        "if l is not multiplied by alpha",
    ),
    (
        "alpha is taken after m has moved",
        "alpha = tl.exp(m - m_new)",
        "alpha = tl.exp(m_new - m_new)",
        "if neither acc nor l is multiplied by alpha",
    ),
    (
        "no final division",
        "acc / l, mask=d_mask)",
        "acc, mask=d_mask)",
        "without the division by l at the end",
    ),
    (
        "no scale",
        "tl.sum(q * k, 0) * scale",
        "tl.sum(q * k, 0)",
        "without the division by sqrt(d) in the scores",
    ),
    ("causal is forgotten", _VISIBLE, "visible = seq_k", "without the causal mask"),
    (
        "always causal",
        _VISIBLE,
        "visible = tl.minimum(seq_k, i + 1)",
        "with a causal mask that was not asked for",
    ),
    (
        "one key too many",
        "i + 1) if IS_CAUSAL",
        "i + 2) if IS_CAUSAL",
        "if query i sees key i + 1 too",
    ),
    (
        "the diagonal is hidden too",
        "tl.minimum(seq_k, i + 1) if",
        "tl.minimum(seq_k, tl.maximum(i, 1)) if",
        "causal",
    ),
    (
        "a causal program goes on beyond the last key",
        "tl.minimum(seq_k, i + 1) if",
        "i + 1 if",
        "causal",
    ),
    (
        "the maximum starts at 0",
        'm = -float("inf")',
        "m = 0.0",
        "does it start at -inf?",
    ),
    (
        "components taken for contiguous",
        "k_ptrs = k_ptr + d * stride_kd",
        "k_ptrs = k_ptr + d",
        "is every stride used",
    ),
    (
        "V is read with the strides of K",
        "    v_ptrs = v_ptr + d * stride_vd\n",
        "    v_ptrs = v_ptr + d * stride_kd\n    stride_vs = stride_ks\n",
        "if V is read with the strides of K",
    ),
    (
        "eleven keys at most",
        "in range(visible)",
        "in range(tl.minimum(visible, 11))",
        "with seq_q=2, seq_k=70, d=72",
    ),
    (
        "a hundred keys at most",
        "in range(visible)",
        "in range(tl.minimum(visible, 100))",
        "with seq_q=1, seq_k=400",
    ),
    (
        "components from 40 on are left out",
        "    k_ptrs = k_ptr",
        "    q = tl.where(d < 40, q, 0.0)\n    k_ptrs = k_ptr",
        "with seq_q=2, seq_k=70, d=72",
    ),
    (
        "one tile of 64 keys",
        _LOOP,
        _TILES.replace("TOTAL", "64").replace("WIDTH", "64"),
        "with seq_q=2, seq_k=70, d=72",
    ),
    (
        "tiles of 16 keys",
        _LOOP,
        _TILES.replace("TOTAL", "visible").replace("WIDTH", "16"),
        "one key at a time is one row",
    ),
    (
        "the maximum in a pass of its own",
        _LOOP,
        "    for n in range(visible):\n"
        "        k = tl.load(k_ptrs + n * stride_ks, mask=d_mask, other=0.0).to(tl.float32)\n"
        "        m = tl.maximum(m, tl.sum(q * k, 0) * scale)\n" + _LOOP,
        "each program read k 2 times",
    ),
    (
        "products in float16",
        "s = tl.sum(q * k, 0) * scale",
        "s = tl.sum((q * k).to(k_ptr.dtype.element_ty), 0) * scale",
        "is what is loaded converted before it is multiplied?",
    ),
    ("stored without a mask", "acc / l, mask=d_mask)", "acc / l)", "mask"),
]

_VECTORIZED = [
    (
        "stored without a mask",
        "tl.store(o_ptr + i * stride_os + d * stride_od, o, mask=d_mask)",
        "tl.store(o_ptr + i * stride_os + d * stride_od, o)",
        "mask",
    ),
    (
        "missing keys take part with score 0",
        's = tl.where(visible, s, -float("inf"))',
        's = tl.where(visible | (j >= seq_k), s, -float("inf"))',
        "1 key that does not exist takes part with score 0",
    ),
    (
        "no score is hidden",
        's = tl.where(visible, s, -float("inf"))',
        "s = s",
        "a key that may not be seen takes part with score 0",
    ),
    (
        "hidden keys take part with score 0",
        's = tl.where(visible, s, -float("inf"))',
        's = tl.where(j < seq_k, s, -float("inf"))',
        "a key that may not be seen takes part with score 0",
    ),
    (
        "causal is forgotten",
        "visible = visible & (j <= i)",
        "visible = visible & (j >= 0)",
        "without the causal mask",
    ),
    (
        "off-by-one diagonal",
        "visible = visible & (j <= i)",
        "visible = visible & (j <= i + 1)",
        "if query i sees key i + 1 too",
    ),
    (
        "no final division",
        "o = tl.sum(p[:, None] * v, 0) / tl.sum(p, 0)",
        "o = tl.sum(p[:, None] * v, 0)",
        "without the division by l at the end",
    ),
    (
        "no scale",
        "s = tl.sum(q[None, :] * k, 1) * scale",
        "s = tl.sum(q[None, :] * k, 1)",
        "without the division by sqrt(d) in the scores",
    ),
    (
        "no maximum is subtracted",
        "p = tl.exp(s - tl.max(s, 0))",
        "p = tl.exp(s)",
        "is the maximum subtracted",
    ),
    (
        "V is read with the strides of K",
        "v_ptrs = v_ptr + j[:, None] * stride_vs + d[None, :] * stride_vd",
        "v_ptrs = v_ptr + j[:, None] * stride_ks + d[None, :] * stride_kd",
        "if V is read with the strides of K",
    ),
    (
        "twelve keys at most",
        "visible = j < seq_k",
        "visible = j < tl.minimum(seq_k, 12)",
        "with seq_q=2, seq_k=70, d=72",
    ),
    (
        "components from 40 on are left out",
        "visible = j < seq_k",
        "visible = j < seq_k\n    d_mask = d_mask & (d < 40)",
        "with seq_q=2, seq_k=70, d=72",
    ),
    (
        "products in float16",
        "s = tl.sum(q[None, :] * k, 1) * scale",
        "s = tl.sum((q[None, :] * k).to(k_ptr.dtype.element_ty), 1) * scale",
        "is what is loaded converted before it is multiplied?",
    ),
    (
        "one key at a time after all",
        _ALL_AT_ONCE,
        _ONE_BY_ONE,
        "All keys at once are one tile",
    ),
]

MUTANTS = [
    {"exercise": exercise, "file": file, "title": title, "old": old, "new": new, "says": says}
    for exercise, file, wrong in (
        ("nb03-1", "attention_ladder/basic.py", _BASIC),
        ("nb03-2", "attention_ladder/vectorized.py", _VECTORIZED),
    )
    for title, old, new, says in wrong
]
