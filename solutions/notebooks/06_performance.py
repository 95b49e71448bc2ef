# course: exercise
# %% [markdown]
# # 06 · As fast as the hardware
#
# **Your kernel is right. What still stands between it and the speed of the machine?**
#
# About 3 hours and a half · 8 exercises · 17 points, in two sittings: section 5 is a good place to
# stop. No GPU needed: what can be counted, compiled or simulated runs here, and what only a GPU can
# say was measured on one and is shown with its name.
#
# Three exercises are solved in files of `attention_ladder/`: `tiled.py`, `multihead.py` and
# `fp8.py`. The check cells read them anew every time. Before: notebooks 03 and 05, and homework 3:
# the rung of section 8 runs your kernel.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.
#
# Each section is an experiment: a question, what to expect, what comes out. Guess before you run.

# %%
import math
import statistics

import pandas as pd
import torch
import triton
import triton.language as tl

from attention_ladder import tiled
from course.bench.clock import CudaClock
from course.check import nb06_experiments as lab
from course.compiled import Case, compile_all
from course.notebook import DEVICE, INTERPRETED, check
from course.pictures import committed, fp8
from course.pictures import performance as pictures

# %% [markdown]
# Numbers that were measured come from `docs/performance/`, with the GPU and the versions they were
# measured with. What is not measured yet says so.

# %% [markdown]
# ## 1. What attention has to move
#
# A GPU has little fast memory (registers and shared memory) and much slow memory (HBM). Let one
# multiprocessor's fast memory hold $M$ numbers. How many numbers go back and forth?
#
# **Plain attention** writes $S$, reads it, writes $P$, reads it: $\Theta(N d + N^2)$.
#
# **FlashAttention** keeps a tile of $B$ queries in fast memory and lets all keys and values come
# by. There are $N/B$ such tiles, and $K$ and $V$ have $2 N d$ numbers, so $2 N^2 d / B$ come in. A
# tile, its sums, keys and values must fit: about $4 B d \le M$. Put the largest $B$ in:

# %% [markdown]
# $$ \frac{2 N^2 d}{B} = \frac{8 N^2 d^2}{M} = \Theta\!\left(\frac{N^2 d^2}{M}\right) $$
#
# For $d$ = 64 to 128, $d^2$ is several times smaller than $M$ (tens of thousands of numbers), so
# this is less than $N^2$. (Dao et al., *FlashAttention*, 2022, theorem 2; proposition 3: no exact
# algorithm does better for every $M$. That memory itself can be $O(N)$: Rabe and Staats, 2021.)

# %%
pictures.moved()

# %% [markdown]
# ### nb06-1 Bytes, exactly &nbsp; · &nbsp; 15 min
# One head, `N` queries and keys, `size` bytes a number. **Write**
#
# - `naive_bytes(N, d, size)`: read $Q, K$, write $S$, read $S$, write $P$, read $P, V$, write $O$;
# - `flash_bytes(N, d, BLOCK_Q, BLOCK_K, size, is_causal)`: $Q$ is read and $O$ written once; each
#   tile of queries reads $K$ and $V$ from the start to the end of the last tile of keys it visits.
#   Causal tiles of keys that no query of the tile sees are not visited.
#
# `N` need not be a multiple of anything. Rows that do not exist are masked and cost nothing.


# %% exercise="nb06-1" points=2
def naive_bytes(N: int, d: int, size: int = 2) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb06-1 two matrices, out and in
    return size * (4 * N * N + 4 * N * d)
    ### END SOLUTION


def flash_bytes(
    N: int, d: int, BLOCK_Q: int, BLOCK_K: int, size: int = 2, is_causal: bool = False
) -> int:
    # about 7 lines
    ### BEGIN SOLUTION nb06-1 K and V once for each tile of queries
    rows = 0
    for q_start in range(0, N, BLOCK_Q):
        end = q_start + BLOCK_Q if is_causal else N
        rows += min(N, triton.cdiv(end, BLOCK_K) * BLOCK_K)
    return size * (2 * N * d + 2 * rows * d)
    ### END SOLUTION


# %% check="nb06-1"
check("nb06-1", naive_bytes, flash_bytes)

# %% [markdown]
# <details><summary>naive_bytes is off by one or two times N × N</summary>
#
# $S$ is written and read, $P$ is written and read. $Q$, $K$, $V$, $O$ pass once each.
# </details>
#
# <details><summary>Lengths that fit are right, others too large</summary>
#
# The last tile of keys ends where the sequence ends: `min(N, ...)`. And the last tile of queries is
# a tile, however few queries it has.
# </details>

# %% [markdown]
# <details><summary>Plain is right, causal too small</summary>
#
# A tile of queries that starts at `q_start` sees keys below `q_start + BLOCK_Q`; the tile of keys
# in which that falls is read whole, so round up to whole tiles of `BLOCK_K`.
# </details>

# %%
lengths = [1024, 4096, 16384, 65536]
counted = {"plain": [naive_bytes(N, 64) for N in lengths]}
for BLOCK_Q in (64, 256):
    counted[f"tiles of {BLOCK_Q} queries"] = [flash_bytes(N, 64, BLOCK_Q, 64) for N in lengths]
counted["256 queries, causal"] = [flash_bytes(N, 64, 256, 64, 2, True) for N in lengths]
counted["Q, K, V, O once: no less is possible"] = [8 * N * 64 for N in lengths]
pictures.io(lengths, counted)

# %% [markdown]
# Both grow with $N^2$. A tile of 64 queries moves half of what plain attention moves, one of 256 an
# eighth; one of 32 would gain nothing. Is that all FlashAttention is about? Hold the bytes against
# time: how long would they take if memory did nothing else? The line above the table says at which
# bandwidth. `flash_triton` is homework 3's solution, counted with tiles of 128 × 64.


# %%
committed.beside_bytes(
    {"naive": lambda N: naive_bytes(N, 64), "flash_triton": lambda N: flash_bytes(N, 64, 128, 64)}
)

# %% [markdown]
# Plain attention takes at least twice as long as its bytes: PyTorch scales the scores in a pass of
# its own, and launches one kernel after the other. FlashAttention takes *longer than its bytes
# too*, and here they are not even an honest bill: programs that run side by side walk over the same
# $K$ and $V$, and the L2 cache answers most of them. So memory does not hold it back any more.
# Something else does.
#
# **Checkpoint.** Twice as many queries a tile: what happens to the bytes? And twice as many keys?
#
# <details><summary>Answer</summary>
#
# Half of them; nothing (but for the rounding along the diagonal).
# </details>

