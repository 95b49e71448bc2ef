# course: exercise
# %% [markdown]
# # 03 · The attention ladder
#
# **Three ways to compute the same attention. Each mends what was wrong with the one before. Why is
# each still slow?**
#
# About 100 minutes · 5 exercises · 7 points. No GPU needed: what makes a kernel slow can be
# counted, and what was measured on a GPU is shown.
#
# Two exercises are solved in files, `attention_ladder/basic.py` and
# `attention_ladder/vectorized.py`. Open them in an editor beside this notebook; the check cells
# read them anew every time.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.
#
# "The kernel died" (Jupyter means Python, not your Triton kernel): something was written outside a
# tensor. Restart, and run all cells above.

# %%
import inspect
import time
from functools import partial

import torch
import triton

from attention_ladder import basic, naive, vectorized
from attention_ladder.script import measure_rungs
from course.bench.memory import peak_bytes
from course.notebook import DEVICE, INTERPRETED, check
from course.pictures import ladder

# %% [markdown]
# ## 1. Naive: the formula, as it stands
#
# *Attention* is how the tokens of a text (words, or pieces of words) learn from each other. Each
# token brings three vectors of d numbers: a **query**, what it looks for; a **key**, what it can be
# found by; a **value**, what it has to say. A query's *scores* are its dot products with all keys,
# divided by $\sqrt d$; softmax makes them weights that sum to 1; the result is the sum of the
# values with these weights. **Causal** attention looks back only: query $i$ sees keys $0$ to $i$.
# Models do this several times side by side, with other vectors each time; one of these is called a
# **head**.

# %% [markdown]
# With the queries of one head as the rows of a matrix `Q`, keys and values as those of `K` and `V`:
#
# $$ O = \operatorname{softmax}\!\left( \frac{Q K^\top}{\sqrt d} \right) V $$
#
# One row a token, `d` columns; take N tokens. It is the operation of notebook 02, with one
# difference: the matrix inside the softmax is not given. It is computed, and it is **N × N**. In
# PyTorch:

# %%
print(inspect.getsource(naive.attention))

# %% [markdown]
# The comments count what each call reads and writes, as you did in notebook 02. Now the memory:
# how much is alive at once, beside the inputs? Measured here, at three lengths.

# %%
for N in (512, 1024, 2048):
    q, k, v = torch.randn(3, N, 64, device=DEVICE)
    peak = peak_bytes(partial(naive.attention, q, k, v), q, k, v)
    print(f"N = {N:4}: {peak / 2**20:5.2f} MiB; one N x N matrix is {4 * N * N / 2**20:5.2f} MiB")

# %% [markdown]
# Twice the length, nearly four times the memory: two N × N matrices, the scores and the weights,
# are alive together. (The rest, scaled `q` and the result, is N × d.) One head of a model in
# float32:
#
# | N | one N × N matrix |
# |---|---|
# | 1,024 | 4 MiB |
# | 8,192 | 256 MiB |
# | 65,536 | 16 GiB |
#
# A model has tens of heads, and a batch.

# %% [markdown]
# **Checkpoint.** The first thing to get rid of is the matrix. Here is how much of it each rung of
# the ladder holds at one moment.

# %%
ladder.score_matrix()

# %% [markdown]
# ## 2. Basic: one key at a time
#
# You already know how to do without the matrix. `m`, `l` and `acc` carry everything that a query
# has to remember about the keys it has seen. So: **one program a query, one key at a time.**
#
# Causal attention comes along for free. Query $i$ may look at keys $0, \dots, i$ only, so its
# program simply stops after key $i$ (or after the last key, if that comes first: `tl.minimum`).

# %%
ladder.one_query()

# %% [markdown]
# ### nb03-1 One query, one key at a time &nbsp; · &nbsp; 25 min
# $$ s_j = \tfrac{1}{\sqrt d}\, q \cdot k_j \qquad m' = \max(m, s_j) \qquad
# \alpha = e^{m - m'} \qquad p = e^{s_j - m'} $$
#
# $$ l' = \alpha\, l + p \qquad \text{acc}' = \alpha\, \text{acc} + p\, v_j \qquad
# \text{at the end } o = \text{acc} / l $$
#
# **Write**, in `attention_ladder/basic.py`, the body of `_attention_basic_kernel` (about 20
# lines). `q: (seq_q, d)`, `k, v: (seq_k, d)`, float32 or float16, any strides; compute in
# float32. Here `m`, `l` and $s_j$ are single numbers, and `acc` has `BLOCK_D` places, of which
# `head_dim` exist. With `IS_CAUSAL` key $j$ is visible to query $i$ if $j \le i$, also where
# seq_q and seq_k differ.

