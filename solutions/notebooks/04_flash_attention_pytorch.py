# course: exercise
# %% [markdown]
# # 04 · FlashAttention in PyTorch
#
# **How can attention be exact, and never hold its score matrix?**
#
# About 2 hours and a half · 8 exercises · 15 points. No GPU needed.
#
# With 16,384 tokens that matrix has 268 million numbers, for every head. You will take it apart
# into tiles, forward and backward, in plain PyTorch, where you can print everything. Nothing here
# is fast: the point is the algorithm. In notebook 05 the same pieces become Triton kernels. Before:
# notebook 01 (online softmax). After: homework 2, where you write the full module.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.

# %%
import math

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from course.bench.memory import peak_bytes
from course.bench.plots import memory_chart
from course.notebook import check
from course.oracle.attention import attention
from course.pictures import attention as pictures

# %% [markdown]
# ## 1. The matrix nobody asked for
#
# Each of $N$ queries looks at each of $N$ keys, and takes a weighted mean of the values:
#
# $$ S = \frac{Q K^\top}{\sqrt d}, \qquad P = \text{softmax}(S) \text{ by rows}, \qquad O = P V $$
#
# Inputs and output are thin: $N \times d$. What lies between, $S$ and $P$, is $N \times N$.
# Nobody asked for these two. The picture is to scale.

# %%
pictures.to_scale(seq=2048, d=64)


# %%
def plain_attention(Q, K, V):
    S = Q @ K.T / math.sqrt(Q.shape[-1])
    P = torch.softmax(S, dim=-1)
    return P @ V


for n in (1024, 4096, 16384):
    thin, square = 4 * n * 64 * 4 / 2**20, 2 * n * n * 4 / 2**20  # MiB in fp32
    print(f"N = {n:6,}:  Q, K, V, O {thin:4.0f} MiB   S, P {square:6,.0f} MiB")

# %% [markdown]
# Twice the tokens, four times the matrix. And it hurts twice:
#
# - **room**: the backward pass needs $P$ again, so training keeps it for every head of every layer;
# - **time**: $S$ is written to memory, read, $P$ is written, read again. The arithmetic units wait.
#
# A GPU multiplies far faster than it moves numbers to and from its memory. So the plan is:
# *compute a small tile of $S$, use it up at once, forget it.*

# %% [markdown]
# **Checkpoint.** 65,536 tokens, 32 heads, fp32. How much room does $P$ take, for a single layer?
#
# <details><summary>Answer</summary>
#
# $32 \cdot 65536^2 \cdot 4$ bytes = 512 GiB. $Q$, $K$, $V$ and $O$ together: 2 GiB (with $d = 64$).
# </details>

# %% [markdown]
# ## 2. Tiles
#
# Cut $Q$ into tiles of `BLOCK_Q` rows, $K$ and $V$ into tiles of `BLOCK_K` rows. One tile of
# queries meets one tile of keys after the other. Only the amber tile exists at any moment; what
# remains of the blue ones is the little state on the right.

# %%
pictures.tiles_walk()

# %% [markdown]
# There is one obstacle. Softmax divides by a sum over the *whole* row, and we see only a part of it
# at a time. Notebook 01 has solved that: keep the maximum so far, `m`, and the sum of exponentials
# relative to it, `l`. When the maximum grows, shrink `l`.
#
# Now a third thing travels along: `acc`, the weighted sum of values, one row of length $d$ per
# query. After any number of tiles, the promise is
#
# $$ m = \max_j s_j, \qquad l = \sum_j e^{s_j - m}, \qquad \text{acc} = \sum_j e^{s_j - m} \, v_j $$
#
# where $j$ runs over the keys seen so far.

# %% [markdown]
# ### nb04-1 One step, with an accumulator &nbsp; · &nbsp; 15 min
#
# A new tile of scores arrives, and the maximum grows from $m$ to $m'$. Everything summed so far was
# relative to $m$. To make it relative to $m'$, multiply by $e^{m - m'}$. Then add the new terms:
#
# $$ l' = l\,e^{m - m'} + \sum_{j \in \text{tile}} e^{s_j - m'}, \qquad
#    \text{acc}' = \text{acc}\,e^{m - m'} + \sum_{j \in \text{tile}} e^{s_j - m'}\, v_j $$
#
# **Write** `online_step(m, l, acc, S, V)`: `m, l: (q, 1)`, `acc: (q, d)`, scores `S: (q, k)`,
# values `V: (k, d)` → the new `m, l, acc`. No division yet.