# %% [markdown]
# ## 2. A tile of queries: the ladder's fourth rung
#
# Notebook 03 ended with a wish: a block of queries, so that a key serves many. Now you write it as
# a rung of the ladder. With one head there are few tiles of queries, fewer than the GPU has
# multiprocessors, and in float32 the accumulator fills the registers. So this rung cuts the
# *output's features* into tiles as well: a grid of two dimensions.

# %%
pictures.grid_2d()

# %% [markdown]
# Three details. Tiles become float32 as soon as they are loaded, `.to(tl.float32)`: products and
# sums are float32 whatever comes in. With `IS_CAUSAL` a query sees keys up to its own number, and
# the walk over keys ends with the diagonal: no tile beyond the last query of the program is read.
# And the last tiles of queries, keys and features are seldom full.

# %% [markdown]
# ### nb06-2 Tiles of queries, keys and features &nbsp; · &nbsp; 25 min
# **Write**, in `attention_ladder/tiled.py`, the body of `_attention_tiled_kernel` (about 30 lines).
# Program $(i, f)$ takes `BLOCK_Q` queries and `BLOCK_V` features. It loads its queries once (all
# of $d$), then for each tile of keys:
#
# $$ s = q k^\top / \sqrt d, \quad m' = \max(m, \max_j s_j), \quad
#    \text{acc}' = e^{m - m'} \text{acc} + e^{s - m'} v_f $$
#
# `q: (seq_q, heads, d)`, `k, v: (seq_k, heads, d)`, any strides, float32 sums. The pointers already
# stand on this head. Both products are `tl.dot(..., input_precision=PRECISION)`.

# %% check="nb06-2" points=2
check("nb06-2")

# %% [markdown]
# <details><summary>Right for one tile of features, wrong for d = 96</summary>
#
# `v` and `o` are loaded and stored at features `f`, `q` and `k` at all of `d`. Each needs its own
# mask against `head_dim`.
# </details>
#
# <details><summary>Right where seq_k fits the tiles, else too small</summary>
#
# Keys that do not exist have score 0, and $e^{0 - m}$ is not nothing: $-\infty$ in their place.
# </details>

# %% [markdown]
# <details><summary>Right for one tile of keys, wrong for two</summary>
#
# A new maximum makes all earlier weights smaller: `l` *and* `acc` are multiplied by $e^{m - m'}$.
# </details>
#
# <details><summary>'int' object has no attribute 'to'</summary>
#
# Interpreted, the variable of a `range` loop is a plain number. Convert a tensor that it meets, or
# let the pointer walk: `k_ptr += BLOCK_K * stride_ks`.
# </details>

# %% [markdown]
# <details><summary>Scores around -120 give NaN or 0</summary>
#
# Start `m` at $-\infty$, not at 0.
# </details>

# %% [markdown]
# <details><summary>"... memory that belongs to no tensor"</summary>
#
# Queries from `seq_q` on, keys from `seq_k` on and features from `head_dim` on do not exist. Each
# load and the store need a mask of both their dimensions, even where nobody uses what is read.
# </details>
#
# <details><summary>Right with square tiles, wrong with others</summary>
#
# A program takes `BLOCK_Q` queries, the walk takes steps of `BLOCK_K`. No 64 stands in a kernel.
# </details>

# %% [markdown]
# Now the experiment: what did your kernel really ask memory for? The interpreter sees every load
# and store. Does it agree with your formula?

# %%
for N, d in ((128, 32), (100, 32), (128, 128)):
    q, k, v = torch.randn(3, N, d, device=DEVICE)
    asked = lab.bytes_asked_for(lambda q=q, k=k, v=v: tiled.attention(q, k, v))
    if asked is None:
        print("Kernels are compiled here, and nobody counts (TRITON_INTERPRET=1 would).")
        break
    formula = flash_bytes(N, d, 64, 64, 4)
    loaded, stored = asked
    print(f"N = {N}, d = {d:3}: {loaded:,} loaded + {stored:,} stored = {sum(asked):,}", end="; ")
    print(f"formula {formula:,}")

# %% [markdown]
# The first two agree to the byte. At $d$ = 128 the rung reads more: two programs share the same
# queries, so $Q$ and $K$ come twice, and every score is *computed* twice. That is the price of
# tiles of features; a rung with 16-bit tiles will not need them.
#
# **Checkpoint.** Per score, one program with $d$ = 128 in two feature tiles does $2d$ flops for
# $q k^\top$ and $d$ for its half of $P V$. How much more work than without feature tiles is done?
#
# <details><summary>Answer</summary>
#
# $2 \cdot 3d = 6d$ against $4d$: half as much again, and twice the exponentials.
# </details>

# %% [markdown]
# ## 3. Arithmetic intensity, and the roof
#
# A kernel that does $F$ flops and must move $b$ bytes takes at least $F / \text{peak}$ and at least
# $b / \text{bandwidth}$. So its speed is at most
#
# $$ \min\!\left(\text{peak},\; \frac{F}{b} \cdot \text{bandwidth}\right) $$
#
# $F / b$ is the *arithmetic intensity*, and the formula drawn is the *roofline* (Williams, Waterman
# and Patterson, 2009). Left of the ridge memory decides, right of it arithmetic.

# %% [markdown]
# ### nb06-3 Which roof? &nbsp; · &nbsp; 12 min
# **Write** four functions that return `(flops, bytes)`, counting only what *must* move: each input
# once, each output once.
#
# - `copy(n, size)`: n numbers, no flops;
# - `softmax(rows, columns, size)`: 5 flops a number (max, subtract, exp, add, divide);
# - `matmul(M, N, K, size)`: $(M, K)$ times $(K, N)$, 2 flops for each multiply-add;
# - `attention(N, d, size)`: one head, not causal, the two products only;
#
# and `attainable(flops, nbytes, tflops, tb_per_s)` → `(TFLOP/s, "memory" or "arithmetic")`.


# %% exercise="nb06-3" points=2
def copy(n: int, size: int) -> tuple[int, int]:
    # about 1 line
    ### BEGIN SOLUTION nb06-3 in and out
    return 0, 2 * n * size
    ### END SOLUTION


