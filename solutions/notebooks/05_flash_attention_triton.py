# course: exercise
# %% [markdown]
# # 05 · FlashAttention in Triton
#
# **What does each of a thousand programs compute, so that none has to wait for another?**
#
# About 3 hours · 8 exercises · 17 points. No GPU needed: kernels here are small enough for the
# interpreter.
#
# In notebook 04 you took attention apart. Now every piece becomes part of a kernel: the forward
# pass, its causal schedule, and the backward pass. Before: notebooks 02 and 04. After: homework 3.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.
#
# "The kernel died" (Jupyter means Python, not your Triton kernel): something was written outside a
# tensor. Restart, and run all cells above.

# %%
import math

import pandas as pd
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from course.bench.memory import peak_bytes
from course.bench.plots import memory_chart
from course.notebook import DEVICE, check
from course.oracle.attention import attention
from course.pictures import attention as pictures

# %% [markdown]
# ## 1. From a loop to a grid
#
# In notebook 04 each tile of queries was computed by itself: its own `m`, `l`, `acc`, its own walk
# along the keys. No tile of queries needs anything from another. So **one program takes one tile of
# queries**, of one batch element (or head, which is the same to us), and does the whole walk.

# %%
pictures.grid()

# %% [markdown]
# What changes against notebook 04?
#
# - The outer loop is gone. `tl.program_id(0)` says which tile of queries, `tl.program_id(1)` which
#   batch element.
# - `m` and `l` have shape `(BLOCK_Q,)`, and `m[:, None]` stretches them.
# - Tiles have a fixed size. Where the sequence ends inside a tile, a mask must say so.
# - `tl.dot` multiplies two tiles. On recent GPUs it rounds fp32 inputs to TF32 (10 bits of
#   fraction) unless told `input_precision="ieee"`. We tell it, so that results can be compared.

# %% [markdown]
# **A word on `exp2`.** GPUs have an instruction for $2^x$, not for $e^x$: an `exp` is a
# multiplication and an `exp2`. Attention already multiplies its scores by $1/\sqrt d$, so let that
# one multiplication do both:
#
# $$ e^{s} = 2^{\,s \log_2 e}, \qquad \text{scores} \cdot \frac{\log_2 e}{\sqrt d} $$
#
# From here on `s` and `m` are in units of $\log_2$. Sums of exponentials do not notice. Only the
# log-sum-exp must be turned back at the end: $L = (m + \log_2 l) \cdot \ln 2$.

# %%
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

# %% [markdown]
# ### nb05-1 The online step, in Triton &nbsp; · &nbsp; 10 min
#
# $$ m' = \max(m, \max_j s_j), \quad l' = l\,2^{m - m'} + \sum_j 2^{s_j - m'}, \quad
#    \text{acc}' = \text{acc}\,2^{m - m'} + \sum_j 2^{s_j - m'} v_j $$
#
# **Write** the body of `online_step`. `s: (BLOCK_Q, BLOCK_K)` is already scaled by $\log_2 e$. A
# `@triton.jit` function may be called from a kernel like any function; it is compiled into it.
# You need `tl.max(s, 1)`, `tl.sum(p, 1)`, `tl.exp2` and `tl.dot(p, v, input_precision="ieee")`.


# %% exercise="nb05-1" points=2
@triton.jit
def online_step(
    m,  # (BLOCK_Q,)
    l,  # (BLOCK_Q,)
    acc,  # (BLOCK_Q, D)
    s,  # (BLOCK_Q, BLOCK_K): scores times log2(e)
    v,  # (BLOCK_K, D)
):
    # about 5 lines
    ### BEGIN SOLUTION nb05-1 one online step in Triton
    m_new = tl.maximum(m, tl.max(s, 1))
    p = tl.exp2(s - m_new[:, None])
    shrink = tl.exp2(m - m_new)
    l = l * shrink + tl.sum(p, 1)
    acc = acc * shrink[:, None] + tl.dot(p, v, input_precision="ieee")
    ### END SOLUTION
    return m_new, l, acc


# %% check="nb05-1"
check("nb05-1", online_step)

# %% [markdown]
# <details><summary>m is right, l is wrong after the first tile</summary>
#
# Base 2 everywhere? An `exp` left over from notebook 04 is too large by a power of 1.44.
# </details>
#
# <details><summary>acc has the wrong values, or a shape that does not fit</summary>
#
# `shrink` is one number per row: `shrink[:, None]` stretches it along the columns.
# </details>

# %% [markdown]
# <details><summary>I changed online_step, and a kernel further down does as before</summary>
#
# On a GPU a kernel keeps the code it was compiled with. Run the cell of that *kernel* again, too.
# </details>