# %% [markdown]
# A program needs each key once, one row of `K` and of `V` at a time; the check counts what is read.
#
# Without a GPU it runs your kernel as Python would, which forgives what a compiler does not.
# `course compile nb03-1`, in a terminal, compiles it for GPUs from T4 to B200, none of which need
# be there.

# %% check="nb03-1" points=2
check("nb03-1")

# %% [markdown]
# <details><summary>"memory that belongs to no tensor", or "elements beyond the end of o"</summary>
#
# Something was read or written outside. `acc` has `BLOCK_D` places, and a row of `o` only
# `head_dim`: `tl.store` needs `d_mask`, as every load does. (The check runs your file in a process
# of its own, so nothing of this notebook is lost.)
# </details>

# %% [markdown]
# <details><summary>I edited the file and nothing changed</summary>
#
# Save it. Then run the check cell again; there is nothing to restart.
# </details>
#
# <details><summary>With one key it is right, with several it is not</summary>
#
# One key is never corrected. Is $\alpha$ taken before `m` changes? Are both `l` and `acc`
# multiplied by it, before $p$ is added?
# </details>

# %% [markdown]
# <details><summary>It fails only when seq_k is smaller than seq_q</summary>
#
# A causal program may not go on to key $i$ if there is none. It ends after this many keys:
# `tl.minimum(seq_k, i + 1)`.
# </details>

# %% [markdown]
# <details><summary>It fails when d is not a power of two</summary>
#
# Places beyond `head_dim` do not exist. Load them as 0, so that they add nothing to $q \cdot k$.
# </details>
#
# <details><summary>float32 passes, float16 does not</summary>
#
# float16 ends at 65,504: a product of two numbers it holds may be too large for it. Convert what
# you load, before you multiply: `tl.load(...).to(tl.float32)`. `tl.store` converts back by itself.
# </details>

# %% [markdown]
# <details><summary>It passes here; compiled, it says "Loop-carried variable"</summary>
#
# What goes around a Triton loop must come out as it went in: `m` and `l` as float32 numbers,
# `acc` as float32 of shape `(BLOCK_D,)`. Start them so: `-1000000` and `0` are integers.
# </details>

# %% [markdown]
# What did it gain? Let us ask for the memory again. Twice the length, twice the memory: only the
# result is allocated, and the matrix never exists. (N is small because the interpreter is slow.)

# %%
for N in (4, 8, 16):
    q, k, v = torch.randn(3, N, 64, device=DEVICE)
    mine = peak_bytes(partial(basic.attention, q, k, v), q, k, v)
    theirs = peak_bytes(partial(naive.attention, q, k, v), q, k, v)
    print(f"N = {N:3}: basic {mine:6} bytes, naive {theirs:6} bytes")

# %% [markdown]
# At such lengths N is smaller than d, and the naive matrices are still small. At N = 65,536 the two
# naive matrices take 32 GiB, and the result of basic 16 MiB.
#
# **Checkpoint.** Memory is solved: O(N) instead of O(N²). Now think about the time. A program works
# through its keys strictly one after the other: the next step needs this step's `m`. How well does
# that use a machine that can do thousands of multiplications at once?

# %% [markdown]
# ## 3. Vectorized: all keys at once
#
# Nothing in the formula says *one after the other*. If a program holds **all** its scores,
# softmax is what it was in the beginning: one maximum, one sum, one division. No `alpha`, no
# correction, and a thousand multiplications that do not wait for each other.

# %% [markdown]
# ### nb03-2 One query, all keys at once &nbsp; · &nbsp; 20 min
# $$ s = \tfrac{1}{\sqrt d} K q \qquad p = e^{s - \max s} \qquad o = \frac{V^\top p}{\sum_j p_j} $$
#
# **Write**, in `attention_ladder/vectorized.py`, the body of `_attention_vectorized_kernel`
# (about 14 lines). Same contract as before. `K` and `V` are loaded as tiles, `BLOCK_K` keys by
# `BLOCK_D` components: all keys in one tile. `BLOCK_K` is the next power of two of seq_k, so both
# dimensions need a mask.
#
# A product of a tile and a vector is `tl.sum(tile * vector[None, :], 1)`. (`tl.dot` multiplies two
# tiles, and a single query is only a row. Remember this.)

# %% check="nb03-2" points=2
check("nb03-2")

