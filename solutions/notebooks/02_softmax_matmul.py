# course: exercise
# %% [markdown]
# # 02 · Softmax and matmul in one kernel
#
# **`softmax(x) @ V` writes a matrix as large as `x` to memory, only to read it back at once. Must
# it?**
#
# About 110 minutes · 8 exercises · 10 points. No GPU needed. You need notebook 01: the running
# maximum `m` and the running sum `l` come back here, with a third companion.
#
# At the end you have a kernel that does both operations in one pass. It is two thirds of
# FlashAttention, and homework 1 makes it complete.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.
#
# "The kernel died" (Jupyter means Python, not your Triton kernel): something was written outside a
# tensor. Restart, and run all cells above.

# %%
from functools import partial

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from course.bench import measure
from course.bench.memory import peak_bytes
from course.notebook import DEVICE, INTERPRETED, check
from course.pictures import fusion

# %% [markdown]
# ## 1. What two calls cost
#
# `x` has `d1` rows and `d2` columns, `V` has `d2` rows and `d3` columns. PyTorch makes two
# kernels of `torch.softmax(x, dim=-1) @ V`. Kernels do not talk to each other: what the first
# leaves for the second, the matrix `P`, goes through the GPU's memory.
#
# Memory is far from the chip and slow beside it. So before anything is timed, we **count**.

# %%
fusion.two_kernels_or_one()

# %% [markdown]
# ### nb02-1 Count the bytes &nbsp; · &nbsp; 8 min
# The rule: a kernel reads each of its inputs once and writes each of its outputs once. No kernel
# can do with less, unless a cache helps it. An element has `size` bytes (4 in float32).
#
# $$ \text{bytes} = \text{size} \cdot (\text{elements read} + \text{elements written}) $$
#
# **Write** `unfused_bytes(d1, d2, d3, size)`: two kernels, softmax and then matmul; and
# `fused_bytes(d1, d2, d3, size)`: one kernel that reads `x` and `V` and writes the result.


# %% exercise="nb02-1" points=1
def unfused_bytes(d1: int, d2: int, d3: int, size: int = 4) -> int:
    # about 3 lines
    ### BEGIN SOLUTION nb02-1 what two kernels read and write
    softmax = 2 * d1 * d2
    matmul = d1 * d2 + d2 * d3 + d1 * d3
    return size * (softmax + matmul)
    ### END SOLUTION


def fused_bytes(d1: int, d2: int, d3: int, size: int = 4) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb02-1 what one kernel reads and writes
    return size * (d1 * d2 + d2 * d3 + d1 * d3)
    ### END SOLUTION


# %% check="nb02-1"
check("nb02-1", unfused_bytes, fused_bytes)

# %% [markdown]
# <details><summary>The fused count passes, the unfused one is too small</summary>
#
# `P` is handled twice: softmax writes it, and the matmul reads it again.
# </details>
#
# <details><summary>It says: a count of elements</summary>
#
# Elements times `size` are bytes.
# </details>

# %% [markdown]
# These are the sizes of homework 1, one matrix of its batch. The wider `x` is, the more fusing
# saves. Where does the ratio go? If both `d1` and `d2` are large, only the `d1 × d2` terms count:
# **3** of them unfused, **1** fused. Below only `d2` grows, and the bytes of `V` grow with it.

# %%
print("   d2   unfused     fused   ratio")
for d2 in (64, 256, 1024, 4096, 8192):
    two, one = unfused_bytes(2048, d2, 512), fused_bytes(2048, d2, 512)
    print(f"{d2:5} {two / 2**20:6.1f} MiB {one / 2**20:5.1f} MiB {two / one:7.2f}")

# %% [markdown]
# **Checkpoint.** Two kernels move up to three times the bytes of one, and all of the difference is
# `P`: written once, read once, and never wanted by anybody.

# %% [markdown]
# ## 2. Fusing what is easy
#
# **Operator fusion** means: several operations in one kernel, and what lies between them never
# leaves the chip. For elementwise operations it is easy, because each output needs one element of
# the input. Take `relu(a * x + b)`. PyTorch runs three kernels, each reads `n` elements and writes
# `n`: 6 n. One kernel reads n and writes n: 2 n.