def softmax(rows: int, columns: int, size: int) -> tuple[int, int]:
    # about 1 line
    ### BEGIN SOLUTION nb06-3 five flops a number
    return 5 * rows * columns, 2 * rows * columns * size
    ### END SOLUTION


def matmul(M: int, N: int, K: int, size: int) -> tuple[int, int]:
    # about 1 line
    ### BEGIN SOLUTION nb06-3 three matrices
    return 2 * M * N * K, (M * K + K * N + M * N) * size
    ### END SOLUTION


def attention(N: int, d: int, size: int) -> tuple[int, int]:
    # about 1 line
    ### BEGIN SOLUTION nb06-3 two products, four thin matrices
    return 4 * N * N * d, 4 * N * d * size
    ### END SOLUTION


def attainable(flops: float, nbytes: float, tflops: float, tb_per_s: float) -> tuple[float, str]:
    # about 3 lines
    ### BEGIN SOLUTION nb06-3 the lower roof
    fed = flops / nbytes * tb_per_s
    return (fed, "memory") if fed < tflops else (tflops, "arithmetic")
    ### END SOLUTION


# %% check="nb06-3"
check("nb06-3", copy, softmax, matmul, attention, attainable)

# %% [markdown]
# <details><summary>attention has too many bytes</summary>
#
# The score matrix need not move: that is the whole point. $Q$, $K$, $V$ in, $O$ out.
# </details>
#
# <details><summary>attainable is off by a power of ten</summary>
#
# flops for each byte, times TB/s ($10^{12}$ bytes), are TFLOP/s ($10^{12}$ flops). Nothing to
# convert.
# </details>

# %%
TFLOPS, TB_PER_S, ROOFS = committed.ceilings()
print(ROOFS)
cases = {
    "copy, 64 Mi numbers": copy(2**26, 4),
    "softmax, 16384 x 8192": softmax(16384, 8192, 4),
    "matmul, 8192": matmul(8192, 8192, 8192, 2),
    **{f"attention, N = {N}, d = 64": attention(N, 64, 2) for N in (128, 1024, 8192)},
}
for name, work in cases.items():
    speed, roof = attainable(*work, TFLOPS, TB_PER_S)
    print(f"{name:28} {work[0] / work[1]:7.1f} flops a byte: {speed:5.1f} TFLOP/s, {roof}")

# %% [markdown]
# Below, `flash_triton` is homework 3's solution. `sdpa_flash` and `sdpa_cudnn` are PyTorch's
# `scaled_dot_product_attention` made to take FlashAttention-2's or cuDNN's kernels. `expert` is the
# instructor's, for which section 10 lists what each step gained.

# %%
committed.roofline_of_peers(attention)

# %% [markdown]
# The intensity of attention is $N / 2$ in 16 bits: from a few hundred tokens on, arithmetic should
# decide. The dots of naive attention lie far below the roof, because it moves what need not be
# moved. The others come much nearer from 4,096 tokens on (at 1,024 there is too little work to fill
# the GPU), and none touches it. No byte is to blame for what is left: sections 5 to 10 look for it.
#
# **Checkpoint.** Why can no trick make `torch.softmax` reach 100 TFLOP/s?
#
# <details><summary>Answer</summary>
#
# 5 flops for 8 bytes. At 4 TB/s that is 2.5 TFLOP/s, with every unit idle but memory. (The table
# says a little more where the measured copy is a little faster than 4 TB/s.)
# </details>

# %% [markdown]
# ## 4. Timing without fooling yourself
#
# A GPU runs behind your program, has caches, compiles on the first call and slows down when warm.
# Each of these has fooled somebody. Here is an *imagined* GPU whose kernel takes 1 ms, so we know
# the truth; and, if you have a GPU, yours with a copy of 16 MiB. A *flush* writes to a large piece
# of memory, so that nothing of the inputs is left in the cache.

# %%
imagined = lab.ImaginedGPU()
found = pd.DataFrame(lab.mistakes(imagined, imagined.make))
pictures.mistakes(found, imagined.TRUTH_MS, "an imagined GPU: nothing here was measured")

# %%
if not INTERPRETED:
    print(pd.DataFrame(lab.mistakes(CudaClock(), lab.fresh_copies(DEVICE))))
committed.measured_mistakes()

# %% [markdown]
# "Left in the cache" is too fast on the imagined GPU. On the real one it can look too *slow*: such
# a small copy is over before the program has launched the next. The GPU waits, and its events
# measure the waiting. A flush gives it something to do meanwhile, and the exercise below needs no
# more. Where one pass is many launches, as plain PyTorch's is, Python may need longer than a flush
# takes: then `clock.hold(ms)` keeps the GPU busy until the pass is queued. `course bench` does.
#
# So there are five rules, and a sixth for the smallest kernels. The bars show what the first three
# prevent; the others you need as soon as you compare two kernels, in the next exercise.

# %% [markdown]
# - **Warm up**: the first call compiles, and autotuning tries every configuration.
# - **Synchronise**: a launch returns at once. Put *events* into the GPU's queue and read them after
#   `synchronize()`.
# - **Mind L2**: inputs smaller than the cache are still there from the last pass. Flush it before
#   each pass, or rotate through inputs that together exceed it.
# - **Median and spread**: a mean is spoilt by one hiccup. A difference smaller than the spread is
#   no difference.
# - **Take turns**: clocks drop as the chip warms. Interleave what you compare.
# - **Time nothing, too**: a kernel that does nothing shows what a launch costs. Nothing that takes
#   about as long was measured.

# %% [markdown]
# ### nb06-4 A fair race &nbsp; · &nbsp; 20 min
# **Write** `race(candidates, clock, warmup, passes)`: `candidates` is a dictionary name → function;
# return a dictionary name → `(median_ms, spread)`.
#
# Call each `warmup` times untimed. Then `passes` rounds; in each round every candidate has one
# pass: `clock.flush_cache()`, `start = clock.record()`, the call, `end = clock.record()`. When all
# rounds are launched, `clock.synchronize()`, then `clock.elapsed_ms(start, end)` of each pass.
#
# spread = (largest − smallest) / median of a candidate's sorted passes, after a tenth of them
# (`len(times) // 10`, which may be none) is left out at either end; the median is that of all. The
# clock can be a GPU's, or an imagined one.