# %% [markdown]
# **Checkpoint.** With `s` in base 2, which of `m`, `l`, `acc` hold other numbers than in notebook
# 04?
#
# <details><summary>Answer</summary>
#
# Only `m`, which is $\log_2 e$ times as large. $2^{(s_j - m) \log_2 e} = e^{s_j - m}$, so `l` and
# `acc` are the same.
# </details>

# %% [markdown]
# ## 2. The forward kernel, with masked pointers
#
# These two are given. `(batch, seq, D)` is read as one long matrix of `batch * seq` rows, and
# `stop` is the row where this batch element ends. Rows from there on are read as 0, and never
# written.


# %%
@triton.jit
def load_rows(ptr, start, stop, D: tl.constexpr, BLOCK: tl.constexpr):
    rows = start + tl.arange(0, BLOCK)
    offsets = rows[:, None] * D + tl.arange(0, D)[None, :]
    return tl.load(ptr + offsets, mask=rows[:, None] < stop, other=0.0)


@triton.jit
def store_rows(ptr, tile, start, stop, D: tl.constexpr, BLOCK: tl.constexpr):
    rows = start + tl.arange(0, BLOCK)
    offsets = rows[:, None] * D + tl.arange(0, D)[None, :]
    tl.store(ptr + offsets, tile, mask=rows[:, None] < stop)


# %% [markdown]
# A trap is waiting. A key beyond the end is read as a row of zeros. Its score is $q \cdot 0 = 0$,
# and $2^{0 - m}$ is not 0: it would take part in the softmax, and take weight from real keys. Worst
# when all real scores are very negative: then the padding gets *all* the weight.
#
# The identity of a maximum, and of a sum of exponentials, is not 0. It is $-\infty$.

# %% [markdown]
# ### nb05-2 The forward kernel &nbsp; · &nbsp; 25 min
#
# **Write** the two missing parts of `forward_kernel`, for any `seq`. First the walk over the keys:
#
# $$ s = q\,k^\top \cdot \text{scale} \cdot \log_2 e, \qquad
#    s = -\infty \text{ where key} \ge \text{seq} $$
#
# then `online_step`. `k_start` counts within the sequence, `first + k_start` in the long matrix.
# Second, finish: store $O = \text{acc} / l$ and $L = (m + \log_2 l) \ln 2$, for rows below `stop`
# only. `lse_ptr` has one number per row of the long matrix.