# %% [markdown]
# ### nb02-2 Three operations, one kernel &nbsp; · &nbsp; 8 min
# $$ y_i = \max(a \, x_i + b, \; 0) $$
#
# **Write** the body of `scale_shift_relu_kernel`. `x_ptr` and `y_ptr` point to `n` contiguous
# elements, `a` and `b` are numbers. Any `n` must work.


# %% exercise="nb02-2" points=1
@triton.jit
def scale_shift_relu_kernel(
    x_ptr,  # (n,)
    y_ptr,  # (n,)
    n,
    a,
    b,
    BLOCK: tl.constexpr,
):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    # about 3 lines
    ### BEGIN SOLUTION nb02-2 three operations between one load and one store
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.maximum(a * x + b, 0.0)
    tl.store(y_ptr + offsets, y, mask=mask)
    ### END SOLUTION


# %% check="nb02-2"
check("nb02-2", scale_shift_relu_kernel)

# %% [markdown]
# <details><summary>Only the positive elements are right</summary>
#
# `tl.maximum(a, b)` takes the larger of two values, element by element. Which one plays the zero?
# </details>
#
# <details><summary>It says that something beyond the end was written</summary>
#
# The last program owns places that do not exist. `tl.store` needs the mask too.
# </details>

# %% [markdown]
# Softmax followed by a matmul is harder, for two reasons.
#
# 1. One element of the result needs a **whole row** of `x`, and a row may be too long for the chip.
# 2. Softmax needs its row **twice**: first for the maximum and the sum, then for the weights.
#
# Each has an answer. The first: a matmul can take its columns a block at a time. The second:
# what was computed too early can be corrected later.
#
# **Checkpoint.** Fusing elementwise operations needs no idea, only a kernel. Fusing softmax with
# what follows needs two, and they are the next two sections.

# %% [markdown]
# ## 3. A matmul is a sum of outer products
#
# You know the product as *row times column*: each element is an inner product over all of `d2`.
# The same sums can be taken in another order. Column $j$ of $P$ meets row $j$ of $V$; their
# outer product is a whole `d1 × d3` matrix; the result is the sum of all these matrices:
#
# $$ P V = \sum_{j=1}^{d_2} P_{:,j} \, V_{j,:} $$
#
# Nothing is gained in arithmetic. But now **a column of `P` is needed once and can then be
# forgotten**. In practice one takes a block of columns at a time.

# %%
fusion.outer_products()

# %% [markdown]
# ### nb02-3 Block by block &nbsp; · &nbsp; 8 min
# $$ P V = \sum_{b} P_{:, b} \, V_{b, :} \qquad b = \text{blocks of BLOCK columns} $$
#
# **Write** `matmul_by_blocks(P, V, BLOCK)`: `P: (d1, d2)`, `V: (d2, d3)` → `(d1, d3)`. In each step
# touch at most `BLOCK` columns of `P` and as many rows of `V`. The last block may be smaller;
# Python's slices take care of that.


# %% exercise="nb02-3" points=1
def matmul_by_blocks(
    P: Float[Tensor, "d1 d2"], V: Float[Tensor, "d2 d3"], BLOCK: int
) -> Float[Tensor, "d1 d3"]:
    # about 4 lines
    ### BEGIN SOLUTION nb02-3 sum the products of column blocks and row blocks
    acc = torch.zeros(P.shape[0], V.shape[1], dtype=P.dtype, device=P.device)
    for j in range(0, P.shape[1], BLOCK):
        acc += P[:, j : j + BLOCK] @ V[j : j + BLOCK]
    return acc
    ### END SOLUTION


# %% check="nb02-3"
check("nb02-3", matmul_by_blocks)

# %% [markdown]
# <details><summary>It is wrong when BLOCK does not divide d2</summary>
#
# Count the steps with `range(0, d2, BLOCK)`, not with `d2 // BLOCK`.
# </details>
#
# <details><summary>It complains about how many columns were taken at once</summary>
#
# `P @ V` in one go is what we want to avoid. Cut the columns of `P` and the rows of `V`.
# </details>

# %% [markdown]
# **Checkpoint.** A matrix `P` that arrives in pieces is good enough for a product. Each block of
# columns is used once, adds its share to the whole result, and may go.

# %% [markdown]
# ## 4. Correcting the past
#
# Now the second reason. Suppose some columns of a row have been seen, and their maximum is $m$.
# Then the chip holds
#
# $$ l = \sum_{j \text{ seen}} e^{x_j - m} \qquad
# \text{acc} = \sum_{j \text{ seen}} e^{x_j - m} \, V_j $$
#
# where $V_j$ is row $j$ of `V`, so `acc` is a row of length `d3`. In the end `acc / l` is the row
# of the result we want: softmax divides every weight by the same `l`, so it can wait until then.

