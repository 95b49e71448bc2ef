# course: exercise
# %% [markdown]
# # 01 · Online softmax
#
# **How can you divide by a sum you have not finished computing?**
#
# About 120 minutes · 8 exercises · 15 points. No GPU needed; with one, the last section times
# your kernel.
#
# A softmax seems to need its whole row at once: first the maximum, then the sum, then the result.
# This chapter reads the row in pieces, in any order, and still gets the exact answer. Everything
# later in the course, FlashAttention included, stands on the ten lines you write here.

# %%
import course.notebook

# %%
import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from course.bench import CudaClock, FakeClock
from course.check import require
from course.notebook import DEVICE, check
from course.pictures import softmax as pictures

# %% [markdown]
# ## 1. A softmax that does not overflow
#
# What goes wrong with the formula from the textbook?
#
# $$ y_i = \frac{e^{x_i}}{\sum_j e^{x_j}} $$
#
# $e^{89}$ is larger than the largest fp32 number. It becomes `inf`, and `inf / inf` is NaN:

# %%
x = torch.tensor([88.0, 89.0, 90.0])
print("textbook:", (x.exp() / x.exp().sum()).tolist())
print("PyTorch: ", torch.softmax(x, dim=-1).tolist())

# %%
pictures.overflow()

# %% [markdown]
# The cure: subtracting any constant $c$ from all $x_j$ changes nothing, because $e^{-c}$ stands
# above and below the line. With $c = \max_j x_j$ all exponents are 0 or less. Nothing overflows,
# and the sum is at least 1, so nothing is divided by 0.
#
# $$ y_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \qquad m = \max_j x_j $$

# %% [markdown]
# ### nb01-1 Three passes &nbsp; · &nbsp; 8 min
# Read each row three times: for its maximum $m$, for its sum $l$, for its result.
#
# $$ m = \max_j x_j \qquad l = \sum_j e^{x_j - m} \qquad y_i = e^{x_i - m} / l $$
#
# **Write** `safe_softmax(x)`: `x (rows, n)` → `y (rows, n)`, without `torch.softmax`.


