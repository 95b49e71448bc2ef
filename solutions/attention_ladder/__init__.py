# course: given
"""Attention, rung by rung: the same function, each time a little less slow, and the reason why.

Each module has ``attention(q, k, v, is_causal=False)`` and runs as a script that checks, times and
plots itself: ``python -m attention_ladder.basic``.

========== =============================================================================
rung       what one Triton program does
========== =============================================================================
naive      nothing: PyTorch, with the whole score matrix in memory
basic      one query, one key at a time, with the online softmax
vectorized one query, all keys at once, as long as they fit
========== =============================================================================
"""