# %% [markdown]
# <details><summary>Right when seq_k is a power of two, else too small</summary>
#
# A key that does not exist is loaded as 0, and its score is 0, not -inf. $e^{0 - m}$ is not
# nothing. Put -inf in its place: `tl.where(visible, s, float("-inf"))`.
# </details>
#
# <details><summary>Plain passes, causal does not</summary>
#
# `visible` is a mask over keys: `j < seq_k`, and when causal also `j <= i`.
# </details>

# %% [markdown]
# <details><summary>It is off by a different factor in each row</summary>
#
# The sum of `p` runs over the keys, dimension 0 of the tile and the only one of `p`.
# </details>

# %% [markdown]
# **Checkpoint.** Nothing waits any more: the scores of a query do not depend on each other, and the
# kernel no longer pretends that they do. What did it take in exchange?

# %% [markdown]
# ## 4. How far does it reach?
#
# There is a price. A program runs on one streaming multiprocessor (SM), and what it holds should be
# in registers. An SM has 65,536 of them, 32 bits each. `K`'s tile may take half; addresses and
# products need the rest. One step more and the compiler *spills*: it keeps numbers in memory and
# fetches them back, which is what we wanted to avoid.
#
# The rung therefore refuses tiles of more than `vectorized.MAX_TILE` = 32,768 numbers. (Compiled in
# float32 for two generations of GPUs, sm_75, such as T4, and sm_90, such as H100: no spill at
# 32,768 numbers, spills at 65,536.)

# %% [markdown]
# ### nb03-3 How many keys fit? &nbsp; · &nbsp; 8 min
# A tile has `BLOCK_K × BLOCK_D` numbers. Both are powers of two; `BLOCK_D` is at least 16 and
# covers the head dimension; `BLOCK_K` covers the keys.
#
# **Write** `longest(head_dim, max_tile)` → the largest number of keys that fits into `max_tile`
# numbers, which is a power of two as well. `triton.next_power_of_2` may help.


# %% exercise="nb03-3" points=1
def longest(head_dim: int, max_tile: int = 32768) -> int:
    # about 2 lines
    ### BEGIN SOLUTION nb03-3 what is left of the tile for keys
    BLOCK_D = max(16, triton.next_power_of_2(head_dim))
    return max_tile // BLOCK_D
    ### END SOLUTION


# %% check="nb03-3"
check("nb03-3", longest)

# %% [markdown]
# <details><summary>d = 64 passes, d = 80 does not</summary>
#
# The tile is 128 wide then: 48 columns of it are padding, and padding takes registers too.
# </details>

# %%
dims = [16, 32, 64, 80, 128, 256]
ladder.reach(dims, [longest(d) for d in dims])

# %% [markdown]
# And this is what the rung says to one key more. A limit you run into should tell you what it is.

# %%
q, k = torch.randn(1, 64, device=DEVICE), torch.randn(513, 64, device=DEVICE)
try:
    vectorized.attention(q, k, k)
except ValueError as error:
    print(error)

# %% [markdown]
# **Checkpoint.** At d = 64 the rung ends at 512 keys. A real sequence has thousands. The tile
# must not grow with the sequence; keep that thought for the next chapter.

# %% [markdown]
# ## 5. Counting why each is slow
#
# Three questions, none of which needs a GPU.
#
# 1. **Bytes.** How much does the rung ask the memory for?
# 2. **Work.** How many *flops*, multiplications and additions of floating-point numbers? For all
#    rungs about the same: $Q K^\top$ takes $2 N^2 d$ of them, and so does the product of the
#    weights, which we call $P$, with $V$. Together $4 N^2 d$.
# 3. **Parallelism.** How much of it can run at once, and on which units?

# %% [markdown]
# A *warp* is 32 threads of a GPU that do the same step at the same time; a program runs on one or
# several. *Tensor cores* are units beside them that multiply two small matrices in one go.
#
# | rung | programs | steps in series in each | tensor cores |
# |---|---|---|---|
# | naive | PyTorch's tiles | few, but its four kernels wait for each other | in fp16 |
# | basic | N, one warp each | N | no |
# | vectorized | N, up to 16 warps each | 1 | no |

# %% [markdown]
# ### nb03-4 Bytes &nbsp; · &nbsp; 12 min
# Count elements read and written when nothing is causal and no cache helps, and multiply by
# `size`. For the naive rung add up the comments in its source: `q` scaled, scores, softmax,
# product. For the other two think of one program: what does it read, what does it write? They are
# the same. `size` is the bytes of an element: 4 unless it is given.
#
# **Write** `naive_bytes(N, d, size)` and `per_query_bytes(N, d, size)`.