# %% exercise="nb04-1" points=2
def online_step(
    m: Float[Tensor, "q 1"],
    l: Float[Tensor, "q 1"],
    acc: Float[Tensor, "q d"],
    S: Float[Tensor, "q k"],
    V: Float[Tensor, "k d"],
):
    # about 5 lines
    ### BEGIN SOLUTION nb04-1 one online step with an accumulator
    m_new = torch.maximum(m, S.amax(dim=-1, keepdim=True))
    P = torch.exp(S - m_new)
    shrink = torch.exp(m - m_new)
    l = l * shrink + P.sum(dim=-1, keepdim=True)
    acc = acc * shrink + P @ V
    ### END SOLUTION
    return m_new, l, acc


# %% check="nb04-1"
check("nb04-1", online_step)

# %% [markdown]
# <details><summary>The first tile is right, the second is wrong</summary>
#
# The old `l` and `acc` are relative to the old maximum. Both must shrink, by the same factor.
# </details>
#
# <details><summary>Everything is NaN or inf</summary>
#
# Subtract the *new* maximum inside every exponential. At the start `m` is $-\infty$ and that is
# fine: $e^{-\infty - m'} = 0$. What gives NaN is $-\infty - (-\infty)$: is the maximum updated
# first?
# </details>

# %% [markdown]
# <details><summary>A shape does not fit</summary>
#
# `keepdim=True` keeps `(q, 1)`, which then stretches over the columns.
# </details>

# %% [markdown]
# ### nb04-2 One row of tiles &nbsp; · &nbsp; 10 min
#
# Nothing seen yet: $m = -\infty$, $l = 0$, $\text{acc} = 0$. Take all key tiles. Then finish:
#
# $$ O = \frac{\text{acc}}{l}, \qquad L = m + \log l $$
#
# $O$ is the output of these queries. $L$ is one extra number per query, the **log-sum-exp**
# $\log \sum_j e^{s_j}$ of its scores. You will soon see what for.
#
# **Write** `row_tile(Q, K, V, BLOCK_K)`: `Q: (q, d)`, all of `K, V: (seq_k, d)` → `O: (q, d)` and
# `L: (q,)`. Use `online_step`. Scores are `Q @ K_tile.T / math.sqrt(Q.shape[-1])`. `BLOCK_K`
# divides `seq_k`.


# %% exercise="nb04-2" points=2
def row_tile(
    Q: Float[Tensor, "q d"], K: Float[Tensor, "k d"], V: Float[Tensor, "k d"], BLOCK_K: int
):
    m = torch.full_like(Q[:, :1], -math.inf)
    l = torch.zeros_like(m)
    acc = torch.zeros_like(Q)
    # about 5 lines
    ### BEGIN SOLUTION nb04-2 one row of tiles
    for k_start in range(0, len(K), BLOCK_K):
        keys = slice(k_start, k_start + BLOCK_K)
        S = Q @ K[keys].T / math.sqrt(Q.shape[-1])
        m, l, acc = online_step(m, l, acc, S, V[keys])
    return acc / l, (m + torch.log(l)).squeeze(-1)
    ### END SOLUTION


# %% check="nb04-2"
check("nb04-2", row_tile)

# %% [markdown]
# <details><summary>O is right, L is wrong</summary>
#
# $l$ is the sum *relative to* $m$: $\sum_j e^{s_j} = e^m\, l$. Take the logarithm of that.
# </details>
#
# <details><summary>O is too large by a factor that differs from row to row</summary>
#
# The division by `l` belongs at the very end, once, after the last tile.
# </details>

