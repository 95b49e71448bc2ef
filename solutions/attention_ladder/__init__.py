# course: given
"""Attention, rung by rung: the same function, each time a little less slow, and the reason why.

Each module has ``attention(q, k, v, is_causal=False)`` and runs as a script that checks, times and
plots itself: ``python -m attention_ladder.basic``.

=========== ============================================================================
rung        what one Triton program does
=========== ============================================================================
naive       nothing: PyTorch, with the whole score matrix in memory
basic       one query, one key at a time, with the online softmax
vectorized  one query, all keys at once, as long as they fit
tiled       a tile of queries, a tile of keys at a time, some of the features; float32
multihead   the same for all features of one of many heads, in 16 bits on tensor cores
fp8         the same in 8 bits, after a pass that finds the scales
descriptors multihead's work through tensor descriptors: homework 3's own kernel
=========== ============================================================================

The upper four take (seq, heads, d) too.
"""