# %% exercise="nb03-4" points=1
def naive_bytes(N: int, d: int, size: int = 4) -> int:
    # about 2 lines
    ### BEGIN SOLUTION nb03-4 four calls, each reading and writing
    return size * (2 * N * d + (2 * N * d + N * N) + 2 * N * N + (N * N + 2 * N * d))
    ### END SOLUTION


def per_query_bytes(N: int, d: int, size: int = 4) -> int:
    # about 2 lines
    ### BEGIN SOLUTION nb03-4 every program reads all keys and values
    one_program = d + 2 * N * d + d
    return size * N * one_program
    ### END SOLUTION


# %% check="nb03-4"
check("nb03-4", naive_bytes, per_query_bytes)

# %% [markdown]
# <details><summary>The naive count is off by one N × N</summary>
#
# The scores are written once and read once, the weights are written once and read once.
# </details>
#
# <details><summary>per_query_bytes is far too small</summary>
#
# Each of the N programs reads the whole of `K` and of `V`.
# </details>

# %%
lengths = [256, 1024, 4096, 16384]
ladder.traffic(
    lengths,
    {
        "naive": [naive_bytes(N, 64) for N in lengths],
        "basic, vectorized": [per_query_bytes(N, 64) for N in lengths],
    },
)

# %% [markdown]
# So this is what we did: we got rid of a matrix of $N^2$ numbers, and now ask for $2 N^2 d$. For
# d = 64 that is about **32 times the bytes** of the naive rung.
#
# It is not as bad as it looks, because a cache stands in between: `K` and `V` of one head are small
# (4 MiB at N = 8,192), so they stay in L2, and the reads end there. But L2 has a limited speed too,
# and each element that arrives is used once, for one query, and thrown away.

# %% [markdown]
# ### nb03-5 What a block of queries buys &nbsp; · &nbsp; 12 min
# Let one program take `BLOCK_Q` queries. It reads all of `K` and `V` once **for all of them**.
#
# The work is $4 N^2 d$ flops. For large N nearly all bytes are `K` and `V`. With $B$ = `BLOCK_Q`,
#
# $$ \frac{\text{flops}}{\text{bytes}} \approx
# \frac{4 N^2 d}{\text{size} \cdot 2 N^2 d \, / \, B} = \frac{2 B}{\text{size}} $$
#
# **Write** `block_bytes(N, d, BLOCK_Q, size)`, exact, for `BLOCK_Q` that divides N; and
# `queries_needed(balance, size)`: the smallest power of two `BLOCK_Q` that reaches `balance`
# flops for each byte, by the formula above.


# %% exercise="nb03-5" points=1
def block_bytes(N: int, d: int, BLOCK_Q: int, size: int = 4) -> int:
    # about 2 lines
    ### BEGIN SOLUTION nb03-5 K and V once for each block of queries
    programs = N // BLOCK_Q
    return size * (2 * N * d + programs * 2 * N * d)
    ### END SOLUTION


def queries_needed(balance: float, size: int = 4) -> int:
    # about 4 lines
    ### BEGIN SOLUTION nb03-5 double until the intensity is reached
    BLOCK_Q = 1
    while 2 * BLOCK_Q / size < balance:
        BLOCK_Q *= 2
    return BLOCK_Q
    ### END SOLUTION


# %% check="nb03-5"
check("nb03-5", block_bytes, queries_needed)

# %% [markdown]
# <details><summary>block_bytes is right for BLOCK_Q = 1 only</summary>
#
# `q` and `o` are read and written once, whatever the block. Only `K` and `V` are shared.
# </details>
#
# <details><summary>queries_needed is off by a factor of two</summary>
#
# `size` bytes an element: with 2 bytes the same block gives twice the flops for each byte.
# </details>

# %% [markdown]
# How many flops for each byte does a GPU want? The data sheet of NVIDIA's H200 promises 4.8 TB/s,
# 989 TFLOP/s in fp16 on tensor cores, and 67 TFLOP/s in fp32 without them: 206 and 14 flops for
# each byte. Below that the memory sets the pace, above it the arithmetic: this is the *roofline*
# (Williams, Waterman and Patterson, 2009). In fp16, at N = 8,192 and d = 64:

# %%
flops = 4 * 8192**2 * 64
intensities = {
    "naive": flops / naive_bytes(8192, 64, 2),
    "basic, vectorized": flops / per_query_bytes(8192, 64, 2),
    "blocks of 64": flops / block_bytes(8192, 64, 64, 2),
    "blocks of 256": flops / block_bytes(8192, 64, 256, 2),
}
print("fp16 on tensor cores wants BLOCK_Q =", queries_needed(206, 2), "if no cache helps")
ladder.roofline(intensities)