# %% [markdown]
# <details><summary>L has the wrong shape</summary>
#
# `m` and `l` are `(q, 1)`; `squeeze(-1)` drops the last dimension.
# </details>
#
# <details><summary>O is wrong even with a single tile, BLOCK_K = 96</summary>
#
# With one tile nothing is rescaled. Look at the scores: are they divided by $\sqrt d$?
# </details>

# %% [markdown]
# That is the whole forward pass: every tile of queries does this, independently of all others. How
# much memory does it need? `peak_bytes` adds up all tensors alive, and remembers the peak.


# %%
def tiled_attention(Q, K, V, BLOCK=64):
    return torch.cat([row_tile(q, K, V, BLOCK)[0] for q in Q.split(BLOCK)])


Q, K, V = torch.randn(3, 1024, 64).unbind()
O = tiled_attention(Q, K, V)
for function in (plain_attention, tiled_attention):
    peak = peak_bytes(lambda function=function: function(Q, K, V), Q, K, V)
    print(f"{function.__name__:16} peak {peak / 2**20:5.2f} MiB")
print("largest difference", (O - plain_attention(Q, K, V)).abs().max().item())

# %% [markdown]
# **Checkpoint.** The answer is the same up to rounding, and the matrix is gone.
# Before you go on, answer for yourself: why must `acc` shrink when the maximum grows?
# And why is there no division inside the loop?
#
# <details><summary>Answers</summary>
#
# Its terms carry the factor $e^{-m}$ with the old $m$; new terms carry $e^{-m'}$. A sum needs one
# common factor. The denominator is known only after the last tile, and one division at the end is
# cheaper than undoing and redoing it at each step (this is what FlashAttention-2 changed in the
# first version: Dao 2023, section 3.1).
# </details>

# %% [markdown]
# ## 3. Causal: half the tiles need no work
#
# A language model must not look ahead: query $i$ sees key $j$ only if $j \le i$. The rest of $S$ is
# set to $-\infty$, so that its exponentials vanish. For whole tiles this means one of three things.

# %%
pictures.causal_tiles(seq=512, BLOCK_Q=64, BLOCK_K=64)

# %% [markdown]
# - **full** tiles: every key is visible to every query. Compare nothing.
# - **diagonal** tiles: some pairs are visible. Compare `key <= query`, elementwise.
# - **skipped** tiles: nothing is visible. Do not even load them.
#
# Skipping saves almost half of the work. Not comparing in full tiles helps too: a GPU's matrix
# units are so fast that the elementwise work between the two products is a good part of the time.

# %% [markdown]
# ### nb04-3 Which tiles? &nbsp; · &nbsp; 10 min
#
# A tile of queries holds rows `q_start` to `q_start + BLOCK_Q - 1`. Key tile `t` holds keys
# `t * BLOCK_K` to `t * BLOCK_K + BLOCK_K - 1`. Tiles `0 .. full - 1` are full, tiles
# `full .. end - 1` are diagonal, tiles from `end` on are skipped.
#
# **Write** `tile_ranges(q_start, BLOCK_Q, BLOCK_K, seq_k)` → `full, end`. Two questions decide it:
# is the *last* key of the tile visible to the *first* query? Is the *first* key visible to the
# *last* query? There are only `seq_k / BLOCK_K` tiles, so neither may exceed that. `q_start` need
# not be a multiple of anything.