# %% [markdown]
# A new block arrives and raises the maximum from $m$ to $m'$. Every term in `l` and in `acc` was
# computed with the old one. But
#
# $$ e^{x_j - m'} = e^{x_j - m} \cdot e^{m - m'} $$
#
# All of them are wrong **by the same factor**, $\alpha = e^{m - m'}$. One multiplication repairs
# the whole past, however long it is. That is the trick FlashAttention stands on. (The sum:
# Milakov and Gimelshein, 2018. With `V`: Rabe and Staats, 2021.)

# %%
fusion.rescaling()

# %% [markdown]
# ### nb02-4 One step &nbsp; · &nbsp; 12 min
# $$ m' = \max(m, \max_j X_j) \qquad \alpha = e^{m - m'} \qquad P = e^{X - m'} $$
#
# $$ l' = \alpha \, l + \textstyle\sum_j P_j \qquad \text{acc}' = \alpha \, \text{acc} + P V $$
#
# **Write** `step(m, l, acc, X, V)` → the new `m, l, acc`. `m, l: (rows, 1)`, `acc: (rows, d3)`;
# `X: (rows, n)` is a block of `x`, `V: (n, d3)` the rows of `V` that belong to it. At first
# `m = -inf`, and `l` and `acc` are 0. Return new tensors; leave the ones you were given alone.


# %% exercise="nb02-4" points=1
def step(
    m: Float[Tensor, "rows 1"],
    l: Float[Tensor, "rows 1"],
    acc: Float[Tensor, "rows d3"],
    X: Float[Tensor, "rows n"],
    V: Float[Tensor, "n d3"],
) -> tuple[Float[Tensor, "rows 1"], Float[Tensor, "rows 1"], Float[Tensor, "rows d3"]]:
    # about 6 lines
    ### BEGIN SOLUTION nb02-4 correct what is there, add what is new
    m_new = torch.maximum(m, X.amax(dim=-1, keepdim=True))
    alpha = torch.exp(m - m_new)
    P = torch.exp(X - m_new)
    l = alpha * l + P.sum(dim=-1, keepdim=True)
    acc = alpha * acc + P @ V
    return m_new, l, acc
    ### END SOLUTION


# %% check="nb02-4"
check("nb02-4", step)

# %% [markdown]
# <details><summary>The first block is right, the second is too large</summary>
#
# What was there is still relative to the old maximum. By which factor must it shrink?
# </details>
#
# <details><summary><code>l</code> is right, <code>acc</code> is not</summary>
#
# `acc` needs the same $\alpha$ as `l`. And the weights that multiply `V` are relative to $m'$.
# </details>

# %% [markdown]
# <details><summary>It is right until a block does not raise the maximum</summary>
#
# $m'$ is the larger of the old maximum and the block's, not simply the block's.
# </details>

# %% [markdown]
# ### nb02-5 The one-pass algorithm &nbsp; · &nbsp; 12 min
# Start with nothing, take a block of columns at a time, divide once at the end:
#
# $$ \operatorname{softmax}(x) V = \text{acc} / l $$
#
# **Write** `one_pass(x, V, BLOCK)`: `x: (d1, d2)`, `V: (d2, d3)` → `(d1, d3)`. Use your `step`. Any
# `d2` must work, and nothing as large as `x` may be made on the way.


# %% exercise="nb02-5" points=1
def one_pass(
    x: Float[Tensor, "d1 d2"], V: Float[Tensor, "d2 d3"], BLOCK: int
) -> Float[Tensor, "d1 d3"]:
    # about 6 lines
    ### BEGIN SOLUTION nb02-5 walk over the columns once, divide at the end
    m = torch.full((x.shape[0], 1), -float("inf"), dtype=x.dtype, device=x.device)
    l = torch.zeros_like(m)
    acc = torch.zeros(x.shape[0], V.shape[1], dtype=x.dtype, device=x.device)
    for j in range(0, x.shape[1], BLOCK):
        m, l, acc = step(m, l, acc, x[:, j : j + BLOCK], V[j : j + BLOCK])
    return acc / l
    ### END SOLUTION