# %% exercise="nb01-1" points=1
def safe_softmax(x: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    # about 3 lines, one a pass
    ### BEGIN SOLUTION nb01-1 maximum, sum, result
    m = x.amax(dim=-1, keepdim=True)
    l = torch.exp(x - m).sum(dim=-1, keepdim=True)
    return torch.exp(x - m) / l
    ### END SOLUTION


# %% check="nb01-1"
check("nb01-1", safe_softmax)

# %% [markdown]
# <details><summary>One row is right, several rows are not</summary>
#
# `x.max()` is the maximum of the whole matrix. Each row has its own: `dim=-1`, and `keepdim=True`
# so that `(rows, 1)` broadcasts against `(rows, n)`.
# </details>
#
# <details><summary>Some elements are NaN, or far too large</summary>
#
# Both exponentials need the shift, the one in the sum and the one above the line.
# </details>

# %% [markdown]
# **Checkpoint.** Why subtract the maximum, and not the mean?
#
# <details><summary>Answer</summary>
#
# With the mean, an element far above it still overflows. The maximum is the smallest constant that
# makes all exponents at most 0.
# </details>

# %% [markdown]
# ## 2. The online recurrence
#
# Three passes read the row three times from memory, and memory is what a softmax waits for. Can the
# maximum and the sum be found in *one* pass?
#
# The trouble: the sum is relative to the maximum, and the maximum may grow while we read. Suppose
# the maximum so far is $m$, with $l = \sum_{\text{seen}} e^{x_j - m}$, and a new block raises it to
# $m'$. Then every term in $l$ is off by the same factor:
#
# $$ e^{x_j - m'} = e^{x_j - m} \cdot e^{m - m'} $$

# %% [markdown]
# The same factor comes out of the sum. So the old $l$ need not be computed again, only
# **rescaled**, and the block's own terms are added:
#
# $$ m' = \max\big(m, \max_{j \in \text{block}} x_j\big) \qquad
# l' = l\, e^{m - m'} + \sum_{j \in \text{block}} e^{x_j - m'} $$
#
# That is all of online softmax (Milakov and Gimelshein, 2018). Watch the grey part shrink whenever
# the maximum rises:

# %%
ROW = torch.tensor([1, 2, 0, 1.5, 2.5, 1, 0.5, 2, 4, 1, 3, 2, 0, 1, 2, 0.5])
pictures.recurrence(ROW, BLOCK=4)

# %% [markdown]
# ### nb01-2 The running normaliser &nbsp; · &nbsp; 10 min
# **Write** `step(m, l, block)`: one step of the recurrence for several rows at once. `m` and `l`
# are `(rows, 1)`, the maximum and sum so far; `block` is `(rows, n)`, the next columns. Return the
# new `m` and `l`.
#
# $$ m' = \max\big(m, \max_j x_j\big) \qquad l' = l\, e^{m - m'} + \sum_j e^{x_j - m'} $$
#
# The start is $m = -\infty$, $l = 0$: nothing seen yet. Does your formula survive it?


# %% exercise="nb01-2" points=2
def step(
    m: Float[Tensor, "rows 1"], l: Float[Tensor, "rows 1"], block: Float[Tensor, "rows n"]
) -> tuple[Float[Tensor, "rows 1"], Float[Tensor, "rows 1"]]:
    # about 3 lines
    ### BEGIN SOLUTION nb01-2 one step of the recurrence
    m_new = torch.maximum(m, block.amax(dim=-1, keepdim=True))
    l_new = l * torch.exp(m - m_new) + torch.exp(block - m_new).sum(dim=-1, keepdim=True)
    return m_new, l_new
    ### END SOLUTION


# %% check="nb01-2"
check("nb01-2", step)

# %% [markdown]
# <details><summary>The first block is right, the second gives too large an l</summary>
#
# `l` is still relative to the old maximum. By which factor must it shrink when the maximum grows?
# </details>
#
# <details><summary>l is NaN, inf or far too large</summary>
#
# The sign in the exponent: old minus new is never positive, so the factor is never above 1. The
# other way round the first block gives $0 \cdot e^{\infty}$, which is NaN. And the block's own
# terms are relative to the *new* maximum.
# </details>

# %% [markdown]
# After the last block, $m$ and $l$ are those of the whole row. A second pass computes the result.
# Two passes instead of three.

# %% [markdown]
# ### nb01-3 Softmax in blocks &nbsp; · &nbsp; 12 min
# **Write** `blocked_softmax(x, BLOCK)`: `x (rows, n)` → `y (rows, n)`. Take at most `BLOCK`
# columns at a time, in both passes; use `step` in the first. `n` need not be a multiple of
# `BLOCK`.
#
# $$ (m, l) \leftarrow \text{step}(m, l, \text{block}) \text{ for each block, then } \quad
# y_i = e^{x_i - m} / l $$
#
# Start with `m` full of `-inf` and `l` full of 0, each `(rows, 1)`, of `x`'s dtype and device.


# %% exercise="nb01-3" points=2
def blocked_softmax(x: Float[Tensor, "rows n"], BLOCK: int) -> Float[Tensor, "rows n"]:
    # about 7 lines: the start, a loop with step, a loop that writes y
    ### BEGIN SOLUTION nb01-3 two passes over blocks
    m = torch.full_like(x[:, :1], float("-inf"))
    l = torch.zeros_like(m)
    for start in range(0, x.shape[1], BLOCK):
        m, l = step(m, l, x[:, start : start + BLOCK])
    y = torch.empty_like(x)
    for start in range(0, x.shape[1], BLOCK):
        y[:, start : start + BLOCK] = torch.exp(x[:, start : start + BLOCK] - m) / l
    return y
    ### END SOLUTION


# %% check="nb01-3"
check("nb01-3", blocked_softmax)

# %% [markdown]
# <details><summary>It is right for rows of positive numbers only</summary>
#
# The start of `m` is a number that any maximum beats. 0 is not such a number.
# </details>
#
# <details><summary>The last columns are NaN</summary>
#
# They were never written. `range(0, n, BLOCK)` visits the last, shorter block too;
# `range(n // BLOCK)` does not.
# </details>

# %% [markdown]
# **Checkpoint.** The rescaling looks like an approximation. Is it one?
#
# <details><summary>Answer</summary>
#
# No. $l\, e^{m - m'}$ is exactly the sum one would have had with $m'$ from the start; only rounding
# differs. And because $e^{m - m'} \le 1$, rescaling never makes an old rounding error larger.
# </details>

# %% [markdown]
# ## 3. Any order will do
#
# Must the blocks come from left to right? A GPU has many programs that could each take a part of a
# long row. Say one has seen some columns and knows $(m_1, l_1)$, another has seen others and knows
# $(m_2, l_2)$. Rescale *both* sums to the common maximum, and add:
#
# $$ m = \max(m_1, m_2) \qquad l = l_1\, e^{m_1 - m} + l_2\, e^{m_2 - m} $$
#
# A `step` is the special case in which the second pair comes from one block.

# %%
pictures.merging()

# %% [markdown]
# ### nb01-4 Merge two partial results &nbsp; · &nbsp; 10 min
# **Write** `merge(m1, l1, m2, l2)` → `m, l`, all of one shape: what you would know had you seen
# both parts. One of them may have seen nothing, $(-\infty, 0)$.
#
# $$ m = \max(m_1, m_2) \qquad l = l_1\, e^{m_1 - m} + l_2\, e^{m_2 - m} $$
#
# The check merges the same blocks one after another, in shuffled orders, and as a tree.


# %% exercise="nb01-4" points=2
def merge(
    m1: Float[Tensor, "rows 1"],
    l1: Float[Tensor, "rows 1"],
    m2: Float[Tensor, "rows 1"],
    l2: Float[Tensor, "rows 1"],
) -> tuple[Float[Tensor, "rows 1"], Float[Tensor, "rows 1"]]:
    # about 2 lines
    ### BEGIN SOLUTION nb01-4 bring both sums to one maximum
    m = torch.maximum(m1, m2)
    return m, l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)
    ### END SOLUTION