# %% exercise="nb04-3" points=2
def tile_ranges(q_start: int, BLOCK_Q: int, BLOCK_K: int, seq_k: int) -> tuple[int, int]:
    # about 3 lines
    ### BEGIN SOLUTION nb04-3 full, diagonal and skipped tiles
    tiles = seq_k // BLOCK_K
    full = min((q_start + 1) // BLOCK_K, tiles)
    end = min(math.ceil((q_start + BLOCK_Q) / BLOCK_K), tiles)
    ### END SOLUTION
    return full, end


# %% check="nb04-3"
check("nb04-3", tile_ranges)

# %% [markdown]
# <details><summary>Square tiles pass, others do not</summary>
#
# Draw `BLOCK_Q = 32, BLOCK_K = 64`: two query tiles share one diagonal key tile. Then
# `BLOCK_Q = 64, BLOCK_K = 32`: one query tile crosses two. Count in keys first, then in tiles.
# </details>
#
# <details><summary>One diagonal tile too few</summary>
#
# The last query is row `q_start + BLOCK_Q - 1`, so keys up to and including that one are visible:
# `q_start + BLOCK_Q` of them. A started tile is a whole tile: round up.
# </details>

# %% [markdown]
# <details><summary>One full tile too many</summary>
#
# The first query, row `q_start`, sees `q_start + 1` keys. Only tiles that fit entirely count: round
# down.
# </details>

# %%
for seq, block in ((512, 64), (8192, 64), (8192, 128)):
    ranges = [tile_ranges(q, block, block, seq) for q in range(0, seq, block)]
    visited = sum(end for _, end in ranges)
    compared = sum(end - full for full, end in ranges)
    tiles = (seq // block) ** 2
    print(f"N = {seq}, BLOCK = {block}: {visited} of {tiles} tiles visited, {compared} compared")

# %% [markdown]
# ### nb04-4 The causal row of tiles &nbsp; · &nbsp; 10 min
#
# The same loop as in nb04-2, with three changes: it stops at `end`; tiles from `full` on get
# $-\infty$ where key > query; and it has to know where its queries stand in the sequence,
# `q_start`.
#
# **Write** `causal_row_tile(Q, K, V, q_start, BLOCK_K)` → `O: (q, d)`, `L: (q,)`.


# %% exercise="nb04-4" points=2
def causal_row_tile(
    Q: Float[Tensor, "q d"],
    K: Float[Tensor, "k d"],
    V: Float[Tensor, "k d"],
    q_start: int,
    BLOCK_K: int,
):
    # about 12 lines
    ### BEGIN SOLUTION nb04-4 the causal row of tiles
    m = torch.full_like(Q[:, :1], -math.inf)
    l = torch.zeros_like(m)
    acc = torch.zeros_like(Q)
    full, end = tile_ranges(q_start, len(Q), BLOCK_K, len(K))
    queries = q_start + torch.arange(len(Q))[:, None]
    for t in range(end):
        keys = t * BLOCK_K + torch.arange(BLOCK_K)
        S = Q @ K[keys].T / math.sqrt(Q.shape[-1])
        if t >= full:
            S = S.masked_fill(keys > queries, -math.inf)
        m, l, acc = online_step(m, l, acc, S, V[keys])
    return acc / l, (m + torch.log(l)).squeeze(-1)
    ### END SOLUTION


# %% check="nb04-4"
check("nb04-4", causal_row_tile)

# %% [markdown]
# <details><summary>The first query tile is right, later ones are wrong</summary>
#
# Row 0 of the tile is query `q_start`, not query 0; column 0 is key `t * BLOCK_K`. Compare
# positions in the sequence, not in the tile.
# </details>
#
# <details><summary>The very first row is NaN</summary>
#
# Query 0 sees key 0 and nothing else. If the comparison hides the diagonal itself, nothing is left.
# </details>

# %% [markdown]
# <details><summary>"Keys were read that no query can see"</summary>
#
# The check fills keys beyond the diagonal tiles with NaN. Does your loop stop at `end`?
# </details>

# %% [markdown]
# **Checkpoint.** You have the complete causal forward pass of FlashAttention-2.
# How many tiles of an $n \times n$ grid of tiles are visited? How many are compared?
#
# <details><summary>Answers</summary>
#
# $n(n+1)/2$ visited, just over half. $n$ compared: their share shrinks as $2/(n+1)$.
# </details>

# %% [markdown]
# ## 4. One number per row is enough
#
# Training needs gradients, and they need $P$. Keeping it would undo everything. So the backward
# pass computes $P$ *again*, tile by tile, from $Q$ and $K$. Must it redo the online softmax, too?
#
# No. Look at one row of $P$, with its final $m$ and $l$:
#
# $$ P_j = \frac{e^{s_j - m}}{l} = e^{s_j - m - \log l} = e^{s_j - L} $$
#
# $m$ and $l$ only ever appear together. One number per query, $L$, and any tile of $P$ is back.

# %%
pictures.log_sum_exp(torch.tensor([1.0, 2.5, -0.5, 0.3, 3.2, 1.8]))

# %% [markdown]
# ### nb04-5 P, recomputed &nbsp; · &nbsp; 5 min
#
# $$ P = e^{S - L}, \qquad S = \frac{Q K^\top}{\sqrt d} $$
#
# **Write** `probabilities(Q, K, L)`: `Q: (q, d)`, any tile `K: (k, d)` of the keys, `L: (q,)` of
# these queries → that tile of `P: (q, k)`.


# %% exercise="nb04-5" points=1
def probabilities(
    Q: Float[Tensor, "q d"], K: Float[Tensor, "k d"], L: Float[Tensor, " q"]
) -> Float[Tensor, "q k"]:
    # about 2 lines
    ### BEGIN SOLUTION nb04-5 P from L
    S = Q @ K.T / math.sqrt(Q.shape[-1])
    return torch.exp(S - L[:, None])
    ### END SOLUTION


# %% check="nb04-5"
check("nb04-5", probabilities)

# %% [markdown]
# <details><summary>All keys at once are right, a tile of them is not</summary>
#
# A softmax over the tile normalises by the tile's own sum. `L` already holds the sum over all keys.
# </details>
#
# <details><summary>Some elements are inf or NaN</summary>
#
# In `exp(S) / exp(L)` both overflow when scores are large, and inf / inf is NaN. `exp(S - L)` never
# exceeds 1.
# </details>

# %% [markdown]
# <details><summary>Wrong, though the shape is right</summary>
#
# `L` is one number per *query*, that is per row: `L[:, None]`. With as many queries as keys,
# PyTorch does not notice when it is laid along the columns.
# </details>

# %% [markdown]
# **Checkpoint.** $L$ is kept in fp32 even when $Q$, $K$, $V$ are fp16. What would an $L$ of 20,
# rounded to fp16, do to its row of $P$?
#
# <details><summary>Answer</summary>
#
# Between 16 and 32 the numbers of fp16 are 1/64 apart, so $L$ may be off by 1/128. That multiplies
# the whole row of $P$ by $e^{\pm 1/128}$: all its probabilities are wrong by up to 0.8 %.
# </details>

# %% [markdown]
# ## 5. The backward pass, step by step
#
# Let $\phi$ be the loss, the number that training makes small. Write $dX$ for the gradient
# $\partial\phi/\partial X$; it has the shape of $X$. Given is $dO$; wanted are $dQ$, $dK$, $dV$.
#
# **Step 1, through $O = PV$.** Element by element, $O_{ic} = \sum_j P_{ij} V_{jc}$. So $V_{jc}$
# reaches $\phi$ through column $c$ of every row, and $P_{ij}$ through every column of row $i$:
#
# $$ dV_{jc} = \sum_i P_{ij}\, dO_{ic} \;\Rightarrow\; dV = P^\top dO \qquad\quad
#    dP_{ij} = \sum_c dO_{ic} V_{jc} \;\Rightarrow\; dP = dO\, V^\top $$

# %% [markdown]
# **Step 2, through the softmax.** One row: $p_j = e^{s_j} / z$ with $z = \sum_k e^{s_k}$.
# How does $p_j$ move when $s_k$ moves?
#
# $$ j = k: \quad \frac{\partial p_j}{\partial s_j}
#    = \frac{e^{s_j}}{z} - \frac{e^{s_j} e^{s_j}}{z^2} = p_j - p_j p_j \qquad\qquad
#    j \ne k: \quad \frac{\partial p_j}{\partial s_k} = - \frac{e^{s_j} e^{s_k}}{z^2} = -p_j p_k $$
#
# Let $\delta_{jk}$ be 1 if $j = k$, else 0. Then both in one: $\partial p_j / \partial s_k = p_j
# (\delta_{jk} - p_k)$, that is $\text{diag}(p) - p p^\top$. Apply it to $dp$:
#
# $$ ds_k = \sum_j dp_j \, p_j (\delta_{jk} - p_k) = p_k \Big( dp_k - \sum_j p_j\, dp_j \Big) $$

# %% [markdown]
# The Jacobian of one row is $N \times N$, but it is never needed: only one dot product per row,
# $\sum_j p_j\, dp_j$. Is the formula right? Ask PyTorch.

# %%
s = torch.randn(4, dtype=torch.float64)
p = torch.softmax(s, dim=0)
by_pytorch = torch.autograd.functional.jacobian(lambda s: torch.softmax(s, dim=0), s)
print((torch.diag(p) - torch.outer(p, p) - by_pytorch).abs().max().item())

# %% [markdown]
# **Step 3, the trick.** The dot product $D = \sum_j p_j\, dp_j$ runs over the whole row of keys.
# That would cost a pass over all tiles. But put in what $dp_j$ is, and swap the sums:
#
# $$ D = \sum_j p_j \sum_c dO_c\, V_{jc} = \sum_c dO_c \underbrace{\sum_j p_j V_{jc}}_{O_c}
#    = \sum_c dO_c\, O_c $$
#
# So $D = \text{rowsum}(dO \circ O)$, where $\circ$ multiplies element by element (`*` in PyTorch).
# Both matrices are thin and already there, and no key is looked at. $D$ is computed once, before
# the loops, one number per query like $L$. Each tile of $dS = P \circ (dP - D)$ now stands on its
# own.

# %% [markdown]
# ### nb04-6 D, and the gradient of the scores &nbsp; · &nbsp; 10 min
#
# $$ D = \text{rowsum}(dO \circ O), \qquad dP = dO\,V^\top, \qquad dS = P \circ (dP - D) $$
#
# **Write** `delta(O, dO)`: both `(q, d)` → `D: (q,)`.
#
# **Write** `score_gradient(P, V, dO, D)`: a tile `P: (q, k)` with its `V: (k, d)`, and `dO: (q,
# d)`, `D: (q,)` → that tile of `dS: (q, k)`.


# %% exercise="nb04-6" points=2
def delta(O: Float[Tensor, "q d"], dO: Float[Tensor, "q d"]) -> Float[Tensor, " q"]:
    # about 1 line
    ### BEGIN SOLUTION nb04-6 D from O and dO
    return (dO * O).sum(dim=-1)
    ### END SOLUTION


def score_gradient(
    P: Float[Tensor, "q k"],
    V: Float[Tensor, "k d"],
    dO: Float[Tensor, "q d"],
    D: Float[Tensor, " q"],
) -> Float[Tensor, "q k"]:
    # about 2 lines
    ### BEGIN SOLUTION nb04-6 back through the softmax
    dP = dO @ V.T
    return P * (dP - D[:, None])
    ### END SOLUTION


# %% check="nb04-6"
check("nb04-6", delta, score_gradient)

# %% [markdown]
# <details><summary>All keys at once are right, a tile of them is not</summary>
#
# `(P * dP).sum(-1)` over a tile is not the sum over the row. Use the `D` that was passed in.
# </details>
#
# <details><summary>The rows of dS do not add up to 0</summary>
#
# They must: adding a constant to all scores of a row changes no probability, so the gradient along
# that direction is 0. Is `D` subtracted from every column, once per row, before the product with
# `P`?
# </details>

# %% [markdown]
# **Step 4, through $S = QK^\top / \sqrt d$.** As in step 1, and the scale comes along:
#
# $$ dQ = \frac{dS\, K}{\sqrt d}, \qquad dK = \frac{dS^\top Q}{\sqrt d} $$
#
# That is all of it. Per tile, in order: $P$ from $L$; $dV \mathrel{+}= P^\top dO$; $dP$; $dS$ with
# $D$; $dQ \mathrel{+}= dS\,K/\sqrt d$; $dK \mathrel{+}= dS^\top Q/\sqrt d$. Five products, where
# the forward has two.
#
# A tile adds to $dQ$ of its *row* of tiles, and to $dK$, $dV$ of its *column*.

# %%
pictures.backward_owners()

# %% [markdown]
# ### nb04-7 One tile of the backward &nbsp; · &nbsp; 15 min
#
# **Write** `backward_tile(Q, K, V, dO, L, D, hidden)`: tiles `Q, dO: (q, d)` and `K, V: (k, d)`,
# `L, D: (q,)`, and `hidden: (q, k)`, True where the query may not see the key → what this tile adds
# to `dQ: (q, d)`, `dK: (k, d)`, `dV: (k, d)`.
#
# Use `probabilities` and `score_gradient`. A hidden pair has probability 0; its `dS` is then 0 too.


# %% exercise="nb04-7" points=2
def backward_tile(
    Q: Float[Tensor, "q d"],
    K: Float[Tensor, "k d"],
    V: Float[Tensor, "k d"],
    dO: Float[Tensor, "q d"],
    L: Float[Tensor, " q"],
    D: Float[Tensor, " q"],
    hidden: Bool[Tensor, "q k"],
):
    # about 5 lines
    ### BEGIN SOLUTION nb04-7 one tile of the backward
    P = probabilities(Q, K, L).masked_fill(hidden, 0.0)
    dS = score_gradient(P, V, dO, D) / math.sqrt(Q.shape[-1])
    dQ = dS @ K
    dK = dS.T @ Q
    dV = P.T @ dO
    ### END SOLUTION
    return dQ, dK, dV


# %% check="nb04-7"
check("nb04-7", backward_tile)

# %% [markdown]
# <details><summary>dV is right, dQ and dK are off by one factor</summary>
#
# $S$ was divided by $\sqrt d$ on the way forward, so its gradient is divided on the way back.
# </details>
#
# <details><summary>dQ is right, dK is wrong</summary>
#
# $dK$ collects over queries: transpose `dS`, and multiply by the *queries*.
# </details>

# %% [markdown]
# <details><summary>Right without a mask, wrong with one</summary>
#
# $e^{S - L}$ of a hidden pair is not 0: its score never went into `L`. Set `P` to 0 there yourself,
# before anything is computed from it.
# </details>

# %% [markdown]
# ### nb04-8 The tiled causal backward &nbsp; · &nbsp; 15 min
#
# Walk down the columns: for each tile of keys, take the tiles of queries that see it. Tiles are
# square here: key tile `j` is seen by query tiles `j, j + 1, ...`, and only tile `j` has hidden
# pairs.
#
# **Write** `tiled_backward(Q, K, V, O, L, dO, BLOCK)`: one head, matrices `(seq, d)`, `L: (seq,)` →
# `dQ, dK, dV`. `BLOCK` divides `seq`. Compute `D` once; add each tile's part into slices of the
# results. Skip tiles above the diagonal, and never build anything of shape `(seq, seq)`.


# %% exercise="nb04-8" points=2
def tiled_backward(Q, K, V, O, L, dO, BLOCK: int):
    dQ, dK, dV = (torch.zeros_like(t) for t in (Q, K, V))
    # about 12 lines
    ### BEGIN SOLUTION nb04-8 the tiled causal backward
    D = delta(O, dO)
    position = torch.arange(len(Q))
    for k_start in range(0, len(K), BLOCK):
        keys = slice(k_start, k_start + BLOCK)
        for q_start in range(k_start, len(Q), BLOCK):
            rows = slice(q_start, q_start + BLOCK)
            hidden = position[keys] > position[rows, None]
            parts = backward_tile(Q[rows], K[keys], V[keys], dO[rows], L[rows], D[rows], hidden)
            dQ[rows] += parts[0]
            dK[keys] += parts[1]
            dV[keys] += parts[2]
    ### END SOLUTION
    return dQ, dK, dV


# %% check="nb04-8"
check("nb04-8", tiled_backward)

# %% [markdown]
# <details><summary>Only one tile is right: the first of dQ, or the last of dK and dV</summary>
#
# `=` where `+=` belongs: every tile *adds* its part. In the two corners there is one part only.
# </details>
#
# <details><summary>dQ is right, dK and dV are wrong</summary>
#
# `dK` and `dV` go to the rows of the *key* tile, `dQ` to those of the *query* tile.
# </details>

# %% [markdown]
# <details><summary>"A tensor of 96 x 96 elements was built"</summary>
#
# A mask for the whole matrix is $N \times N$ as well. Make it per tile, from positions.
# </details>

# %% [markdown]
# **Checkpoint.** What must be known of a *whole row* before a tile of the backward can be computed?
# And does it matter in which order the tiles are taken?
#
# <details><summary>Answer</summary>
#
# Two numbers per query, $L$ and $D$, and both are known before the loops. The order does not
# matter: every tile only adds its part. In notebook 05 this freedom is worth a lot.
# </details>

# %% [markdown]
# ## 6. Is it really right? Ask by finite differences
#
# PyTorch learns of our backward through an `autograd.Function`: `forward` saves what `backward`
# will need. What to save is the whole point: $Q, K, V, O$, all thin, and $L$, one number per row.


# %%
class TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, BLOCK):
        starts = range(0, len(Q), BLOCK)
        rows = [causal_row_tile(Q[i : i + BLOCK], K, V, i, BLOCK) for i in starts]
        O, L = (torch.cat(parts) for parts in zip(*rows, strict=True))
        ctx.save_for_backward(Q, K, V, O, L)
        ctx.BLOCK = BLOCK
        return O

    @staticmethod
    def backward(ctx, dO):
        return *tiled_backward(*ctx.saved_tensors, dO, ctx.BLOCK), None


# %% [markdown]
# `gradcheck` nudges every input by $10^{-6}$, looks how the output moves, and compares that with
# the gradient we return. It needs float64: in float32 the nudge drowns in rounding.

# %%
inputs = [torch.randn(8, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
torch.autograd.gradcheck(lambda Q, K, V: TiledAttention.apply(Q, K, V, 4), inputs)

# %% [markdown]
# And what does training keep between forward and backward? PyTorch shows it to a hook, tensor by
# tensor.


# %%
def saved_mebibytes(function, seq, d=64):
    saved = []
    Q, K, V = (torch.randn(seq, d, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        function(Q, K, V)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    return sum(storages.values()) / 2**20


# %%
WAYS = {
    "plain attention": lambda Q, K, V: attention(Q, K, V, True),
    "tiled": lambda Q, K, V: TiledAttention.apply(Q, K, V, 256),
}
rows = [
    {"N": n, "saved": saved_mebibytes(function, n), "way": way}
    for way, function in WAYS.items()
    for n in (256, 512, 1024, 2048)
]
title = "kept for the backward pass: one head, d = 64, causal"
memory_chart(pd.DataFrame(rows), "N", "saved", "way", title)

# %% [markdown]
# **Checkpoint.** With each doubling the upper line grows almost fourfold, the lower one twofold. You
# can now say what each of the five saved tensors is for. Can you?
#
# <details><summary>Answer</summary>
#
# $Q$ and $K$ give $S$ again, $L$ turns it into $P$. $V$ gives $dP$. $O$ gives $D$. The tile of $P$
# then gives $dV$, and $dS$ gives $dQ$ and $dK$.
# </details>
#
# The price is arithmetic: $S$ is computed a second time. It is paid gladly, because moving $P$
# to memory and back takes longer than computing it anew.

# %% [markdown]
# ## On to homework 2
#
# You have every piece, for one head and lengths that fit. In `flash_attention/flash_pytorch.py` you
# make it a module that anyone could use (`flash_attention.py` beside it only gathers the names):
#
# - **hw2-1**, **hw2-2**: the tiled forward for a batch (the sheet says what that changes), then
#   causal (nb04-1 to nb04-4);
# - **hw2-3**: save exactly `Q, K, V, O, L`;
# - **hw2-4**: `attention_backward_impl` (nb04-5, nb04-6), where whole matrices are enough;
# - **hw2-5**: any length, 4-D and 16-bit inputs, strides: the last tile is shorter, and nothing may
#   break;
# - **hw2-6**: the tiled backward, $O(N)$ memory (nb04-7, nb04-8).

# %% [markdown]
# The sheet is `homework/02_flash_attention_pytorch.md`; `course check hw2-1` says how you are
# doing. The short version of the theory: `docs/notes/flash_attention.md` and
# `docs/notes/memory_efficiency.md`.