# %% exercise="nb05-2" points=3
@triton.jit
def forward_kernel(
    q_ptr,  # (batch, seq, D), contiguous, as are k, v and o
    k_ptr,
    v_ptr,
    o_ptr,
    lse_ptr,  # (batch, seq)
    seq,
    scale,  # 1 / sqrt(D)
    D: tl.constexpr,  # a power of two
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    first = tl.program_id(1) * seq
    stop = first + seq
    q_start = first + tl.program_id(0) * BLOCK_Q
    q = load_rows(q_ptr, q_start, stop, D, BLOCK_Q)
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros((BLOCK_Q, D), tl.float32)
    for k_start in range(0, seq, BLOCK_K):
        # about 6 lines
        ### BEGIN SOLUTION nb05-2 one tile of keys
        k = load_rows(k_ptr, first + k_start, stop, D, BLOCK_K)
        v = load_rows(v_ptr, first + k_start, stop, D, BLOCK_K)
        s = tl.dot(q, k.T, input_precision="ieee") * (scale * LOG2E)
        keys = k_start + tl.arange(0, BLOCK_K)
        s = tl.where(keys[None, :] < seq, s, float("-inf"))
        m, l, acc = online_step(m, l, acc, s, v)
        ### END SOLUTION
    # about 3 lines
    ### BEGIN SOLUTION nb05-2 store O and L
    store_rows(o_ptr, acc / l[:, None], q_start, stop, D, BLOCK_Q)
    rows = q_start + tl.arange(0, BLOCK_Q)
    tl.store(lse_ptr + rows, (m + tl.log2(l)) * LN2, mask=rows < stop)
    ### END SOLUTION


# %% check="nb05-2"
check("nb05-2", forward_kernel)

# %% [markdown]
# <details><summary>Lengths that fit are right, others are wrong</summary>
#
# Keys from `seq` on must get $-\infty$, after the scaling and before the step.
# </details>
#
# <details><summary>"Elements beyond the end of L were written"</summary>
#
# The last tile has rows that do not exist. `store_rows` knows `stop`; your own `tl.store` of L
# needs `mask=rows < stop`.
# </details>

# %% [markdown]
# <details><summary>Batch element 0 is right, the next ones are wrong</summary>
#
# `k_start` starts at 0 for everybody. Where do this batch element's keys lie in the long matrix?
# </details>

# %% [markdown]
# <details><summary>O is right, L is wrong</summary>
#
# `m` and `log2(l)` are both in units of $\log_2$. Multiply their *sum* by $\ln 2$.
# </details>
#
# <details><summary>O has NaN in rows that exist</summary>
#
# $-\infty - (-\infty)$: is a whole row of the tile masked? The mask must compare keys with `seq`,
# not with `stop` and not with rows of the long matrix.
# </details>

# %%
Q, K, V = torch.randn(3, 2, 100, 32, device=DEVICE).unbind()
O, L = torch.empty_like(Q), torch.empty(2, 100, device=DEVICE)
grid = (triton.cdiv(100, 32), 2)
forward_kernel[grid](Q, K, V, O, L, 100, 1 / math.sqrt(32), D=32, BLOCK_Q=32, BLOCK_K=32)
print("largest difference to PyTorch", (O - attention(Q, K, V)).abs().max().item())
print("programs", grid, "- allocated: O and L, nothing else")

# %% [markdown]
# **Checkpoint.** That is FlashAttention. Why does no program need to talk to another? And where do
# `m`, `l`, `acc` live?
#
# <details><summary>Answers</summary>
#
# A row of the softmax belongs to one query, and a query belongs to one program. The state lives in
# registers; it never sees the GPU's memory. `acc` is why `BLOCK_Q * D` cannot be arbitrarily large.
# </details>

# %% [markdown]
# ## 3. Tensor descriptors
#
# Half of the code above computes addresses and masks. A **tensor descriptor** knows base, shape and
# strides of a tensor, and the shape of a block. Then a load says *which block*, and the edges are
# handled: outside the shape reads give 0 and writes are dropped. On Hopper and newer GPUs this is
# also faster: one thread asks a copy engine (TMA) for the whole tile, and nobody computes
# addresses.
#
# Which shape should a block have? If the tensor were one long matrix, the edge between two batch
# elements would be no edge at all. A block `(1, BLOCK, d)` of `(batch, seq, d)` knows better.

# %%
pictures.batch_edges()

# %% [markdown]
# A descriptor is made on the **host** and passed to the kernel:
#
# `TensorDescriptor.from_tensor(x, [1, BLOCK, d])`, then in the kernel `desc.load([batch, start,
# 0])` and `desc.store([batch, start, 0], tile)`, with tiles of shape `(1, BLOCK, d)`.
#
# Rules: the last dimension is contiguous, the other strides and the address are multiples of 16
# bytes. A tensor that breaks them goes through pointers.

# %% [markdown]
# Or it is made on the **device**, by the program itself. On a GPU that needs a little scratch
# memory, and `triton.set_allocator` says where from. Here every row is doubled, 4 rows at a time:


# %%
@triton.jit
def double_kernel(x_ptr, y_ptr, n, D: tl.constexpr, BLOCK: tl.constexpr):
    x = tl.make_tensor_descriptor(x_ptr, [n, D], [D, 1], [BLOCK, D])
    y = tl.make_tensor_descriptor(y_ptr, [n, D], [D, 1], [BLOCK, D])
    start = tl.program_id(0) * BLOCK
    y.store([start, 0], 2 * x.load([start, 0]))


triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device=DEVICE))
x = torch.randn(10, 16, device=DEVICE)
y = torch.empty_like(x)
double_kernel[(3,)](x, y, 10, D=16, BLOCK=4)
print(torch.equal(y, 2 * x), "- and no mask in sight, though 10 is not a multiple of 4")

# %% [markdown]
# ### nb05-3 Descriptors for attention &nbsp; · &nbsp; 15 min
#
# **Write** three small functions:
#
# - `describe(x, BLOCK)`, in Python: a host-side descriptor of `x: (batch, seq, d)` for tiles of
#   `BLOCK` rows of one batch element;
# - `load_tile(desc, batch, start)`, in Triton → `(BLOCK, d)`: `tile.reshape(a, b)` drops the
#   dimension of size 1, and `tile.shape[1]` is `BLOCK`;
# - `store_tile(desc, batch, start, tile)`, in Triton, the way back: `tile: (BLOCK, d)`.


# %% exercise="nb05-3" points=2
def describe(x: torch.Tensor, BLOCK: int) -> TensorDescriptor:
    # about 1 line
    ### BEGIN SOLUTION nb05-3 a descriptor of one batch element's tiles
    return TensorDescriptor.from_tensor(x, [1, BLOCK, x.shape[-1]])
    ### END SOLUTION


@triton.jit
def load_tile(desc, batch, start):
    # about 2 lines
    ### BEGIN SOLUTION nb05-3 load a tile
    tile = desc.load([batch, start, 0])
    return tile.reshape(tile.shape[1], tile.shape[2])
    ### END SOLUTION