# %% check="nb01-4"
check("nb01-4", merge)

# %% [markdown]
# <details><summary>It is right one way round and wrong the other</summary>
#
# Only one of the two sums was rescaled. You do not know which side holds the larger maximum.
# </details>
#
# <details><summary>A part that has seen nothing gives NaN</summary>
#
# `l2 / l1` or `m1 - m2` as a factor fails for $0$ or $-\infty$. Subtract the common maximum from
# each.
# </details>

# %% [markdown]
# Here are four "programs", each with a quarter of a row. Whatever order they finish in, the result
# is the same, up to rounding:

# %%
parts = [step(torch.tensor([[-torch.inf]]), torch.zeros(1, 1), b[None]) for b in ROW.split(4)]
for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
    m, l = parts[order[0]]
    for i in order[1:]:
        m, l = merge(m, l, *parts[i])
    print("finished in order", order, f"m = {m.item():.3f}, l = {l.item():.6f}")

# %% [markdown]
# **Checkpoint.** `merge` is *associative* (grouping does not matter), *commutative* (order does not
# matter) and has an *identity*. What is the identity, and why does it matter to a kernel?
#
# <details><summary>Answer</summary>
#
# $(-\infty, 0)$: merging it changes nothing. So a masked place can hold $-\infty$: it is beaten by
# any maximum, and $e^{-\infty} = 0$ adds nothing to the sum. One side must have seen something,
# though: two empty parts give $-\infty - (-\infty)$, which is NaN. Here no block is empty.
# </details>

# %% [markdown]
# ## 4. The kernel
#
# One program takes one row and walks over it, `BLOCK` columns at a time: two loops, the same as in
# `blocked_softmax`. What changes? Addresses and masks, as in notebook 00. And `m` and `l` are plain
# numbers, kept in registers: they never travel to memory.

# %% [markdown]
# ### nb01-5 Online softmax in Triton &nbsp; · &nbsp; 25 min
# **Write** the body of `softmax_kernel`: program $r$ writes row $r$ of $y = \text{softmax}(x)$.
#
# `x` is `(rows, n)` with strides `stride_xr`, `stride_xn` (elements); `y` is `(rows, n)`,
# contiguous, of the same dtype. Compute in fp32. Two loops, and no block longer than `BLOCK`.
# The row number is an int64, because row times stride may exceed $2^{31}$ in a large matrix.
#
# Useful: `tl.maximum(a, b)` of two values, `tl.max(x, 0)` and `tl.sum(x, 0)` of a block, `tl.exp`,
# `.to(tl.float32)`. `tl.store` rounds to the dtype of `y`.


# %% exercise="nb01-5" points=3
@triton.jit
def softmax_kernel(
    x_ptr,  # (rows, n)
    y_ptr,  # (rows, n), contiguous
    stride_xr,
    stride_xn,
    n,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x_row = x_ptr + row * stride_xr
    y_row = y_ptr + row * n
    m = -float("inf")  # largest value so far
    l = 0.0  # sum of exponentials relative to m
    # about 11 lines: a loop that updates m and l, a loop that writes y
    ### BEGIN SOLUTION nb01-5 one row, two passes
    for start in range(0, n, BLOCK):
        j = start + cols
        x = tl.load(x_row + j * stride_xn, mask=j < n, other=-float("inf")).to(tl.float32)
        m_new = tl.maximum(m, tl.max(x, 0))
        l = l * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new), 0)
        m = m_new
    for start in range(0, n, BLOCK):
        j = start + cols
        x = tl.load(x_row + j * stride_xn, mask=j < n, other=-float("inf")).to(tl.float32)
        tl.store(y_row + j, tl.exp(x - m) / l, mask=j < n)
    ### END SOLUTION