# %% [markdown]
# Read it from left to right. One query a program gives memory nothing to do but carry: 1 flop for
# each byte. The naive rung does better, because PyTorch's products work in blocks; what holds it
# back are the passes over N × N between them. Blocks of queries move to the right, as far as there
# are registers for them.
#
# And there is a second gain, not in bytes. A block of queries times a block of keys is a product of
# **two tiles**: at last something for `tl.dot`, and so for the tensor cores, the upper roof.

# %% [markdown]
# **Checkpoint.** All rungs do the same work. They differ in the bytes they ask for, in what waits
# for what, and in the units that may help.

# %% [markdown]
# ## 6. Measured
#
# Counting says what to expect; only a GPU says what is. These are committed measurements, made on
# the machine named under each chart: float32, one head, d = 64. The rung `vectorized` ends at 512
# keys. The fourth line, `tiled`, is the rung after these three, with blocks of queries and blocks
# of keys: where notebooks 04 and 05 lead, and where notebook 06 begins.

# %%
ladder.measured_on_gpu("time")

# %%
ladder.measured_on_gpu("speedup")

# %%
ladder.measured_on_gpu("memory")

# %% [markdown]
# How fast do the times grow? Beside each rung stands the power of N that fits its times at long
# lengths, where the line is drawn; `vectorized` has none there.

# %%
ladder.measured_on_gpu("scaling")

# %% [markdown]
# The same in numbers: naive's time, what the others take of it, and how many times as long each
# takes as at half the length.

# %%
ladder.numbers()

# %% [markdown]
# Four questions to ask the charts and the table.

# %% [markdown]
# <details><summary>Up to N = 1,024, which line is nearly flat, and which rises at once?</summary>
#
# naive: its four kernels cost more to start than to run. basic: even with the machine nearly empty,
# a program takes N steps one after the other, so twice the length is about twice the time.
# </details>
#
# <details><summary>Without the matrix, is basic faster than naive?</summary>
#
# No. At N = 128 they take about the same, and from 512 on basic takes several times as long. One
# key at a time leaves the machine waiting. vectorized is the fastest of all up to 256; at 512, its
# limit, it is behind naive already.
# </details>

# %% [markdown]
# <details><summary>Which power of N do the times approach, and which the memory?</summary>
#
# Once the machine is full, twice the length is four times the work ($4 N^2 d$) for every rung:
# naive and basic come near it with the last doubling, and the powers, fitted over the last lengths,
# do not reach 2. tiled, one head, has not filled the machine yet. In memory rungs differ by a
# power: N² for naive, N for the others. What naive takes at N = 128 are not its matrices, 64 KiB
# each: some 32 MiB are working space that PyTorch's matrix product keeps.
# </details>

# %% [markdown]
# <details><summary>Where does tiled overtake naive for good, and why not earlier?</summary>
#
# Between N = 4,096 and 8,192. A program takes a block of queries, so with one head there are few
# programs at small N, fewer than the GPU has SMs. A model has many heads, and fills it sooner. (At
# N = 128 tiled is ahead as well: one kernel to start, and naive has four.)
# </details>

# %% [markdown]
# Now on your machine. A time is only worth showing if the result is right, so each rung is checked
# before it is timed.

# %%
rungs = {"naive": naive.attention, "basic": basic.attention, "vectorized": vectorized.attention}
rows = []
if INTERPRETED:
    q, k, v = torch.randn(3, 16, 64)
    begin = time.perf_counter()
    basic.attention(q, k, v)
    seconds = time.perf_counter() - begin
    print(f"basic, 16 queries and 16 keys: {seconds:.2f} s, interpreted. This is not its speed:")
    print("it is Python going through the kernel line by line, one program after the other.")
else:
    rows = measure_rungs(rungs, [128, 256, 512, 1024, 2048])

# %%
ladder.measured_here(rows)

# %% [markdown]
# Each rung is also a script that checks, times and plots itself:
# `python -m attention_ladder.basic`. On a GPU the charts go to `outputs/`.
#
# **Checkpoint: what to take along**
#
# - naive: fast products, but N × N numbers in memory, and passes over them.
# - basic: no matrix. But one query, one key, one step at a time, and every key read N times.
# - vectorized: no waiting. But the tile grows with the sequence until it no longer fits.
# - What is missing is a **tile**: a block of queries, so that a key serves many, and a block of
#   keys, so that the tile stays as it is however long the sequence. That is FlashAttention:
#   notebook 04.