@triton.jit
def store_tile(desc, batch, start, tile):
    # about 1 line
    ### BEGIN SOLUTION nb05-3 store a tile
    desc.store([batch, start, 0], tile.reshape(1, tile.shape[0], tile.shape[1]))
    ### END SOLUTION


# %% check="nb05-3"
check("nb05-3", describe, load_tile, store_tile)

# %% [markdown]
# <details><summary>"desc.store takes a tile of the block's shape"</summary>
#
# Blocks are `(1, BLOCK, d)`, tiles are `(BLOCK, d)`: give it back the dimension of 1, with `reshape`.
# </details>

# %% [markdown]
# <details><summary>"The block of the descriptor ..."</summary>
#
# One number per dimension of the tensor: one batch element, `BLOCK` rows, all `d` columns.
# </details>
#
# <details><summary>Batch element 0 is right, the others are not</summary>
#
# Positions are counted per dimension: `[batch, start, 0]`, no multiplication with `seq` anywhere.
# </details>

# %% [markdown]
# **Checkpoint.** A descriptor reads 0 beyond the end. Why could you still not drop the $-\infty$
# mask from `forward_kernel`, if it used descriptors?
#
# <details><summary>Answer</summary>
#
# Zeros are what made the trap of section 2: a key of zeros has score 0, not $-\infty$. Descriptors
# take care of memory, not of mathematics.
# </details>

# %% [markdown]
# ## 4. Causal: whom to visit, and who starts first
#
# From notebook 04: keys below `boundary` are visible to all queries of the tile, and keys from
# `q_start + BLOCK_Q` on to none. That makes two loops: a long one that compares nothing, a short
# one along the diagonal. And a pleasant surprise: with as many keys as queries, `key <= query` also
# hides keys beyond the end from every query that exists. The mask of section 2 comes for free.
#
# Something else turns up. The last tile of queries has the longest walk. Programs start in order,
# so that one would start last, and the whole GPU would wait for it. Start it first. In the picture,
# 12 tiles are shared among 4 SMs, and time is counted in key tiles visited.

# %%
pictures.schedule()

# %% [markdown]
# ### nb05-4 The causal kernel &nbsp; · &nbsp; 20 min
#
# **Write** three parts of `causal_kernel`; `q, k, v, o` are descriptors now.
#
# - `q_start`: program 0 takes the *last* tile of queries. `tl.num_programs(0)` says how many there
#   are.
# - The loop over full tiles, no comparison; add 1 to `full` for each.
# - The loop over diagonal tiles, $-\infty$ where key > query; add 1 to `diagonal` for each.
#
# How many keys does the first query of the tile see? The whole tiles among them are the full ones:
# $\text{boundary} = \lfloor (\text{q\_start} + 1) / \text{BLOCK\_K} \rfloor \cdot \text{BLOCK\_K}$.
# The counts go to `visits`, so that the check can see what your loops did.