# %% check="nb01-5"
check("nb01-5", softmax_kernel)

# %% [markdown]
# <details><summary>Full blocks are right; a ragged end makes every result too small</summary>
#
# Masked places took part in the sum. With `other=0.0` each adds $e^{0 - m}$. Which value adds
# nothing, and loses against any maximum?
# </details>
#
# <details><summary>Rows around -50 are all zero or NaN, others are fine</summary>
#
# The same mistake: a masked 0 becomes the maximum, and then $e^{-50 - 0}$ is next to nothing.
# </details>

# %% [markdown]
# <details><summary>One block is right, several are not</summary>
#
# Is `l` rescaled with the *old* `m`, before `m` is replaced? Does the second loop use the final `m`
# and `l`?
# </details>
#
# <details><summary>It says how often each element of x was read</summary>
#
# A loop for the maximum, one for the sum and one for the result are the three passes of nb01-1.
# Update `m` and `l` together, in one loop.
# </details>

# %% [markdown]
# The launcher, and a comparison on rows that are hard: far from 0, and no multiple of `BLOCK` long.


# %%
def softmax(x: Float[Tensor, "rows n"], BLOCK: int = 128) -> Float[Tensor, "rows n"]:
    require("nb01-5", softmax_kernel)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    softmax_kernel[(x.shape[0],)](x, y, *x.stride(), x.shape[1], BLOCK=BLOCK)
    return y


x = torch.randn(8, 1000, device=DEVICE) * 10 - 50
print("largest difference:", (softmax(x) - torch.softmax(x, dim=-1)).abs().max().item())
x = x[:, :20].T
print("on a transposed view:", (softmax(x) - torch.softmax(x, dim=-1)).abs().max().item())

# %% [markdown]
# **Checkpoint.** Your kernel reads `x` twice. When could it read it once, and what would break?
#
# <details><summary>Answer</summary>
#
# When the whole row fits on the chip: load it once, keep it, normalise. With longer rows,
# registers and shared memory run out. The online kernel works for any length.
# </details>

# %% [markdown]
# ## 5. Backward
#
# Training needs gradients of the loss $\phi$: given $dy_j = \partial \phi / \partial y_j$, what is
# $dx_i = \partial \phi / \partial x_i$? First, how does $y_j = e^{x_j} / s$ with $s = \sum_k
# e^{x_k}$ depend on $x_i$? By the quotient rule, with $\delta_{ij} = 1$ if $i = j$ and 0 otherwise,
#
# $$ \frac{\partial y_j}{\partial x_i}
# = \frac{\delta_{ij}\, e^{x_j}}{s} - \frac{e^{x_j}\, e^{x_i}}{s^2} = y_j\, (\delta_{ij} - y_i) $$
#
# As a matrix: $J = \text{diag}(y) - y\, y^T$.

# %%
pictures.jacobian(torch.softmax(ROW[:8], dim=-1))

# %% [markdown]
# $J$ has $n \times n$ entries for each row, far too many. But we never need $J$, only its product
# with $dy$, and a diagonal plus a rank-one matrix multiplies cheaply. The chain rule gives
#
# $$ dx_i = \sum_j dy_j \frac{\partial y_j}{\partial x_i} = \sum_j dy_j\, y_j\, (\delta_{ij} - y_i)
# = y_i \Big( dy_i - \sum_j y_j\, dy_j \Big) $$
#
# One number per row, $D = \sum_j y_j\, dy_j$, and then everything is elementwise. Remember $D$: it
# comes back in FlashAttention.

# %% [markdown]
# ### nb01-6 Softmax backward &nbsp; · &nbsp; 10 min
# **Write** `softmax_backward(y, dy)`: both `(rows, n)` → `dx (rows, n)`. It needs the *output* of
# the forward, not `x`.
#
# $$ dx_i = y_i\, (dy_i - D) \qquad D = \sum_j y_j\, dy_j $$