# %% check="nb02-5"
check("nb02-5", one_pass)

# %% [markdown]
# <details><summary>All of a row is off by one factor</summary>
#
# The weights sum to `l`, not to 1. The division comes last, once.
# </details>
#
# <details><summary>Everything is NaN</summary>
#
# $-\infty - (-\infty)$ is NaN, and so is 0/0. `m` starts at -inf, `l` and `acc` at 0; does every
# step hand all three on to the next?
# </details>

# %% [markdown]
# <details><summary>It says that too much memory was alive</summary>
#
# `torch.exp(x - m)` on all of `x` is `P` again. Give `step` a slice.
# </details>
#
# <details><summary>It says that x was read in two passes</summary>
#
# `x.amax()` before the loop, or in a loop of its own, reads all of `x` once for the maximum. `step`
# finds the maximum on the way, and corrects what it has so far whenever the maximum grows.
# </details>

# %% [markdown]
# Is all this correcting worth it? Without the maximum there is nothing to correct: keep the sum of
# $e^{x_j}$ and be done. Here is what happens then. In float32 $e^{89}$ is already infinite.

# %%
x, V = torch.tensor([[1.0, 2.0, 100.0]]), torch.eye(3)
plain = torch.exp(x) @ V / torch.exp(x).sum()
print("without the maximum:", plain)
print("PyTorch            :", torch.softmax(x, dim=-1) @ V)

# %% [markdown]
# **Checkpoint.** The whole operation is one loop that never looks back. It reads a block of `x` and
# a block of `V`, and keeps three things: `m`, `l`, `acc`. Their sizes do not depend on `d2`.

# %% [markdown]
# ## 5. The fused kernel
#
# One program takes `BLOCK_1` rows of `x` and walks along them, `BLOCK_2` columns a step. On the
# chip it keeps `m` and `l`, one number a row, and `acc`, `BLOCK_1 × d3`. Nobody else needs these
# rows, so programs do not wait for each other.

# %%
fusion.tiles()

# %% [markdown]
# ### nb02-6 Softmax times V, in one kernel &nbsp; · &nbsp; 25 min
# **Write** the body of `fused_kernel`. `x: (d1, d2)`, `V: (d2, D3)` and `o: (d1, D3)` are float32
# and contiguous; `BLOCK_1` divides `d1` and `BLOCK_2` divides `d2`, so no masks today. `D3` is a
# power of two. It is started with `d1 // BLOCK_1` programs, and each element of `x` is loaded
# once.
#
# - In Triton `m` and `l` have shape `(BLOCK_1,)`; write `m[:, None]` where they meet a tile.
# - `tl.max(t, 1)` and `tl.sum(t, 1)` reduce along a row, `tl.dot` multiplies two tiles.
# - `input_precision="ieee"` keeps `tl.dot` exact; without it a GPU rounds to 11 binary digits.
# - `float("-inf")` works inside a kernel.