# %% exercise="nb06-4" points=3
def race(candidates, clock, warmup: int = 10, passes: int = 50) -> dict[str, tuple[float, float]]:
    # about 16 lines
    ### BEGIN SOLUTION nb06-4 warm, cold, in turns
    for fn in candidates.values():
        for _ in range(warmup):
            fn()
    marks = {name: [] for name in candidates}
    for _ in range(passes):
        for name, fn in candidates.items():
            clock.flush_cache()
            start = clock.record()
            fn()
            marks[name].append((start, clock.record()))
    clock.synchronize()
    result = {}
    for name, pairs in marks.items():
        times = sorted(clock.elapsed_ms(*pair) for pair in pairs)
        tenth = len(times) // 10
        median = statistics.median(times)
        result[name] = median, (times[-1 - tenth] - times[tenth]) / median
    return result
    ### END SOLUTION


# %% check="nb06-4"
check("nb06-4", race)

# %% [markdown]
# <details><summary>"device not ready"</summary>
#
# An event is a mark in a queue. Wait for the device, `clock.synchronize()`, before you read it.
# </details>
#
# <details><summary>The median is right, the spread is not</summary>
#
# With 20 passes a tenth is 2: of the sorted times the third smallest and the third largest count,
# `times[2]` and `times[-3]`.
# </details>

# %% [markdown]
# <details><summary>It fails with 5 passes only</summary>
#
# A tenth of 5 is 0, and `times[0:-0]` is empty. `times[-1 - tenth]` is right for 0 as well.
# </details>

# %%
clock = lab.ImaginedGPU() if INTERPRETED else CudaClock()
candidates = lab.candidates(clock)
for name, (median, spread) in race(candidates, clock).items():
    print(f"{name:28} {median:7.4f} ms, spread {spread:.1%}   ({clock.name})")

# %% [markdown]
# One kernel under two names: whatever difference you see is none, and the spread tells how large
# such a difference can be. On the imagined GPU the two agree to the digit, because it is as simple
# as that: passes of 0.96 to 1.04 ms in turn, which is the spread of 8%.

# %% [markdown]
# **Checkpoint.** Kernel A takes 0.0042 ms, kernel B 0.0040 ms, a kernel that does nothing 0.0038.
# Is B 5% faster?
#
# <details><summary>Answer</summary>
#
# You measured launches. What is left for A and B is 0.0004 and 0.0002 ms, within any spread. Make
# the inputs larger.
# </details>

# %% [markdown]
# ## 5. Sixteen bits, all heads, and who starts first
#
# The fifth rung, `multihead`, changes four things at once, and each has a reason:
#
# - tiles stay in 16 bits, because tensor cores multiply these many times as fast as float32;
# - in half the room all features fit, so no score is computed twice;
# - the diagonal is split off: full tiles pay for no mask;
# - the heaviest tile starts first.

# %% [markdown]
# ### nb06-5 The multihead rung &nbsp; · &nbsp; 25 min
# **Write**, in `attention_ladder/multihead.py`, the body of `_attention_multihead_kernel` (about 35
# lines). `q: (seq_q, heads, d)`, `k, v: (seq_k, heads, d)`. Program $(t, h)$ takes head $h$ and the
# $t$-th tile of queries *from the end*. Two loops, or one written out twice with `tl.static_range`:
#
# - keys below `unmasked`: the whole tiles that even the tile's *first* query sees all of, and that
#   end before `seq_k` does. They need no mask but the one over $d$;
# - keys from there to `end` are compared, with the diagonal and with `seq_k`.
#
# Products take the inputs' dtype (`p.to(v.dtype)`), sums are float32. `scale_log2` is
# $\log_2 e / \sqrt d$, for `tl.exp2`: section 6 says why, `tl.exp` with another scale is right too.

# %%
pictures.diagonal()

# %% check="nb06-5" points=2
check("nb06-5")

# %% [markdown]
# <details><summary>"keys 128 to 255 were read"</summary>
#
# A causal walk ends at `start_q + BLOCK_Q`, or at `seq_k` if that comes first.
# </details>
#
# <details><summary>Right for one head, wrong for three</summary>
#
# Every pointer moves by `head * stride_?h`: q, k, v and o. Convert `head` to int64 first.
# </details>

# %% [markdown]
# <details><summary>What is <code>unmasked</code>, as a formula?</summary>
#
# `seq_k // BLOCK_K * BLOCK_K`, whole tiles; and if causal no more than `(start_q + 1) // BLOCK_K *
# BLOCK_K`, because query `start_q` sees `start_q + 1` keys.
# </details>

# %% [markdown]
# <details><summary>float32 is right, float16 is not</summary>
#
# `tl.dot` of float16 inputs gives float32. Keep it so until `tl.store`.
# </details>
#
# <details><summary>It passes, but <code>course compile nb06-5</code> says that all spills</summary>
#
# Does a tile of pointers walk, `k_ptrs += ...`? Section 7 says what that costs, and what does not.
# </details>

# %% [markdown]
# What does the order buy? A simulation: an H200 has 132 multiprocessors; let each run two programs
# at a time. The time of a program is the number of key tiles it visits; whoever is free takes the
# next program. A GPU starts the programs of a grid's first dimension first. In your rung that is
# the tiles of one head, so its order is "head by head".


# %%
from heapq import heappop, heappush


def busy(order, workers=264):
    """Share of the workers' time spent working, if programs of these weights start in order."""
    free, total = [0] * workers, 0
    for weight in order:
        heappush(free, heappop(free) + weight)
        total += weight
    return total / (workers * max(free))