# %% exercise="nb01-6" points=2
def softmax_backward(
    y: Float[Tensor, "rows n"], dy: Float[Tensor, "rows n"]
) -> Float[Tensor, "rows n"]:
    # about 2 lines
    ### BEGIN SOLUTION nb01-6 the gradient without the Jacobian
    D = (y * dy).sum(dim=-1, keepdim=True)
    return y * (dy - D)
    ### END SOLUTION


# %% check="nb01-6"
check("nb01-6", softmax_backward)

# %% [markdown]
# <details><summary>Each row of dx should sum to 0, and does not</summary>
#
# Adding a constant to a row of `x` does not change `y`, so the gradient cannot point that way. Is
# the $D$ term missing, or summed over the wrong dimension?
# </details>
#
# <details><summary>The shapes do not match</summary>
#
# $D$ is one number a row: `keepdim=True` makes it `(rows, 1)`.
# </details>

# %% [markdown]
# A forward kernel and a backward make a differentiable operation. `autograd.Function` ties them
# together; `save_for_backward` keeps what the backward needs, here only `y`.


# %%
class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = softmax(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return softmax_backward(y, dy)


# %%
x = torch.randn(4, 300, device=DEVICE, requires_grad=True)
dy = torch.randn_like(x)
(ours,) = torch.autograd.grad(Softmax.apply(x), x, dy)
(theirs,) = torch.autograd.grad(torch.softmax(x, dim=-1), x, dy)
print("largest difference to PyTorch's gradient:", (ours - theirs).abs().max().item())

# %% [markdown]
# **Checkpoint.** The module `online_softmax/online_softmax.py` is this chapter as a finished
# package: for `(batch, d1, d2)`, several rows a program, forward and backward in Triton. Read it
# now. It is short, and the homework's modules look the same. Why does it save `y` and not `x`?
#
# <details><summary>Answer</summary>
#
# The backward needs $y$ only. Saving `x` would mean computing the softmax again. FlashAttention
# decides otherwise: its $y$ is too large to keep, so it saves one number a row and computes $y$
# again.
# </details>

# %% [markdown]
# ## 6. How fast is it, really?
#
# Can you time a kernel with a stopwatch? Starting a kernel only puts it into the GPU's queue. The
# CPU goes on at once, long before the work is done. Four ways to be wrong:
#
# 1. **Async.** Read the clock without waiting, and you time the launch.
# 2. **Warm-up.** The first call compiles the kernel. That takes far longer than running it.
# 3. **Cache.** Repeat a call, and its inputs may still lie in the L2 cache (tens of MB).
# 4. **One pass.** A single number says nothing about its spread.

# %%
pictures.timeline()

# %% [markdown]
# The right tool is an **event**: a mark put into the same queue as the work. The GPU writes down
# the time when it gets there. `course.bench` wraps this in a clock:
#
# - `clock.record()` puts a mark into the queue and returns it,
# - `clock.synchronize()` waits until the queue is empty,
# - `clock.elapsed_ms(start, end)` is the time between two marks, once they have been reached,
# - `clock.flush_cache()` pushes your inputs out of the L2 cache.
#
# `CudaClock` is the real one. `FakeClock` imitates it where there is no GPU: same queue, same
# traps.

# %% [markdown]
# ### nb01-7 An honest stopwatch &nbsp; · &nbsp; 15 min
# **Write** `time_ms(fn, clock, warm_up, passes)` → a list of `passes` times in ms, one a pass.
#
# Call `fn()` `warm_up` times untimed. For each timed pass: flush the cache, then a mark, one
# `fn()`, another mark. Wait once, at the end, and only then read the times:
#
# $$ t_i = \text{elapsed}(\text{start}_i, \text{end}_i), \quad i = 1, \dots, \text{passes} $$


# %% exercise="nb01-7" points=2
def time_ms(fn, clock, warm_up: int = 10, passes: int = 100) -> list[float]:
    # about 9 lines
    ### BEGIN SOLUTION nb01-7 marks around each pass, one wait at the end
    for _ in range(warm_up):
        fn()
    marks = []
    for _ in range(passes):
        clock.flush_cache()
        start = clock.record()
        fn()
        marks.append((start, clock.record()))
    clock.synchronize()
    return [clock.elapsed_ms(start, end) for start, end in marks]
    ### END SOLUTION


# %% check="nb01-7"
check("nb01-7", time_ms)

# %% [markdown]
# <details><summary>RuntimeError: device not ready</summary>
#
# The times were read before the GPU had reached the marks. `clock.synchronize()` first.
# </details>

# %% [markdown]
# <details><summary>The times are negative, or tiny</summary>
#
# Negative: start and end are swapped. Tiny: a CPU clock such as `time.time()` sees the launch only.
# </details>
#
# <details><summary>The times include the flush</summary>
#
# Flushing is work in the same queue. The first mark belongs after it, right before `fn()`.
# </details>

# %% [markdown]
# Why wait only once? Waiting after each pass leaves the GPU idle while the CPU prepares the next
# launch. With events the queue stays full, and each pass still has its own two marks.
#
# Now your kernel, if there is a GPU. Without one the clock is a fake: it shows that `time_ms`
# works, and says nothing about speed. The interpreter's time would say nothing either.

# %%
if DEVICE == "cuda":
    x = torch.randn(16384, 8192, device=DEVICE)
    times = time_ms(lambda: softmax(x, BLOCK=1024), CudaClock())
    print(f"softmax of 16384 x 8192 in fp32: median {sorted(times)[len(times) // 2]:.3f} ms")
else:
    fake = FakeClock()
    times = time_ms(lambda: fake.launch("softmax", ms=2.5), fake)
    print(f"Unproven here, there is no GPU to time. The fake one took {times[0]} ms, as told.")

# %% [markdown]
# Is that fast? A softmax does little arithmetic, so it waits for memory: it is **memory-bound**.
# The fair question is which share of the memory's speed it reaches. Count the bytes it must move,
# and divide by the time. How often does each version read and write the whole matrix? In PyTorch,
# maximum, difference, exponential, sum and quotient are five operations, and each goes to memory:

# %%
pictures.traffic()

# %% [markdown]
# ### nb01-8 Gigabytes a second &nbsp; · &nbsp; 8 min
# **Write** `bytes_moved(rows, n, itemsize, reads, writes)` → the bytes that travel if a matrix of
# `rows` x `n` elements of `itemsize` bytes is read `reads` times and written `writes` times; and
# `gb_per_s(moved, ms)` → GB/s, for `moved` bytes in `ms` milliseconds. 1 GB is $10^9$ bytes.
#
# $$ B = (\text{reads} + \text{writes}) \cdot \text{rows} \cdot n \cdot \text{itemsize} \qquad
# \text{GB/s} = \frac{B / 10^9}{t / 1000} $$


# %% exercise="nb01-8" points=1
def bytes_moved(rows: int, n: int, itemsize: int, reads: int, writes: int) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb01-8 count the bytes
    return (reads + writes) * rows * n * itemsize
    ### END SOLUTION


def gb_per_s(moved: int, ms: float) -> float:
    # about 1 line
    ### BEGIN SOLUTION nb01-8 bytes over time
    return moved / 1e9 / (ms / 1e3)
    ### END SOLUTION


# %% check="nb01-8"
check("nb01-8", bytes_moved, gb_per_s)

# %% [markdown]
# <details><summary>It is off by a factor of 1000, or of 1.07</summary>
#
# Milliseconds are thousandths of a second. And 1 GB is $10^9$ bytes; $2^{30}$ bytes are 1 GiB, 1.07
# times as much.
# </details>

# %% [markdown]
# One convention to know: published numbers count the *least* traffic, one read and one write,
# whatever the kernel really does. So a kernel that reads twice looks slower, as it should. A plain
# copy is the ceiling. Here is what was measured, with the finished package `online_softmax`, whose
# programs take several rows: "16 x 16" means 16 rows, 16 columns at a time, which is correct and
# reaches a third of a copy's speed. "1 x 4096" takes one row in blocks of 4096: at 1024
# columns three quarters of a block are masked, and at 8192 the second read of a row finds it in the
# cache.

# %%
pictures.bandwidth()

# %% [markdown]
# **Checkpoint.** Suppose a softmax of 16384 x 8192 in fp32 takes 1 ms. How many GB/s is that,
# counting one read and one write, and how many did an online kernel really move?
#
# <details><summary>Answer</summary>
#
# One read and one write are $2 \cdot 16384 \cdot 8192 \cdot 4 = 1.07 \cdot 10^9$ bytes: 1074 GB/s.
# With two reads it moved 1611 GB/s, if the second read did not come from a cache.
# </details>

# %% [markdown]
# ## Where next
#
# - **02 · Softmax-matmul**: multiply the softmax with a matrix *while* it is computed, so that even
#   the second pass goes away. Then homework 1 (`homework/01_softmax_matmul.md`).
# - `online_softmax/online_softmax.py`: the worked example, forward and backward.
# - M. Milakov, N. Gimelshein, *Online normalizer calculation for softmax*, 2018 (arXiv:1805.02867).