# %% exercise="nb05-4" points=3
@triton.jit
def causal_kernel(
    q,  # descriptors of (batch, seq, D)
    k,
    v,
    o,
    lse_ptr,  # (batch, seq)
    visits_ptr,  # (batch, programs, 2): full and diagonal tiles visited
    seq,
    scale,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    batch = tl.program_id(1)
    # about 1 line
    ### BEGIN SOLUTION nb05-4 the heaviest tile first
    q_start = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    ### END SOLUTION
    rows = q_start + tl.arange(0, BLOCK_Q)
    q_tile = load_tile(q, batch, q_start)
    m = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    acc = tl.zeros(q_tile.shape, tl.float32)
    full = 0
    diagonal = 0
    # about 13 lines
    ### BEGIN SOLUTION nb05-4 full tiles, then diagonal tiles
    boundary = (q_start + 1) // BLOCK_K * BLOCK_K
    for k_start in range(0, boundary, BLOCK_K):
        s = tl.dot(q_tile, load_tile(k, batch, k_start).T, input_precision="ieee")
        s = s * (scale * LOG2E)
        m, l, acc = online_step(m, l, acc, s, load_tile(v, batch, k_start))
        full += 1
    for k_start in range(boundary, q_start + BLOCK_Q, BLOCK_K):
        s = tl.dot(q_tile, load_tile(k, batch, k_start).T, input_precision="ieee")
        keys = k_start + tl.arange(0, BLOCK_K)
        s = tl.where(keys[None, :] <= rows[:, None], s * (scale * LOG2E), float("-inf"))
        m, l, acc = online_step(m, l, acc, s, load_tile(v, batch, k_start))
        diagonal += 1
    ### END SOLUTION
    store_tile(o, batch, q_start, acc / l[:, None])
    tl.store(lse_ptr + batch * seq + rows, (m + tl.log2(l)) * LN2, mask=rows < seq)
    visits = visits_ptr + 2 * (batch * tl.num_programs(0) + tl.program_id(0))
    tl.store(visits, full)
    tl.store(visits + 1, diagonal)


# %% check="nb05-4"
check("nb05-4", causal_kernel)

# %% [markdown]
# <details><summary>The numbers are right, but too many tiles were visited</summary>
#
# A fully masked tile changes nothing, and costs as much as any other. Where does the second loop
# end?
# </details>
#
# <details><summary>Right for square tiles only</summary>
#
# With `BLOCK_K > BLOCK_Q` a tile may begin below `q_start` and still cross the diagonal. Round down
# to whole tiles of *keys*.
# </details>

# %% [markdown]
# <details><summary>"Program 0 took the lightest tile"</summary>
#
# The order of tiles is reversed by arithmetic on the program id, not by the grid.
# </details>


# %%
def launch_forward(q, k, v, BLOCK=32):
    """Causal attention of (batch, seq, d), seq_k = seq_q: O and L."""
    batch, seq, d = q.shape
    o, lse = torch.empty_like(q), torch.empty(batch, seq, device=q.device)
    grid = (triton.cdiv(seq, BLOCK), batch)
    visits = torch.empty(batch, grid[0], 2, dtype=torch.int32, device=q.device)
    tensors = [describe(t, BLOCK) for t in (q, k, v, o)]
    causal_kernel[grid](*tensors, lse, visits, seq, 1 / math.sqrt(d), BLOCK, BLOCK)
    return o, lse, visits


O, L, visits = launch_forward(Q, K, V)
print("full and diagonal tiles, in the order of program ids:", visits[0].tolist())
print("largest difference to PyTorch", (O - attention(Q, K, V, True)).abs().max().item())

# %% [markdown]
# **Checkpoint.** For a long sequence, which share of the tiles is visited, and which share of the
# visited ones is compared? Why two loops and not one loop with an `if`?
#
# <details><summary>Answers</summary>
#
# Just over half is visited; of $n(n+1)/2$ tiles only $n$ are compared. An `if` inside the loop is
# asked anew for every tile, and a loop with branches is harder for the compiler to overlap with the
# loads of the next tile.
# </details>

# %% [markdown]
# ## 5. The backward pass: two walks
#
# A tile of $dS$ adds to $dQ$ of its row, and to $dK$ and $dV$ of its column. If a program walked
# along a row and added to everybody's $dK$, many programs would add to the same memory at once.
# That needs *atomic* additions: slow where they collide, and in no fixed order, so that the last
# bits of the gradient differ from run to run.
#
# The other way: two kernels. One walks along rows and owns $dQ$. One walks down columns and owns
# $dK$, $dV$. Nobody adds to anybody else's. The price: both recompute $P$, 7 products instead of 5.

# %%
pictures.backward_owners()

# %% [markdown]
# Both need $D = \text{rowsum}(dO \circ O)$, and neither should compute it for every tile. So there
# is a third, tiny kernel, which runs first.
#
# ### nb05-5 The delta kernel &nbsp; · &nbsp; 10 min
#
# **Write** the rest of `delta_kernel`: one program a tile of rows,
#
# $$ D_i = \sum_c O_{ic}\, dO_{ic} $$
#
# stored to `delta_ptr: (batch, seq)`, for rows that exist.


# %% exercise="nb05-5" points=1
@triton.jit
def delta_kernel(
    o,  # descriptors of (batch, seq, D)
    do,
    delta_ptr,  # (batch, seq)
    seq,
    BLOCK: tl.constexpr,
):
    batch = tl.program_id(1)
    start = tl.program_id(0) * BLOCK
    # about 3 lines
    ### BEGIN SOLUTION nb05-5 D, one number a row
    delta = tl.sum(load_tile(o, batch, start) * load_tile(do, batch, start), 1)
    rows = start + tl.arange(0, BLOCK)
    tl.store(delta_ptr + batch * seq + rows, delta, mask=rows < seq)
    ### END SOLUTION


# %% check="nb05-5"
check("nb05-5", delta_kernel)

# %% [markdown]
# <details><summary>"Elements beyond the end of delta were written"</summary>
#
# The descriptors know where the sequence ends. `delta_ptr` is a plain pointer: the store needs a
# mask, `rows < seq`. Without it, rows beyond the end are those of the next batch element.
# </details>
#
# <details><summary>The first rows of the next batch element are wrong</summary>
#
# The mask compares positions in this sequence, `rows < seq`; the address adds `batch * seq`.
# </details>

# %% [markdown]
# ### nb05-6 The tile that both kernels share &nbsp; · &nbsp; 10 min
#
# $$ P = 2^{\,(s - L)\log_2 e} \text{ with } s = \frac{q k^\top}{\sqrt d}, \quad
#    P = 0 \text{ where key} > \text{query}, \qquad
#    dP = dO\,v^\top, \qquad dS = P \circ (dP - D) $$
#
# **Write** the body of `gradient_tile`. `q, do: (BLOCK_Q, D)`, `k, v: (BLOCK_K, D)`, `lse, delta,
# rows: (BLOCK_Q,)`, `keys: (BLOCK_K,)` → `p` and `ds`, both `(BLOCK_Q, BLOCK_K)`. `lse` is in
# natural units, as the forward kernel stored it. `ds` has no $1/\sqrt d$ yet; that comes at the
# very end.


# %% exercise="nb05-6" points=2
@triton.jit
def gradient_tile(q, k, v, do, lse, delta, rows, keys, scale):
    # about 5 lines
    ### BEGIN SOLUTION nb05-6 P and dS of one tile
    s = tl.dot(q, k.T, input_precision="ieee") * scale
    p = tl.exp2((s - lse[:, None]) * LOG2E)
    p = tl.where(keys[None, :] <= rows[:, None], p, 0.0)
    dp = tl.dot(do, v.T, input_precision="ieee")
    ds = p * (dp - delta[:, None])
    ### END SOLUTION
    return p, ds


# %% check="nb05-6"
check("nb05-6", gradient_tile)

# %% [markdown]
# <details><summary>p is right without a mask, wrong with one</summary>
#
# The score of a hidden pair never went into `lse`, so $2^{\ldots}$ of it may be anything. Replace
# it.
# </details>
#
# <details><summary>p is off by a power</summary>
#
# `scale * LOG2E` scales the scores to base 2, and then `lse` must be in base 2 as well. Or subtract
# first, and multiply the difference by `LOG2E`.
# </details>

# %% [markdown]
# With that, the dQ kernel is short. It is given: read it with care, the next exercise is its mirror
# image. A program owns a tile of queries and walks along the keys up to the diagonal.


# %%
@triton.jit
def dq_kernel(q, k, v, do, dq, lse_ptr, delta_ptr, seq, scale, BLOCK: tl.constexpr):
    batch, start = tl.program_id(1), tl.program_id(0) * BLOCK
    rows = start + tl.arange(0, BLOCK)
    q_tile, do_tile = load_tile(q, batch, start), load_tile(do, batch, start)
    lse = tl.load(lse_ptr + batch * seq + rows, mask=rows < seq, other=0.0)
    delta = tl.load(delta_ptr + batch * seq + rows, mask=rows < seq, other=0.0)
    total = tl.zeros(q_tile.shape, tl.float32)
    for k_start in range(0, start + BLOCK, BLOCK):
        keys = k_start + tl.arange(0, BLOCK)
        k_tile, v_tile = load_tile(k, batch, k_start), load_tile(v, batch, k_start)
        _, ds = gradient_tile(q_tile, k_tile, v_tile, do_tile, lse, delta, rows, keys, scale)
        total += tl.dot(ds, k_tile, input_precision="ieee")
    store_tile(dq, batch, start, total * scale)


# %% [markdown]
# ### nb05-7 The dK and dV kernel &nbsp; · &nbsp; 20 min
#
# A program owns a tile of *keys* and walks down the tiles of *queries*:
#
# $$ dV = \sum_{\text{query tiles}} P^\top dO, \qquad
#    dK = \frac{1}{\sqrt d} \sum_{\text{query tiles}} dS^\top q $$
#
# **Write** the loop of `dkdv_kernel`. Which is the first tile of queries that sees a key of this
# tile? Tiles are square. In the loop: load `q` and `do`, and `lse` and `delta` of these rows
# (masked), call `gradient_tile`, and add to `dv_total` and `dk_total`. `p.T` is the transpose.


# %% exercise="nb05-7" points=2
@triton.jit
def dkdv_kernel(q, k, v, do, dk, dv, lse_ptr, delta_ptr, seq, scale, BLOCK: tl.constexpr):
    batch, start = tl.program_id(1), tl.program_id(0) * BLOCK
    keys = start + tl.arange(0, BLOCK)
    k_tile, v_tile = load_tile(k, batch, start), load_tile(v, batch, start)
    dk_total = tl.zeros(k_tile.shape, tl.float32)
    dv_total = tl.zeros(k_tile.shape, tl.float32)
    # about 8 lines
    ### BEGIN SOLUTION nb05-7 walk down the tiles of queries
    for q_start in range(start, seq, BLOCK):
        rows = q_start + tl.arange(0, BLOCK)
        q_tile, do_tile = load_tile(q, batch, q_start), load_tile(do, batch, q_start)
        lse = tl.load(lse_ptr + batch * seq + rows, mask=rows < seq, other=0.0)
        delta = tl.load(delta_ptr + batch * seq + rows, mask=rows < seq, other=0.0)
        p, ds = gradient_tile(q_tile, k_tile, v_tile, do_tile, lse, delta, rows, keys, scale)
        dv_total += tl.dot(p.T, do_tile, input_precision="ieee")
        dk_total += tl.dot(ds.T, q_tile, input_precision="ieee")
    ### END SOLUTION
    store_tile(dk, batch, start, dk_total * scale)
    store_tile(dv, batch, start, dv_total)


# %% check="nb05-7"
check("nb05-7", dkdv_kernel)

# %% [markdown]
# <details><summary>dV is right, dK is wrong</summary>
#
# $dK$ collects $dS^\top$ times *queries*. The factor $1/\sqrt d$ is already in the last line.
# </details>
#
# <details><summary>Only lengths that fit are right</summary>
#
# `lse` and `delta` are plain pointers: without a mask, rows beyond the end are those of the next
# batch element, or whatever lies there. With `other=0.0` they are harmless, because `q` and `do`
# are 0 there.
# </details>

# %% [markdown]
# <details><summary>"The numbers are right, but the first 16 queries were read"</summary>
#
# A query sees no later key, so tiles of queries above the diagonal give zeros. Start at your own
# tile.
# </details>
#
# <details><summary>The last tile of keys is right, the others are not</summary>
#
# All later queries see this tile, too. The loop starts at the diagonal and runs to the end of the
# sequence.
# </details>


# %%
def launch_backward(q, k, v, o, lse, do, BLOCK=32):
    """dQ, dK, dV of causal attention; do as contiguous as q."""
    batch, seq, d = q.shape
    grid, scale = (triton.cdiv(seq, BLOCK), batch), 1 / math.sqrt(d)
    delta, gradients = torch.empty_like(lse), [torch.empty_like(t) for t in (q, k, v)]
    dq, dk, dv = (describe(t, BLOCK) for t in gradients)
    q, k, v, o, do = (describe(t, BLOCK) for t in (q, k, v, o, do))
    delta_kernel[grid](o, do, delta, seq, BLOCK)
    dq_kernel[grid](q, k, v, do, dq, lse, delta, seq, scale, BLOCK)
    dkdv_kernel[grid](q, k, v, do, dk, dv, lse, delta, seq, scale, BLOCK)
    return tuple(gradients)


# %% [markdown]
# **Checkpoint.** What would go wrong if `dq_kernel` also added to $dK$, with plain `+=` on memory?
#
# <details><summary>Answer</summary>
#
# `+=` is a load, an addition and a store. Two programs may both load before either stores, and one
# contribution is lost: a *race*. The interpreter runs programs one after the other and would not
# show it. A GPU would, sometimes. This is why "it passes here" cannot prove freedom from races.
# </details>

# %% [markdown]
# ## 6. One function that PyTorch can differentiate
#
# PyTorch cannot look into a kernel. `torch.autograd.Function` ties the forward and the backward
# launch together; `ctx` carries what the backward needs from one to the other.
#
# ### nb05-8 The autograd function &nbsp; · &nbsp; 10 min
#
# **Write** `forward` and `backward` of `CausalAttention`, with `launch_forward` and
# `launch_backward`. Save exactly five tensors. And mind `o.sum().backward()`: it hands you a `dO`
# whose elements all share one place in memory (stride 0). A descriptor cannot describe that.


# %% exercise="nb05-8" points=2
class CausalAttention(torch.autograd.Function):
    """``CausalAttention.apply(q, k, v)``: (batch, seq, d) each, seq the same for all."""

    @staticmethod
    def forward(ctx, q, k, v):
        # about 3 lines
        ### BEGIN SOLUTION nb05-8 launch, and save what the backward needs
        o, lse, _ = launch_forward(q, k, v)
        ctx.save_for_backward(q, k, v, o, lse)
        return o
        ### END SOLUTION

    @staticmethod
    def backward(ctx, do):
        # about 2 lines
        ### BEGIN SOLUTION nb05-8 the gradients
        q, k, v, o, lse = ctx.saved_tensors
        return launch_backward(q, k, v, o, lse, do.contiguous())
        ### END SOLUTION


# %% check="nb05-8"
check("nb05-8", CausalAttention)

# %% [markdown]
# <details><summary>"Last dimension must be contiguous"</summary>
#
# That is the stride-0 `dO`. `do.contiguous()` makes a real copy of it, or does nothing at all.
# </details>
#
# <details><summary>More is saved than expected</summary>
#
# The counts of section 4 are for looking at. The backward needs $Q, K, V, O$ and $L$.
# </details>

# %% [markdown]
# **Checkpoint.** How many bytes does `CausalAttention` keep for the backward, per token and head,
# with d = 64 in fp32? How many of them would plain attention not keep?
#
# <details><summary>Answer</summary>
#
# $Q, K, V, O$ and $L$: $4 \cdot (4 \cdot 64 + 1) = 1028$ bytes. $Q$, $K$ and $V$ any attention
# keeps, and $O$ is the next layer's input anyway. Only $L$ is extra: 4 bytes, however many tokens
# there are.
# </details>

# %% [markdown]
# ## 7. What it buys
#
# **Memory**, forward and backward together, measured on this machine. What a kernel keeps in
# registers is not memory, so the figures hardly differ from machine to machine.


# %%
def train_step(function, seq):
    q, k, v = (torch.randn(1, seq, 32, device=DEVICE, requires_grad=True) for _ in range(3))
    return peak_bytes(lambda: function(q, k, v).sum().backward(), q, k, v) / 2**20


WAYS = {"PyTorch": lambda q, k, v: attention(q, k, v, True), "your kernels": CausalAttention.apply}
rows = [
    {"N": seq, "peak": train_step(function, seq), "way": way}
    for way, function in WAYS.items()
    for seq in (128, 256, 512)
]
memory_chart(pd.DataFrame(rows), "N", "peak", "way", "peak of forward + backward, one head, d = 32")

# %% [markdown]
# **Time** can only be measured on a GPU. Here is what the program of homework 3 measured with the
# solution of the full module, and what others achieve: PyTorch's own attention, on the same
# machine. In the interpreter your kernels need seconds; that says nothing about a GPU. On a GPU,
# correct is only the beginning: tile sizes, warps and pipeline stages decide, and the kernels of
# this notebook use none of that yet.

# %%
pictures.measured_attention("attention", "forward_ms", "forward, fp32, batch 8, d = 64, causal")

# %%
pictures.measured_attention(
    "attention_peers", "total_ms", "forward + backward, bf16, 16 heads, d = 64, causal"
)

# %% [markdown]
# Two questions to ask the charts (`ours` and `flash_triton` are the full module, `naive` is plain
# attention).
#
# <details><summary>Which lines lie close together, and which far above them?</summary>
#
# From N = 4,096 on ours is close to cuDNN's FlashAttention: ahead at 4,096, about even at 8,192, 7%
# behind at 16,384. naive takes 15 to 18 times as long as ours there: it moves matrices of N × N. In
# the first chart, fp32, ours takes about half of PyTorch's time from 4,096 on.
# </details>

# %% [markdown]
# <details><summary>At N = 1,024, why is ours the slowest of all?</summary>
#
# Forward and backward take 0.26 ms when each is measured alone, and 0.74 ms as one step; 4,096
# tokens take 0.35 ms. So it is not the kernels: most likely the GPU waited for Python, which has
# four of them to launch and autograd to run. Distrust times this short.
# </details>

# %% [markdown]
# **Checkpoint.** What have you *proven* today, if you worked without a GPU? What is still unproven?
#
# <details><summary>Answer</summary>
#
# Proven: numbers, masks, gradients, which tiles are visited, how much memory is allocated, and that
# nothing outside the tensors was touched. Unproven: speed, and freedom from races. The interpreter
# runs programs one by one and has no clock worth reading. The same cells, run on a GPU, will tell.
# </details>

# %% [markdown]
# ## On to homework 3
#
# `flash_attention/flash_forward.py` wants the same, for any input:
#
# - **hw3-1**, **hw3-2**: the forward kernel and its causal schedule (nb05-1 to nb05-4);
# - **hw3-3**: autograd, through the `attention_backward_impl` of homework 2 (nb05-8);
# - **hw3-4**: any length, 4-D inputs, strides; `seq_q` may differ from `seq_k`;
# - **hw3-5**: $O(N)$ memory, and `torch.compile`; **hw3-6**: the benchmark;
# - bonus **hw3-7**, **hw3-8**, **hw3-9**: the kernels of section 5 (nb05-5 to nb05-7).

# %% [markdown]
# The sheet is `homework/03_flash_attention_triton.md`; `course check hw3-1` says how you are doing.
#
# To read on: FlashAttention (Dao et al. 2022), FlashAttention-2 (Dao 2023), FlashAttention-3 (Shah
# et al. 2024), and in this repository `docs/notes/flash_attention.md`.