# %%
lengths, heads = [1024, 2048, 4096, 8192, 16384], 16
shares = {f"{order} first": [] for order in ("heaviest", "lightest")}
shares |= {f"head by head, {order}": [] for order in shares}
for N in lengths:
    light = list(range(2, N // 64 + 1, 2))  # tiles of 128 queries and 64 keys
    for order, weights in (("heaviest first", light[::-1]), ("lightest first", light)):
        shares[order].append(busy([w for w in weights for _ in range(heads)]))
        shares[f"head by head, {order}"].append(busy(weights * heads))
print({order: f"{share[3]:.0%}" for order, share in shares.items()}, "at 8,192")

# %%
pictures.schedules(shares, lengths)

# %%
committed.measured("experiments", experiment="order")

# %% [markdown]
# Up to 2,048 tokens there are fewer programs than places: no order helps, only smaller tiles. At
# 4,096 a good order is worth most, and at 16,384 a bad one still wastes a tenth.
#
# The measured pair is `multihead` at 8,192 tokens, causal, 16 heads of 64, and its mirror image.
# The gain is a few per cent, as between the two lines "head by head", not between the upper ones:
# the heaviest tile of *each head* starts first, and the last head's light ones still come last. To
# start all heavy tiles first the heads would have to be the grid's first dimension, or a program
# has to work out which tile is its own, as `place` in `flash_attention/tiles.py` does: group by
# group of heads, because the keys and values of all heads of a long sequence, read side by side, do
# not fit the L2 cache.

# %% [markdown]
# Try it: in your `multihead.py` let program 0 take the *first* tile, and run the check again. It
# passes: order is speed, not correctness.

# %% [markdown]
# **Checkpoint.** Which share of all tiles does causal attention visit at N = 8,192 with square
# tiles of 128? By how much may it be faster than full attention?
#
# <details><summary>Answer</summary>
#
# 64 · 65 / 2 of 64², 51%. At most twice, and then the diagonal must cost nothing extra.
# </details>

# %% [markdown]
# ## 6. The exponential that nobody budgeted
#
# One Hopper multiprocessor does 4,096 flops a clock on its tensor cores in 16 bits (989 TFLOP/s ÷
# 132 ÷ 1.83 GHz), and **16** exponentials a clock (the CUDA programming guide's table of
# throughputs). A score needs $4d$ flops of products and one exponential:
#
# $$ \frac{4 d}{4096} \text{ clocks} \qquad \text{and} \qquad \frac{1}{16} \text{ clock} $$
#
# At $d$ = 64 both are 1/16. If they wait for each other, half of the speed is gone: 495 TFLOP/s at
# best. At $d$ = 128 it is 660. (FlashAttention-3, Shah et al. 2024, section 3.1, makes this
# argument. 989 is the data sheet's peak; section 3's roof is lower, because it is what a large
# product reached: under such a load the clock drops.)

# %%
pictures.budget()

# %% [markdown]
# The rest of softmax takes units, too: scaling, subtracting, maxima, sums. What can be saved there
# should be. A GPU has an instruction for $2^x$, none for $e^x$. So `tl.exp(x)` is a multiplication
# by $\log_2 e$ and an `ex2`. The scores are scaled anyway. One factor does both, and a multiply-add
# subtracts the maximum in the same instruction:
#
# $$ e^{\,s \cdot \text{scale} - m} = 2^{\,s \cdot c - m_2}, \quad c = \text{scale} \cdot \log_2 e,
#    \quad m_2 = c \cdot \max_j s_j $$

# %%
KERNELS = "course.check.nb06_kernels"
TREE = lab.tree()
ways = {"exp": False, "exp2, folded": True}
cases = [
    Case(name, f"{KERNELS}:exponentials", ((64, 64),), "float32", (base_2,))
    for name, base_2 in ways.items()
]
compiled = compile_all(TREE, [90], cases)
pd.DataFrame(
    {
        row.op: {word: row.count(word) for word in ("ex2", "mul.f32", "fma", "max.f32")}
        for row in compiled
    }
)

# %% [markdown]
# That is the compiler's output for sm_90, for a tile of 64 × 64 scores on 4 warps: 32 scores a
# thread, in 8 rows. No GPU was needed: PTX is text.
#
# With `exp` each score is multiplied twice, by the scale and by $\log_2 e$: 64. Folded, 9 are left:
# the maxima of 8 rows, and $\text{scale} \cdot \log_2 e$ once. The 32 `fma` are in both, because
# there the maximum is subtracted.

# %%
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

# %% [markdown]
# ### nb06-6 Base two &nbsp; · &nbsp; 10 min
# **Write** the body of `attention_tile`: `s: (BLOCK_Q, BLOCK_K)` are raw scores $q k^\top$, `v:
# (BLOCK_K, D)`, `scale` is $1/\sqrt d$ → `o: (BLOCK_Q, D)` and `lse: (BLOCK_Q,)`, the *natural*
# log-sum-exp of the scaled scores,
#
# $$ L = (m_2 + \log_2 l) \ln 2 $$
#
# Per score one multiplication, one subtraction, one `tl.exp2`, in the folded form $s c - m_2$: of
# $(s - \max s) \, c$ no compiler makes a multiply-add. The check counts multiplications.


# %% exercise="nb06-6" points=2
@triton.jit
def attention_tile(s, v, scale):
    # about 6 lines
    ### BEGIN SOLUTION nb06-6 one factor for both
    factor = scale * LOG2E
    m = tl.max(s, 1) * factor
    p = tl.exp2(s * factor - m[:, None])
    l = tl.sum(p, 1)
    o = tl.dot(p, v, input_precision="ieee") / l[:, None]
    lse = (m + tl.log2(l)) * LN2
    ### END SOLUTION
    return o, lse


# %% check="nb06-6"
check("nb06-6", attention_tile)

# %% [markdown]
# <details><summary>o is right, lse is not</summary>
#
# `m` and `log2(l)` are both in units of $\log_2$: multiply their sum by $\ln 2$.
# </details>
#
# <details><summary>The whole tile was multiplied twice</summary>
#
# `s * scale * LOG2E` goes from left to right: two tiles. `scale * LOG2E` is one number.
# </details>

# %% [markdown]
# And if the exponential unit is still the bottleneck? Compute some exponentials elsewhere.
# FlashAttention-4 (Zadouri et al., 2026, for Blackwell, where tensor cores doubled and the
# exponential unit did not) lets multiply-add units do a share: $2^x = 2^{\lfloor x \rfloor} \cdot
# 2^{f}$, the first factor goes straight into the exponent's bits, the second is a polynomial in
# $f \in [0, 1)$. How good must it be? As good as the 16 bits that $P$ is rounded to.

# %%
f = torch.linspace(0, 1, 10001, dtype=torch.float64)[:-1]
for degree in (1, 2, 3, 4):
    # relative error, and exact at 0: powers of f times weights fitted by least squares
    powers = torch.stack([f**n for n in range(1, degree + 1)], 1) / 2 ** f[:, None]
    target = (1 - 1 / 2**f)[:, None]
    weights = torch.linalg.lstsq(powers, target).solution
    error = (powers @ weights - target).abs().max().item()
    print(f"degree {degree}, {degree} multiply-adds: relative error {error:.1e}")
print(f"rounding to bf16: {2**-9:.1e}; to fp16: {2**-12:.1e}")

# %%
committed.measured("experiments", experiment="exponential")

# %% [markdown]
# One multiplication more for each score, and the whole kernel is that much slower: the products are
# tensor cores' work, and of what is left for the other units (a multiply-add, an exponential, a
# maximum, a sum, a conversion a score) it is a good part.

# %% [markdown]
# **Checkpoint.** Why does $d$ = 128 come nearer to the peak than $d$ = 64, in every implementation?
#
# <details><summary>Answer</summary>
#
# Twice the products for the same number of exponentials.
# </details>

# %% [markdown]
# ## 7. Autotuning: a list, and why it is a list
#
# Tile sizes, warps and stages decide how many registers a thread needs (it has 255), and how much
# shared memory a program takes (227 KB on an H200). Too many registers *spill* to memory. Nobody
# can predict the best; one can only leave out the hopeless, and time the rest. The compiler tells
# about the hopeless, without a GPU. This compiles **your** `multihead` rung with other tiles:

# %%
RUNG = f"{KERNELS}:rung_with_tiles"
cases = [
    Case(lab.tile_name(tiles), RUNG, ((512, 2, 64),) * 3, "float16", ("multihead", *tiles))
    for tiles in lab.TILES
]
pd.set_option("display.max_colwidth", None)  # a problem is said in full
compiled = compile_all(TREE, [90], cases)
columns = ("registers", "spill_bytes", "shared_bytes", "tensor_cores", "problem")
pd.DataFrame([{"tiles": row.op, **{c: getattr(row, c) for c in columns}} for row in compiled])

# %% [markdown]
# Does yours spill hundreds of bytes with *every* tile? Then the tile is not too large; look at how
# you address it. Registers a thread, float16, $d$ = 64, sm_90, compiled with triton 3.7.1:
#
# | queries × keys, stages | 64 × 64, 2 | 128 × 64, 3 | 64 × 128, 3 |
# |---|---|---|---|
# | `k_ptr += ...`, a fixed tile of offsets | 138 | 228 | 208 |
# | addresses computed anew in the loop | 128 | 251 | 188 |
# | a tile of pointers walks: `k_ptrs += ...` | 255, spills 652 bytes | 255, 2168 | 255, 5176 |
#
# 64 × 64 pointers of 64 bits are 64 registers a thread, for $K$ and again for $V$, all the time.

# %% [markdown]
# Tiles are queries × keys. More stages mean more tiles on their way at once, in shared memory; more
# queries mean fewer bytes (section 1) and a larger accumulator. And measured, bf16, causal,
# 16 heads of 64, 8,192 tokens:

# %%
committed.measured("experiments", experiment="tiles")

# %% [markdown]
# Could you have told from the registers? Many of them, and no spills, is where the fast ones are;
# but which is fastest no column says. A larger tile moves fewer bytes, and loses where its
# registers leave no room for a second program on the multiprocessor, or its warps wait for each
# other. The rung's own list, `_TILES` at the end of `multihead.py`, has three for this shape: 128 ×
# 64 and 64 × 128 with 3 stages, 64 × 64 with 2. With the winner it takes what "heaviest tile first"
# takes in section 5.

# %% [markdown]
# `@triton.autotune` does the timing, once for each value of its `key`, and remembers the winner:
#
# ```python
# @triton.autotune([triton.Config({"BLOCK_Q": 128, "BLOCK_K": 64}, num_warps=4, num_stages=2), ...],
#                  key=["seq_q", "head_dim"])
# ```

# %% [markdown]
# Short lists, because each entry costs a second of compiling at each new shape. Try a tile of your
# own: put this line above `cases` in the first code cell of this section, and run it again.
#
# ```python
# lab.TILES = ((32, 64, 4, 2), *lab.TILES)  # queries, keys, warps, stages
# ```
#
# `course compile nb06-5` prints the same for other chips, in a minute or two.

# %% [markdown]
# **Checkpoint.** A configuration spills 8 bytes, another none. Which do you take?
#
# <details><summary>Answer</summary>
#
# The faster one: leave both in the list. A few bytes spilled outside the loop cost nothing;
# thousands inside it are hopeless.
# </details>

# %% [markdown]
# ## 8. TMA: let an engine fetch the tile
#
# With pointers every thread computes addresses and masks, and holds them in registers. Hopper has a
# *tensor memory accelerator* (NVIDIA's H100 whitepaper, 2022): one thread hands it a descriptor and
# coordinates, and the tile arrives in shared memory while everybody computes. In Triton that is the
# tensor descriptor of notebook 05.

# %%
pictures.tma()

# %%
cases = [
    Case(way, f"{KERNELS}:through_{way}", ((256, 64),), "float16")
    for way in ("pointers", "descriptors")
]
compiled = compile_all(TREE, [90], cases)
words = ("ld.global", "st.global", "cp.async.bulk.tensor", "mad", "setp", "mbarrier")
table = {row.op: {word: row.count(word) for word in words} for row in compiled}
for row in compiled:
    table[row.op] |= {"all instructions": sum(row.instructions.values())}
    table[row.op] |= {"registers": row.registers}
pd.DataFrame(table)

# %% [markdown]
# One tile of 64 × 64 in and out. `cp.async.bulk.tensor` is the TMA: one instruction each way. With
# pointers each of 128 threads computes four addresses and four masks, and that is for a tile as
# small as this; `mbarrier` is what the price is: somebody has to wait for the tile to arrive.
#
# The rung `attention_ladder/descriptors.py` takes its tiles through descriptors. It is given to
# read, and short: the kernel it runs is your own, of homework 3. Side by side, 8 heads of 64 in 16
# bits:

# %%
committed.rungs("multihead", "descriptors")

# %% [markdown]
# Long sequences take within a tenth of the same time both ways: what these kernels wait for is not addresses.
# Descriptors pay off where a warp of its own does the loading (section 10). Short ones show who
# chooses tiles. `multihead` has fixed ones, of one stage, until its list is tried from 1,024 tokens
# on (`launch.py`): so 1,024 can take *less* time than 512. The homework's kernel has fixed ones,
# and pointers, while there is little to compute (`HEAVY` in `flash_attention/tiles.py`), here below
# 4,096 tokens. The difference at 1,024 and 2,048 is tuning, not TMA.

# %% [markdown]
# **Checkpoint.** Which of your inputs cannot be described?
#
# <details><summary>Answer</summary>
#
# Those whose last dimension is not dense, or whose other strides or address are no multiples of 16
# bytes: `x[..., ::2]`, or $d$ = 20 in 16 bits. They take the pointer path.
# </details>

# %% [markdown]
# ## 9. Eight bits
#
# Hopper's tensor cores multiply 8-bit floats twice as fast as 16-bit ones. There are two formats
# (Micikevicius et al., *FP8 Formats for Deep Learning*, 2022): E4M3 for activations and weights,
# E5M2 for gradients, whose sizes vary more.

# %%
fp8.bits()

# %%
fp8.number_line()

# %% [markdown]
# Three bits of fraction: rounding moves a number by up to 1/16 of itself. That is coarse, but the
# same everywhere, from 2⁻⁶ to 448. Above 448 there is *nothing*: E4M3 has no infinity, and a larger
# number becomes 448 or NaN, depending on who converts. Below 2⁻⁹ it is rounded to that or to 0.
#
# So a tensor is divided by a **scale** first, and the scale is kept:

# %%
x = torch.tensor([0.001, 0.3, 1.1, 300.0, 500.0])
for scale in (1.0, 500 / 448):
    back = (x / scale).to(torch.float8_e4m3fn).float() * scale
    print(f"scale {scale:.3f}:", [f"{number:.4g}" for number in back.tolist()])

# %% [markdown]
# The scale saved 500, and lost 0.001. So it is the largest number that decides for all who share
# its scale: an *outlier*. Real activations have some, in certain channels and tokens. The fewer
# numbers share a scale, the fewer suffer: one scale a tensor, a head, or a block of tokens in a
# head. The last is what FlashAttention-3 does (section 3.3).

# %% [markdown]
# ### nb06-7 A scale for each block &nbsp; · &nbsp; 15 min
# **Write** `quantise(x, rows)`: `x: (seq, heads, d)` → the same in `torch.float8_e4m3fn`, and
# `scale: (blocks, heads)` in float32, one for each head and block of `rows` tokens; the last block
# may be shorter.
#
# $$ \text{scale} = \frac{\max |x|}{448}, \qquad x \approx \text{fp8} \cdot \text{scale} $$
#
# `x` may be in float16, which has few digits for numbers as small as scales: `.float()` first. In a
# block of zeros any scale but 0 is right; take 1. `tensor.split(rows)` and `torch.stack` may help.


# %% exercise="nb06-7" points=2
def quantise(x: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    # about 7 lines
    ### BEGIN SOLUTION nb06-7 one scale a head and block
    largest = torch.stack([part.abs().amax(dim=(0, 2)) for part in x.float().split(rows)])
    scale = torch.where(largest > 0, largest / 448, 1.0)
    of_row = scale.repeat_interleave(rows, dim=0)[: len(x), :, None]
    return (x.float() / of_row).to(torch.float8_e4m3fn), scale
    ### END SOLUTION


# %% check="nb06-7"
check("nb06-7", quantise)

# %% [markdown]
# <details><summary>NaN in the FP8 tensor</summary>
#
# Divide before you convert; and a block of zeros has $0 / 0$.
# </details>
#
# <details><summary>The last block is wrong</summary>
#
# `repeat_interleave(rows, dim=0)` gives `blocks * rows` rows: keep the first `len(x)`.
# </details>

# %% [markdown]
# <details><summary>The shapes do not fit</summary>
#
# The maximum runs over tokens of the block and features, dimensions 0 and 2; heads stay.
# </details>


# %%
def through_fp8(x, rows):
    """x (seq, heads, d) in E4M3 and back, ``rows`` tokens of a head to a scale; None: all of x."""
    together = x if rows else x.reshape(len(x), 1, -1)
    q8, scale = quantise(together, rows or len(x))
    of_row = scale.repeat_interleave(rows or len(x), 0)[: len(x), :, None]
    return (q8.float() * of_row).reshape(x.shape)


def exact(q, k, v):
    q, k, v = (t.transpose(0, 1).double() for t in (q, k, v))
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


# %%
torch.manual_seed(0)
GROUPS = ("smooth", "one head 10⁵ larger", "one token 10⁵ larger", "a loud channel")
inputs = {name: [torch.randn(512, 4, 64) for _ in range(3)] for name in GROUPS}
inputs[GROUPS[1]][2][:, 0] *= 1e5
inputs[GROUPS[2]][0][100] *= 1e5
for x in inputs[GROUPS[3]][:2]:
    x[:, :, 7] *= 5


def error(q, k, v, rows, turn):
    """Relative error of a row of attention, on average; ``turn`` multiplies q and k first."""
    want = exact(q, k, v)
    got = exact(*(through_fp8(x, rows) for x in (q @ turn, k @ turn, v)))
    return ((got - want).norm(dim=-1) / want.norm(dim=-1)).mean().item()


# %%
AS_IS, ROTATION = torch.eye(64), torch.linalg.qr(torch.randn(64, 64)).Q
ways = {
    "one scale a tensor": (None, AS_IS),
    "a head": (512, AS_IS),
    "a head and 64 tokens": (64, AS_IS),
    "a head, rotated": (512, ROTATION),
    "a head and 64 tokens, rotated": (64, ROTATION),
}
errors = {name: [error(*inputs[group], *way) for group in GROUPS] for name, way in ways.items()}
fp8.errors(errors, GROUPS)

# %% [markdown]
# Smooth inputs do not care: 3 bits are 3 bits. And this is *floating* point: what is 1,000 times
# smaller than the largest keeps all its digits. It takes factors like 10⁵ to lose them (an 8-bit
# integer loses them at 100). A loud head then ruins the others if they share its scale; a loud
# token ruins its head, and a block contains the damage.
#
# A loud *channel* is in every block. Smaller blocks help, a rotation helps further: turn $Q$ and
# $K$ by one random rotation, and $q \cdot k$ stays as it is, but the outlier is spread over all
# channels, whose rounding errors average out. This is FlashAttention-3's "incoherent processing".

# %% [markdown]
# ### nb06-8 The FP8 rung &nbsp; · &nbsp; 20 min
# **Write**, in `attention_ladder/fp8.py`, the part of `_attention_fp8_kernel` that is missing.
# `quantize_fp8` (given, in Triton) did to q, k and v what you did in nb06-7, with scales `(heads,
# blocks)` instead of `(blocks, heads)`. It is `multihead` with three changes:
#
# - scores: $s = q_8 k_8^\top$ times the scale of this tile of q, times that of this tile of k;
# - weights are 0 to 1, and below $2^{-10}$ E4M3 makes them 0: `p` becomes FP8 times
#   $2^{\text{SHIFT}}$, in the exponent of `exp2`, where it is free. `l` has the same factor;
# - $p_8 v_8$ is multiplied by the scale of this tile of v *before* it is added to `acc`.
#   `v` is stored transposed, `(heads, d, keys)`, its keys in an order of their own:
#   `in_order_of_values(p, BLOCK_Q, BLOCK_K)`, given, sorts the columns of `p` likewise.

# %% check="nb06-8" points=2
check("nb06-8")

# %% [markdown]
# <details><summary>One head is right, the others are not</summary>
#
# Scales are `(heads, blocks)`: each pointer moves by `head` times the number of blocks.
# </details>
#
# <details><summary>Short sequences are right, long ones are not</summary>
#
# Another tile of keys may have another scale. Load `k_scale` and `v_scale` inside the loop.
# </details>

# %% [markdown]
# <details><summary>"a tl.dot of float32 was not told its input_precision"</summary>
#
# In this kernel both sides of both products are FP8: `q`, `k` and `v` as loaded, `p.to(v.dtype)`.
# </details>

# %% [markdown]
# <details><summary>It is off by the factor 256</summary>
#
# Is $2^{\text{SHIFT}}$ in `p` and in `l`, or in one of them only?
# </details>
#
# <details><summary>One token is right, more are not</summary>
#
# Are the columns of `p` sorted as `v` is? After `l` has its sum, before `p` becomes FP8.
# </details>

# %%
committed.rungs("multihead", "fp8")

# %% [markdown]
# Products twice as fast, and the kernel is not: only the products became faster. By section 6 a
# score at $d$ = 64 costs 1/16 clock of products and 1/16 of exponentials; with FP8 it is 1/32 and
# 1/16. If one waits for the other that is 4/3 as fast at best, and rounding `p` and sorting its
# columns is new work. In short sequences quantising shows: three more kernels, in the time too.

# %% [markdown]
# **Checkpoint.** Why may $V$ not have one scale per *feature* and per block of tokens, and $K$ not
# one per feature, in this kernel?
#
# <details><summary>Answer</summary>
#
# A scale must leave the product as a factor. $q k^\top$ sums over features: what differs from
# feature to feature cannot be pulled out. $V$'s features stay apart, so a scale per feature would
# work there.
# </details>

# %% [markdown]
# ## 10. What the best do
#
# The `descriptors` rung, your homework 3, waits: for $q k^\top$, then for the exponentials, then
# for $P V$. The leaderboard's best differ from it in how they fill that time.
#
# - **Persistent programs**: as many as there are places; each takes work until none is left, and
#   starts loading the next tile while it stores the last.
# - **Warp specialisation**: one warp only fetches, others only compute, with barriers between them.
#   Those come in *warpgroups*: four warps that give the tensor cores one large product together.
# - **Ping-pong** (FlashAttention-3, section 3.1): two groups of warps in turns, one on the tensor
#   cores while the other exponentiates.

# %%
pictures.ping_pong()

# %% [markdown]
# - **One backward kernel instead of two**: 5 products a tile instead of 7, if a program that owns
#   keys also adds to $dQ$, which belongs to others. The TMA can *add* a tile to memory
#   (`desc.atomic_add`), without the multiprocessor waiting.
#
# What does that cost? Whoever comes first adds first, and floating point depends on the order:

# %%
terms = torch.randn(1000, generator=torch.Generator().manual_seed(0))
sums = set()
for seed in range(20):
    order = torch.randperm(len(terms), generator=torch.Generator().manual_seed(seed))
    total = torch.zeros(())
    for term in terms[order]:
        total = total + term
    sums.add(total.item())
print(f"20 orders of the same 1000 numbers: {len(sums)} different sums, e.g. {list(sums)[:3]}")

# %% [markdown]
# Two runs of the same training step then differ in the last bits, and a bug that shows up once in a
# while cannot be told from noise. *Deterministic* attention fixes the order, by two kernels or by
# waiting in line; or it adds integers, whose sum does not depend on the order, as the *expert
# kernel* does: the instructor's, in Gluon, Triton's lower layer, where warps and barriers are
# written out. What its steps gained, at $d$ = 64. Two rows of the backward pass are marked as
# chosen: one gives the same bits every time, the other adds in any order. The difference between
# them is what determinism costs.

# %%
committed.measured("expert_steps", head_dim=64, mask="causal")

# %% [markdown]
# **Checkpoint.** At $d$ = 64, which would you try first: larger tiles, or overlapping the
# exponentials with the products?
#
# <details><summary>Answer</summary>
#
# Overlap. Memory is not the roof any more (section 1), and products and exponentials cost the same
# (section 6): overlapped, up to twice the speed is there to be had.
# </details>

# %% [markdown]
# ## On your own
#
# On a GPU, everything in this notebook in one line, against cuDNN, FlashAttention-2 and the others,
# interleaved in one run and checked before it is timed:
#
# ```bash
# course bench attention --seq-len 4096
# ```
#
# And a kernel of your own. It is called as `fn(Q, K, V)`, and as `fn(Q, K, V, True)` when causal,
# with tensors of `(seq, d)`, `(heads, seq, d)` or `(batch, heads, seq, d)`:

# %%
from course.bench import quick_benchmark, test_correctness


def my_attention(Q, K, V, is_causal=False):
    return tiled.attention(Q, K, V, is_causal)


Q, K, V = torch.randn(3, 100, 32, device=DEVICE)
test_correctness(my_attention, Q, K, V, is_causal=True)
if not INTERPRETED:
    print(quick_benchmark({"mine": my_attention}, shape=(4096, 64), dtype="fp32", is_causal=True))

# %% [markdown]
# Then the leaderboard: `python -m benchmarking.submit_leaderboard`.

# %% [markdown]
# To read on:
#
# - T. Dao et al., *FlashAttention* (2022); T. Dao, *FlashAttention-2* (2023); J. Shah et al.,
#   *FlashAttention-3* (2024); T. Zadouri et al., *FlashAttention-4* (2026, arXiv 2603.05451).
# - S. Williams, A. Waterman, D. Patterson, *Roofline* (2009).
# - P. Micikevicius et al., *FP8 Formats for Deep Learning* (2022).
# - NVIDIA, *H100 Tensor Core GPU Architecture* (2022): TMA, FP8.
# - In this repository: `docs/notes/memory_efficiency.md`, `docs/performance.md`.