# %% exercise="nb02-6" points=3
@triton.jit
def fused_kernel(
    x_ptr,  # (d1, d2)
    V_ptr,  # (d2, D3)
    o_ptr,  # (d1, D3)
    d2,
    D3: tl.constexpr,  # power of two, at least 16
    BLOCK_1: tl.constexpr,
    BLOCK_2: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_1 + tl.arange(0, BLOCK_1)
    cols = tl.arange(0, BLOCK_2)
    c3 = tl.arange(0, D3)
    m = tl.full((BLOCK_1,), float("-inf"), tl.float32)
    l = tl.zeros((BLOCK_1,), tl.float32)
    acc = tl.zeros((BLOCK_1, D3), tl.float32)
    # about 11 lines: for each block of columns load a tile of x and one of V, make the step;
    # then divide and store
    ### BEGIN SOLUTION nb02-6 one pass over the columns
    for start in range(0, d2, BLOCK_2):
        X = tl.load(x_ptr + rows[:, None] * d2 + (start + cols)[None, :])
        V = tl.load(V_ptr + (start + cols)[:, None] * D3 + c3[None, :])
        m_new = tl.maximum(m, tl.max(X, 1))
        alpha = tl.exp(m - m_new)
        P = tl.exp(X - m_new[:, None])
        l = l * alpha + tl.sum(P, 1)
        acc = acc * alpha[:, None] + tl.dot(P, V, input_precision="ieee")
        m = m_new
    tl.store(o_ptr + rows[:, None] * D3 + c3[None, :], acc / l[:, None])
    ### END SOLUTION


# %% check="nb02-6"
check("nb02-6", fused_kernel)

# %% [markdown]
# <details><summary>One block of columns is right, two are wrong</summary>
#
# Is $\alpha$ computed before `m` is overwritten? Do `l` *and* `acc` shrink? Does `start` appear in
# both addresses, in that of `x` as a column and in that of `V` as a row?
# </details>
#
# <details><summary>Only the first BLOCK_1 rows are right</summary>
#
# Each program has its own rows. `rows` already knows them; do the load and the store use it?
# </details>

# %% [markdown]
# <details><summary>It stops: shapes cannot be broadcast</summary>
#
# Rows go down: `[:, None]`. Columns go across: `[None, :]`. `m`, `l` and `alpha` belong to rows.
# </details>

# %% [markdown]
# With a launcher around it, it is a function like any other. `o` is all it allocates.


# %%
def fused(
    x: Float[Tensor, "d1 d2"], V: Float[Tensor, "d2 d3"], BLOCK_1: int = 16, BLOCK_2: int = 16
) -> Float[Tensor, "d1 d3"]:
    """softmax(x) @ V; d1 and d2 multiples of the blocks, d3 a power of two of at least 16."""
    o = torch.empty(x.shape[0], V.shape[1], device=x.device)
    grid = (x.shape[0] // BLOCK_1,)
    fused_kernel[grid](x, V, o, x.shape[1], D3=V.shape[1], BLOCK_1=BLOCK_1, BLOCK_2=BLOCK_2)
    return o


x, V = torch.randn(64, 128, device=DEVICE), torch.randn(128, 32, device=DEVICE)
print("largest difference:", (fused(x, V) - torch.softmax(x, dim=-1) @ V).abs().max().item())

# %% [markdown]
# What is missing for daily use is homework 1, in `softmax_matmul/softmax_matmul.py`: a batch, any
# lengths (1, 63, 1000), any strides, float16 and bfloat16. The loop stays as it is.
#
# **Checkpoint.** You have fused a reduction and a matmul. No compiler that fuses element by element
# finds this by itself: the factor $\alpha$ is an idea, not a rewriting of loops.

# %% [markdown]
# ## 6. What the tiles really move
#
# `fused_bytes` was a promise: each input is read once. Is it kept? A program reads its own rows of
# `x`, once. But every program walks over **all of `V`**.

# %% [markdown]
# ### nb02-7 Bytes moved by the tiles &nbsp; · &nbsp; 6 min
# **Write** `tiled_bytes(d1, d2, d3, BLOCK_1, size)`: what the kernel above reads and writes if no
# cache helps. `BLOCK_1` divides `d1`.


# %% exercise="nb02-7" points=1
def tiled_bytes(d1: int, d2: int, d3: int, BLOCK_1: int, size: int = 4) -> int:
    # about 2 lines
    ### BEGIN SOLUTION nb02-7 V is read by every program
    programs = d1 // BLOCK_1
    return size * (d1 * d2 + programs * d2 * d3 + d1 * d3)
    ### END SOLUTION


# %% check="nb02-7"
check("nb02-7", tiled_bytes)

# %% [markdown]
# <details><summary>It is too small, by a multiple of V</summary>
#
# How many programs are there, and how much of `V` does each of them read?
# </details>

# %%
blocks = [16, 32, 64, 128, 256, 512]
fusion.tile_traffic(
    blocks,
    [tiled_bytes(2048, 8192, 512, BLOCK_1) for BLOCK_1 in blocks],
    unfused=unfused_bytes(2048, 8192, 512),
    ideal=fused_bytes(2048, 8192, 512),
)

# %% [markdown]
# With 16 rows a program the fused kernel asks for *more* bytes than the two calls it replaces. Two
# things save it.
#
# - **The L2 cache.** `V` has 16 MiB here, and the programs walk over it at about the same time. A
#   large GPU keeps it in L2 (50 MB on an H100), so most of these reads never reach the memory. They
#   still have to pass through L2, which is faster than memory, but not free.
# - **Larger tiles.** Twice the rows a program, half the reads of `V`. The limit is `acc`:
#   `BLOCK_1 × d3` numbers have to fit into one program's registers.
#
# (The two calls are counted kindly: PyTorch's matmul is made of tiles too, and re-reads as well.)

# %% [markdown]
# **Checkpoint.** Where does the curve meet the line of the two kernels? And why does `BLOCK_2` not
# appear in the count at all?

# %% [markdown]
# ## 7. Peak memory
#
# Bytes moved cost time. Bytes *alive at once* decide whether the program runs at all. When a call
# begins, `x` and `V` are there already; what does it need on top, at the worst moment?

# %% [markdown]
# ### nb02-8 Predict the peak &nbsp; · &nbsp; 6 min
# **Write** `unfused_peak(d1, d2, d3, size)` and `fused_peak(d1, d2, d3, size)`: the most bytes that
# `torch.softmax(x, dim=-1) @ V`, and your kernel, have allocated at once, results included, `x` and
# `V` not. The check does not compare with a formula. It **measures** on this machine.


# %% exercise="nb02-8" points=1
def unfused_peak(d1: int, d2: int, d3: int, size: int = 4) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb02-8 P is alive while the result is made
    return size * (d1 * d2 + d1 * d3)
    ### END SOLUTION


def fused_peak(d1: int, d2: int, d3: int, size: int = 4) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb02-8 only the result
    return size * d1 * d3
    ### END SOLUTION


# %% check="nb02-8"
check("nb02-8", unfused_peak, fused_peak, fused)

# %% [markdown]
# <details><summary>The unfused peak is too small</summary>
#
# While the matmul runs, `P` must still be there, and the result must already be there.
# </details>
#
# <details><summary>The fused peak is too large</summary>
#
# `m`, `l` and `acc` live in registers. They are no allocations in memory.
# </details>

# %% [markdown]
# Now measured over a range of widths. On a GPU the caching allocator is asked for its maximum. On a
# CPU the tensors that PyTorch makes are added up while they live: the same numbers, because a
# tensor is as large here as there.


# %%
def two_calls(x, V):
    return torch.softmax(x, dim=-1) @ V


widths = [64, 128, 256, 512]
measured = {"two calls": [], "fused": []}
for d2 in widths:
    x, V = torch.randn(64, d2, device=DEVICE), torch.randn(d2, 16, device=DEVICE)
    measured["two calls"].append(peak_bytes(partial(two_calls, x, V), x, V))
    measured["fused"].append(peak_bytes(partial(fused, x, V), x, V))
fusion.peak_memory(widths, measured, d1=64, d3=16, where=DEVICE)

# %% [markdown]
# The line of the two calls climbs with `d2`; the fused one does not know what `d2` is. At the
# sizes of homework 1 (batch 16, `d1` 2048, `d2` 8192) `P` alone is 1 GiB, and the result 64 MiB.
# In attention `d1` and `d2` both are the sequence length, and `P` grows with its square.
#
# **Checkpoint.** Bytes moved and bytes alive are two different counts. Fusing helps both, for the
# same reason: `P` never exists.

# %% [markdown]
# ## 8. And the time?
#
# Measured with the program you will write in homework 1, on the GPU named in the chart. Peak memory
# comes from the same run.

# %%
fusion.measured_on_gpu("forward_ms_mean")

# %%
fusion.measured_on_gpu("forward_peak_MiB")

# %%
if INTERPRETED:
    print("No time for your kernel here: interpreted on the CPU it takes seconds, which says")
    print("nothing about a GPU. What can be known without one, the bytes, you have counted.")
else:
    x, V = torch.randn(2048, 4096, device=DEVICE), torch.randn(4096, 64, device=DEVICE)
    for name, call in (
        ("two calls", partial(two_calls, x, V)),
        ("fused", partial(fused, x, V, BLOCK_1=32, BLOCK_2=32)),
    ):
        timing = measure(call)
        print(f"{name:9} {timing.median_ms:.3f} ms, spread {timing.spread:.0%}")

# %% [markdown]
# **Checkpoint: what to take along**
#
# - Fusing saves what lies between two kernels. Count it before you write the kernel.
# - A matmul can be summed block by block, and a softmax can be corrected block by block.
# - So `softmax(x) @ V` needs one pass and three things on the chip: `m`, `l`, `acc`.
# - Tiles read `V` once for every block of rows. Larger blocks of rows, fewer bytes.
#
# **Next**: homework 1 (`homework/01_softmax_matmul.md`), then notebook 03, where `x` itself is
# computed on the fly: attention.
