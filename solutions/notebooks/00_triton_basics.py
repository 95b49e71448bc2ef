# course: exercise
# %% [markdown]
# # 00 · Triton basics
#
# **How do a thousand small programs share one big job without getting in each other's way?**
#
# About 110 minutes · 7 exercises · 12 points. No GPU needed: without one, Triton's interpreter
# runs every kernel on the CPU: slowly, but with the same numbers.
#
# You will add vectors, turn a photo grey, find three planted mistakes, and multiply matrices.
# You need Python and a little PyTorch, no CUDA. Every exercise has a check right under it, and
# hints to unfold under that.

# %%
import course.notebook

# %% [markdown]
# The points are for practice: they tell you how far you are. They are no part of the homework
# mark, unless your instructor collects notebooks.
#
# - A check that never ends: press the stop button, and look at your loop.
# - "The kernel died": your code read or wrote outside its memory. Restart, and run all cells above.

# %%
import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from matplotlib.cbook import get_sample_data
from matplotlib.pyplot import imread
from torch import Tensor

from course.check import require
from course.notebook import DEVICE, INTERPRETED, check
from course.pictures import basics

# %% [markdown]
# ## 1. Programs and grids
#
# PyTorch thinks in whole tensors. A GPU thinks in **programs**: one small piece of code, started
# many times at once. The piece of code is the *kernel*; how many programs start is the *grid*.
#
# All programs run the same lines. A program knows one thing the others do not: its number.
# From that number it works out which elements are its own. That is the whole idea.

# %%
basics.programs(n=10, BLOCK=4)

# %% [markdown]
# Here is a first kernel. Each program writes its own number into its own four elements.
#
# - `tl.program_id(0)` is the program's number.
# - `tl.arange(0, BLOCK)` is 0, 1, ..., BLOCK - 1. Its length must be a power of two and known
#   when the kernel is compiled, hence `tl.constexpr`.
# - `out_ptr` is the address of the first element, so `out_ptr + offsets` is a block of addresses.
# - `kernel[(3,)](...)` starts three programs.


# %%
@triton.jit
def who_kernel(out_ptr, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + offsets, pid)


owner = torch.full((12,), -1, dtype=torch.int32, device=DEVICE)
who_kernel[(3,)](owner, BLOCK=4)
print(owner.tolist())

# %% [markdown]
# Twelve elements are three blocks of four. What if there are ten? The third block hangs over the
# edge. Its last two places belong to nobody, or worse, to somebody else. So a program also needs
# a **mask**: for each place of the block, *is it really there?*

# %% [markdown]
# ### nb00-1 Which elements are mine? &nbsp; · &nbsp; 8 min
# First in plain PyTorch, where everything can be printed. For `n` elements in blocks of $B$:
#
# $$ P = \lceil n / B \rceil \qquad o_i = p B + i \quad (i = 0, \dots, B - 1) \qquad
# \text{mask}_i = [\, o_i < n \,] $$
#
# **Write** `number_of_programs(n, BLOCK)` → the int $P$, and `my_block(pid, n, BLOCK)` → the
# `offsets` (int64) and the `mask` (bool) of program `pid`, each of shape `(BLOCK,)`.
#
# Before a check, run the cell above it. If that shows a red error, mend that first.


# %% exercise="nb00-1" points=1
def number_of_programs(n: int, BLOCK: int) -> int:
    # about 1 line
    ### BEGIN SOLUTION nb00-1 how many blocks cover n elements
    return (n + BLOCK - 1) // BLOCK
    ### END SOLUTION


def my_block(pid: int, n: int, BLOCK: int) -> tuple[Int[Tensor, "BLOCK"], Bool[Tensor, "BLOCK"]]:
    # about 2 lines
    ### BEGIN SOLUTION nb00-1 the offsets and the mask of one program
    offsets = pid * BLOCK + torch.arange(BLOCK)
    return offsets, offsets < n
    ### END SOLUTION


# %% check="nb00-1"
check("nb00-1", number_of_programs, my_block)

# %% [markdown]
# <details><summary>There is one program too many when the blocks fit exactly</summary>
#
# `n // BLOCK + 1` counts an empty block when `n` is a multiple of `BLOCK`. Add `BLOCK - 1` to `n`
# *before* the division. Triton has this as `triton.cdiv(n, BLOCK)`.
# </details>
#
# <details><summary>Only program 0 is right</summary>
#
# Each program before yours owns `BLOCK` elements. Where does yours begin?
# </details>

# %% [markdown]
# Now the same in a kernel. `tl.load(addresses, mask=mask)` reads only where the mask is true, and
# `tl.store(addresses, values, mask=mask)` writes only there.
#
# What does a masked place hold after a load? Whatever `other=` says, for example
# `tl.load(..., mask=mask, other=0.0)`. Without `other=` it is undefined: the interpreter happens to
# give 0, a GPU may give anything. Without a GPU the checks give NaN or infinity, which show.

# %% [markdown]
# ### nb00-2 Add two vectors &nbsp; · &nbsp; 12 min
# Each program adds one block: $\text{out}_i = x_i + y_i$.
#
# **Write** the body of `add_kernel`. `x_ptr`, `y_ptr` and `out_ptr` point to `n` contiguous
# elements each; `n` need not be a multiple of `BLOCK`. It is started with
# $\lceil n / \text{BLOCK} \rceil$ programs.


# %% exercise="nb00-2" points=2
@triton.jit
def add_kernel(
    x_ptr,  # (n,)
    y_ptr,  # (n,)
    out_ptr,  # (n,)
    n,
    BLOCK: tl.constexpr,
):
    # about 6 lines: who am I, which elements are mine, which exist, load, load, store
    ### BEGIN SOLUTION nb00-2 add one block of two vectors
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)
    ### END SOLUTION


# %% check="nb00-2"
check("nb00-2", add_kernel)

# %% [markdown]
# <details><summary>Elements beyond the end were written</summary>
#
# The last block hangs over the edge. `tl.store` needs the mask as much as `tl.load` does.
# </details>

# %% [markdown]
# <details><summary>x[63] was read, but x has 63 elements</summary>
#
# The sum is right, because the store drops what was read there. The read is still not yours: on a
# GPU it may stop the program. Both loads need the mask.
# </details>
#
# <details><summary>Only the first block is right, the rest is NaN</summary>
#
# NaN here means: never written. Do all programs write to the same place? Does `offsets` depend on
# `tl.program_id(0)`?
# </details>

# %% [markdown]
# A kernel needs a **launcher**: an ordinary function that makes room for the output, chooses
# block and grid, and starts it. PyTorch tensors go in as pointers.


# %%
def add(x: Float[Tensor, "n"], y: Float[Tensor, "n"], BLOCK: int = 256) -> Float[Tensor, "n"]:
    require("nb00-2", add_kernel)
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), BLOCK),)](x, y, out, x.numel(), BLOCK=BLOCK)
    return out


x = torch.randn(1000, device=DEVICE)
y = torch.randn(1000, device=DEVICE)
print("largest difference to x + y:", (add(x, y) - (x + y)).abs().max().item())

# %% [markdown]
# **Checkpoint.** A grid of programs, a block each, a mask for the edge. Before you go on, answer:
# how many programs does `add` start for 1000 elements, and how many places are masked off?
#
# <details><summary>Answer</summary>
#
# $\lceil 1000 / 256 \rceil = 4$ programs with 1024 places, so the last program masks off 24.
# </details>

# %% [markdown]
# ## 2. Strides and broadcasting
#
# How does a kernel read a *matrix*? Memory is one long line. A tensor is a start address, a shape,
# and one **stride** per dimension: how many elements to step over to get to the next index.
#
# $$ \text{address of } x[i, j] = \text{start} + i \cdot s_0 + j \cdot s_1 $$
#
# Transposing swaps the strides and moves nothing. The two matrices below are the same memory.

# %%
basics.strides()

# %%
matrix = torch.arange(12).reshape(3, 4)
print("strides", matrix.stride(), "· transposed", matrix.T.stride())
print("same memory:", matrix.data_ptr() == matrix.T.data_ptr())

# %% [markdown]
# A kernel that assumes "rows are contiguous" is wrong on half of what people pass to it. A kernel
# that takes strides as arguments works on every view, with no copy.
#
# A two-dimensional block of addresses comes from **broadcasting**, as in NumPy: a column of row
# numbers `rows[:, None]` plus a row of column numbers `cols[None, :]` is a table. Below: rows 2 and
# 3, columns 4 to 7 of a matrix with strides 10 and 1.

# %%
basics.broadcasting()

# %% [markdown]
# ### nb00-3 The addresses of a tile &nbsp; · &nbsp; 8 min
# A *tile* is a two-dimensional block. The grid is two-dimensional too: program $(p_m, p_n)$ owns
# tile row $p_m$ and tile column $p_n$.
#
# $$ o_{ij} = (p_m B_M + i)\, s_m + (p_n B_N + j)\, s_n $$
#
# **Write** `tile_offsets(...)` → the int64 offsets, shape `(BLOCK_M, BLOCK_N)`, without a loop.


# %% exercise="nb00-3" points=1
def tile_offsets(
    pid_m: int, pid_n: int, stride_m: int, stride_n: int, BLOCK_M: int, BLOCK_N: int
) -> Int[Tensor, "BLOCK_M BLOCK_N"]:
    # about 3 lines
    ### BEGIN SOLUTION nb00-3 broadcast rows against columns
    rows = pid_m * BLOCK_M + torch.arange(BLOCK_M)
    cols = pid_n * BLOCK_N + torch.arange(BLOCK_N)
    return rows[:, None] * stride_m + cols[None, :] * stride_n
    ### END SOLUTION


# %% check="nb00-3"
check("nb00-3", tile_offsets)

# %% [markdown]
# <details><summary>The shape is wrong, or the sizes "must match"</summary>
#
# `rows + cols` adds two vectors of different length. Give each a dimension of size 1, in different
# places: `rows[:, None]` is `(BLOCK_M, 1)`, `cols[None, :]` is `(1, BLOCK_N)`.
# </details>
#
# <details><summary>Square tiles are right, others are not</summary>
#
# Rows go with `BLOCK_M` and `stride_m`, columns with `BLOCK_N` and `stride_n`. One got mixed up.
# </details>

# %% [markdown]
# Now a real picture. A photo is a tensor of shape (height, width, 3): red, green and blue for each
# pixel. This one comes with matplotlib and shows Grace Hopper, who wrote one of the first
# compilers.

# %%
PHOTO_FILE = get_sample_data("grace_hopper.jpg", asfileobj=False)
PHOTO = torch.tensor(imread(PHOTO_FILE), device=DEVICE).float() / 255
print("shape", tuple(PHOTO.shape), "· strides", PHOTO.stride())

# %% [markdown]
# ### nb00-4 A photo in grey &nbsp; · &nbsp; 18 min
# The eye sees green best, so the grey value of a pixel weighs the colours (ITU-R BT.601):
#
# $$ \text{grey} = 0.299\,\text{red} + 0.587\,\text{green} + 0.114\,\text{blue} $$
#
# **Write** the body of `grey_kernel`: program $(p_h, p_w)$ turns one tile of
# `BLOCK_H` x `BLOCK_W` pixels grey. `rgb` is `(H, W, 3)`, `grey` is `(H, W)`, both fp32 with the
# strides given, in elements. Any strides: the next cells pass a transposed photo.


# %% exercise="nb00-4" points=2
@triton.jit
def grey_kernel(
    rgb_ptr,  # (H, W, 3)
    grey_ptr,  # (H, W)
    H,
    W,
    stride_h,
    stride_w,
    stride_c,
    stride_gh,
    stride_gw,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    cols = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    # about 7 lines: the mask of the tile, its addresses, three loads, one store
    ### BEGIN SOLUTION nb00-4 grey values of one tile
    mask = (rows[:, None] < H) & (cols[None, :] < W)
    pixels = rgb_ptr + rows[:, None] * stride_h + cols[None, :] * stride_w
    r = tl.load(pixels, mask=mask)
    g = tl.load(pixels + stride_c, mask=mask)
    b = tl.load(pixels + 2 * stride_c, mask=mask)
    out = grey_ptr + rows[:, None] * stride_gh + cols[None, :] * stride_gw
    tl.store(out, 0.299 * r + 0.587 * g + 0.114 * b, mask=mask)
    ### END SOLUTION


# %% check="nb00-4"
check("nb00-4", grey_kernel)

# %% [markdown]
# <details><summary>The plain photo is right, the transposed one is not</summary>
#
# Look for a stride that is written as a number, or as `W` or `3`. Use the four strides of the
# arguments only.
# </details>
#
# <details><summary>The plain photo is right, the transposed one has NaN along an edge</summary>
#
# In one dimension "beyond the end" meant beyond the memory. In two, column `W` of row 0 *exists*:
# in a plain photo it is column 0 of row 1, elsewhere it is something else. A pixel needs both, a
# row below `H` and a column below `W`, joined with `&`.
# </details>

# %% [markdown]
# <details><summary>Elements beyond the end were written, although there is a mask</summary>
#
# `and` keeps only one of two masks. And `rows < H & cols < W` means `rows < (H & cols) < W`, as `&`
# binds tighter than `<`. Use `&`, each side in parentheses: `(...) & (...)`.
# </details>

# %% [markdown]
# Now the real photo, with no fence around it. If the kernel dies here, your kernel read or wrote
# outside memory: restart, and run all cells above.


# %%
def grey(rgb: Float[Tensor, "H W 3"], BLOCK: int = 64) -> Float[Tensor, "H W"]:
    require("nb00-4", grey_kernel)
    H, W, _ = rgb.shape
    out = torch.empty(H, W, device=rgb.device)
    grid = (triton.cdiv(H, BLOCK), triton.cdiv(W, BLOCK))
    grey_kernel[grid](rgb, out, H, W, *rgb.stride(), *out.stride(), BLOCK_H=BLOCK, BLOCK_W=BLOCK)
    return out


basics.photos(PHOTO, grey(PHOTO), grey(PHOTO.transpose(0, 1)))

# %% [markdown]
# The third picture is the same kernel on `PHOTO.transpose(0, 1)`. Nobody copied the photo. Only
# two strides changed places.
#
# Right is not the same as fast, though. A GPU fetches memory in runs of neighbouring bytes, so it
# is fastest when neighbouring places of a block have neighbouring addresses. A large stride in the
# last dimension of a block costs time, never correctness.

# %% [markdown]
# **Checkpoint.** Strides make a kernel independent of layout, broadcasting makes the addresses.
# What are the strides of `PHOTO[::2, ::2]`, every second pixel, and would `grey` work on it?
#
# <details><summary>Answer</summary>
#
# Twice the first two strides, (3072, 6, 1), and yes: the kernel only ever asks for strides.
# </details>

# %% [markdown]
# ## 3. When a kernel is wrong
#
# How do you look inside a program? It depends on where it runs.
#
# | tool | in the interpreter | on a GPU |
# |---|---|---|
# | `tl.device_print("x", x)` | prints the block | prints every element, one line each |
# | `print("x", x)` | prints anything, it is Python | becomes `device_print` |
# | `breakpoint()` | stops in Python's debugger | not possible |
# | `tl.static_assert(cond, "why")` | checked when the line runs | checked when compiled |
# | `tl.device_assert` | does nothing | with `TRITON_DEBUG=1` |


# %%
@triton.jit
def look_kernel(x_ptr, n, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK <= 8, "a block this large floods the screen")
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n, other=0.0)
    tl.device_print("x", x)


look_kernel[(2,)](torch.arange(1.0, 7.0, device=DEVICE), 6, BLOCK=4)
if not INTERPRETED:
    torch.cuda.synchronize()  # a GPU prints when it gets there

# %% [markdown]
# In front of each line stands the program's number in the grid, `(0, 0, 0)` and `(1, 0, 0)`. The
# last two places of program 1 hold the `other=` value: they do not exist.
#
# Even with a GPU, the interpreter is the place to look for mistakes. Set `TRITON_INTERPRET=1`
# before Python starts, or as the first line of a notebook, before triton is imported: `import os;
# os.environ["TRITON_INTERPRET"] = "1"`.

# %% [markdown]
# **What the interpreter does not catch.** It can show a right answer for a wrong kernel.
#
# - *Out of bounds.* It reads and writes whatever lies there, as a GPU would.
# - *Races.* It runs the programs one after another; a GPU runs them together.
# - *Sizes the hardware refuses*, such as a `tl.dot` that sums fewer than 16 products.
# - *bf16 and fp8, left to itself.* It takes their bits for integers. The first cell mends that; a
#   script of your own needs `from course.device import prepare; prepare()` before triton.
# - *Speed.* It says nothing about it.
#
# The checks here fence outputs in with known values and surround inputs with NaN. Steal the trick.

# %% [markdown]
# ### nb00-5 Three planted mistakes &nbsp; · &nbsp; 15 min
# `row_max_kernel` finds the largest element of each row: $\text{out}_i = \max_j x_{ij}$. It gives
# the right answer for a contiguous 4 x 8 matrix of positive numbers. It is wrong otherwise.
#
# **Repair** it. `x` is `(rows, cols)` with row stride `stride_row` and column stride 1; `out` is
# `(rows,)`, contiguous. One program does `BLOCK_R` rows; `BLOCK_C` is at least `cols`.
#
# `tl.max(x, 1)` is the maximum along dimension 1 of a block, one number a row, as `tl.sum(x, 1)` is
# the sum; in a kernel minus infinity is `-float("inf")`. The check names one symptom at a time.


# %% exercise="nb00-5" points=2
@triton.jit
def row_max_kernel(
    x_ptr,  # (rows, cols)
    out_ptr,  # (rows,)
    rows,
    cols,
    stride_row,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    # about 3 repairs of a few characters each
    ### BEGIN SOLUTION nb00-5 repair the row maximum
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_C)
    mask = (r[:, None] < rows) & (c[None, :] < cols)
    x = tl.load(x_ptr + r[:, None] * stride_row + c[None, :], mask=mask, other=-float("inf"))
    tl.store(out_ptr + r, tl.max(x, 1), mask=r < rows)
    ### END SOLUTION
    ### BEGIN STUB
    # r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    # c = tl.arange(0, BLOCK_C)
    # mask = (r[:, None] < rows) & (c[None, :] < cols)
    # x = tl.load(x_ptr + r[:, None] * cols + c[None, :], mask=mask, other=0.0)
    # tl.store(out_ptr + r, tl.max(x, 1))
    ### END STUB


# %% check="nb00-5"
check("nb00-5", row_max_kernel)

# %% [markdown]
# <details><summary>Rows of negative numbers have the maximum 0</summary>
#
# The masked places take part in the maximum. Which number can take part in any maximum without
# changing it? (For a sum it is 0. Such a number is called the *identity* of the reduction.)
# </details>
#
# <details><summary>It is wrong for a slice of a wider matrix</summary>
#
# In `wide[:, :5]` the next row does not begin after 5 elements. Which argument knows?
# </details>

# %% [markdown]
# <details><summary>An element beyond the end of out was written</summary>
#
# With 7 rows the second program has 4 places and 3 rows. The store needs a mask as well.
# </details>

# %% [markdown]
# Now a mistake that no amount of printing shows. To add up a vector, let each program add its part
# to *one* total: load the total, add, store it. Run it:


# %%
@triton.jit
def racy_sum_kernel(x_ptr, total_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x_ptr + offsets, mask=offsets < n, other=0.0), 0)
    tl.store(total_ptr, tl.load(total_ptr) + part)


ones = torch.ones(10_000, device=DEVICE)
total = torch.zeros(1, device=DEVICE)
racy_sum_kernel[(triton.cdiv(10_000, 64),)](ones, total, 10_000, BLOCK=64)
print(f"10000 ones add up to {total.item():.0f}", "(interpreted)" if INTERPRETED else "(GPU)")

# %% [markdown]
# The interpreter gets 10000, because it runs one program after another. On a GPU two programs may
# both load the old total before either stores, and then one update is lost. That is a **race**.

# %%
basics.lost_update()

# %% [markdown]
# ### nb00-6 A sum without a race &nbsp; · &nbsp; 10 min
# The simplest cure: no two programs ever write to the same address. Each stores its own partial
# sum, and a second step adds those up.
#
# $$ \text{partial}_p = \sum_{i = pB}^{\min(n,\, (p + 1) B) - 1} x_i $$
#
# **Write** the body of `partial_sum_kernel`. `x` is `(n,)`, `partial` is `(programs,)` with one
# place for each program, and holds no useful value before. `tl.sum(x, 0)` adds up a block `x`.


# %% exercise="nb00-6" points=1
@triton.jit
def partial_sum_kernel(
    x_ptr,  # (n,)
    partial_ptr,  # (programs,)
    n,
    BLOCK: tl.constexpr,
):
    # about 4 lines
    ### BEGIN SOLUTION nb00-6 one place for each program
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n, other=0.0)
    tl.store(partial_ptr + pid, tl.sum(x, 0))
    ### END SOLUTION


# %% check="nb00-6"
check("nb00-6", partial_sum_kernel)

# %% [markdown]
# <details><summary>x[63] was read, or the last partial sum is NaN</summary>
#
# The last block reads beyond the end. Mask the load, and let the masked places be 0: `other=0.0`.
# </details>
#
# <details><summary>Everything but one partial sum is NaN</summary>
#
# All programs wrote to the same place. `partial_ptr` is the address of the first; add `pid`.
# </details>

# %% [markdown]
# **Checkpoint.** There is another cure, `tl.atomic_add(total_ptr, part)`: the hardware does load,
# add and store as one step. Then the total is right on a GPU. What is still not nice about it?
#
# <details><summary>Answer</summary>
#
# Programs queue up at one address, which is slow. And they arrive in any order: floating-point sums
# depend on order, so two runs may differ in the last digits. This course's kernels use no atomics.
# </details>

# %% [markdown]
# ## 4. A tiled matrix product
#
# Can all this multiply matrices? $C = A B$ with $A$ of shape $(M, K)$ and $B$ of shape $(K, N)$:
# each program owns one tile of $C$. It walks along $K$, a step of `BLOCK_K` at a time, loads a tile
# of $A$ and a tile of $B$, multiplies them with `tl.dot`, and adds to an **accumulator**.

# %%
basics.matmul_steps()

# %% [markdown]
# Why tiles? Element by element, every entry of $C$ reads a row of $A$ and a column of $B$: each
# element of $A$ is fetched $N$ times. With tiles it is fetched $N / B_N$ times, because a loaded
# tile serves $B_N$ columns at once. Tiles of 64 mean 64 times less traffic for $A$. The same idea
# carries FlashAttention.
#
# Why is the accumulator fp32 even when the inputs are fp16? See for yourself:

# %%
half = torch.tensor(2048.0, dtype=torch.float16)
for _ in range(100):
    half = half + torch.tensor(0.9, dtype=torch.float16)
print(f"2048 + 100 times 0.9 in fp16 is {half.item():.0f}")

# %% [markdown]
# fp16 keeps 11 binary digits. Between 2048 and 4096 its numbers are 2 apart, so adding 0.9 changes
# nothing, a hundred times over. Tensor cores can multiply fp16 numbers and add in fp32: keep the
# sum in fp32, and round once, when storing.
#
# For fp32 inputs `tl.dot` has a choice: `input_precision="tf32"` rounds the inputs to 11 binary
# digits and is fast, `"ieee"` keeps them exact. On a GPU the default is TF32, and only `"ieee"`
# agrees with the check there, so we ask for it. The interpreter is exact either way.

# %% [markdown]
# ### nb00-7 Matrix product, tile by tile &nbsp; · &nbsp; 30 min
# $$ C_{\text{tile}} = \sum_{k} A_{\text{tile}, k}\, B_{k, \text{tile}} \qquad
# k = 0, B_K, 2 B_K, \dots < K $$
#
# **Write** the body of `matmul_kernel`. `a` is `(M, K)`, `b` is `(K, N)`, both of one dtype (fp32
# or fp16), `c` is `(M, N)`; any sizes, any strides (in elements). Accumulate in fp32:
# `tl.dot(a, b, acc, input_precision="ieee")` *returns* `acc` plus the product. Loops over
# `range(...)` may end at an argument such as `K`. `tl.store` converts to the dtype of the output.
# The grid is $(\lceil M / B_M \rceil, \lceil N / B_N \rceil)$.


# %% exercise="nb00-7" points=3
@triton.jit
def matmul_kernel(
    a_ptr,  # (M, K)
    b_ptr,  # (K, N)
    c_ptr,  # (M, N)
    M,
    N,
    K,
    stride_am,
    stride_ak,
    stride_bk,
    stride_bn,
    stride_cm,
    stride_cn,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    # about 11 lines: for each step along K, mask and load both tiles, add their product; then store
    ### BEGIN SOLUTION nb00-7 one tile of the product
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        b_mask = (k[:, None] < K) & (cols[None, :] < N)
        a_tile = a_ptr + rows[:, None] * stride_am + k[None, :] * stride_ak
        b_tile = b_ptr + k[:, None] * stride_bk + cols[None, :] * stride_bn
        a = tl.load(a_tile, mask=a_mask, other=0.0)
        b = tl.load(b_tile, mask=b_mask, other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
    c_tile = c_ptr + rows[:, None] * stride_cm + cols[None, :] * stride_cn
    c_mask = (rows[:, None] < M) & (cols[None, :] < N)
    tl.store(c_tile, acc.to(c_ptr.dtype.element_ty), mask=c_mask)
    ### END SOLUTION


# %% check="nb00-7"
check("nb00-7", matmul_kernel)

# %% [markdown]
# <details><summary>It is right when K is a multiple of BLOCK_K, and NaN otherwise</summary>
#
# The last step along K hangs over the edge, in `a` *and* in `b`. Both need `k < K` and
# `other=0.0`: a product with one masked side is not safe, because 0 times NaN is NaN.
# </details>
#
# <details><summary>It is wrong when K is not a multiple of BLOCK_K, but not NaN</summary>
#
# `range(K // BLOCK_K)` leaves the last, shorter step out. Count starts, `range(0, K, BLOCK_K)`, or
# round up: `tl.cdiv(K, BLOCK_K)` steps.
# </details>

# %% [markdown]
# <details><summary>Elements beyond the end of c were written</summary>
#
# The store needs a mask of its own, of rows and columns: `(rows[:, None] < M) & (cols[None, :] <
# N)`.
# </details>
#
# <details><summary>Everything is right but the fp16 case</summary>
#
# Something rounds to fp16 inside the loop. `acc` should stay the fp32 it was made as until
# `tl.store`.
# </details>

# %% [markdown]
# <details><summary>Only the case with everything transposed is wrong</summary>
#
# Two strides are swapped or left out. `stride_ak` is often 1, and leaving it out then goes
# unnoticed. Or a size is written as a number: there the blocks are 16 x 32 x 64.
# </details>


# %%
def matmul(
    a: Float[Tensor, "M K"], b: Float[Tensor, "K N"], BLOCK: int = 32
) -> Float[Tensor, "M N"]:
    require("nb00-7", matmul_kernel)
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty(M, N, device=a.device, dtype=a.dtype)
    grid = (triton.cdiv(M, BLOCK), triton.cdiv(N, BLOCK))
    blocks = {"BLOCK_M": BLOCK, "BLOCK_N": BLOCK, "BLOCK_K": BLOCK}
    matmul_kernel[grid](a, b, c, M, N, K, *a.stride(), *b.stride(), *c.stride(), **blocks)
    return c


a = torch.randn(100, 70, device=DEVICE)
b = torch.randn(90, 70, device=DEVICE).T
print("largest difference to a @ b:", (matmul(a, b) - a @ b).abs().max().item())

# %% [markdown]
# **Checkpoint.** Programs, blocks, masks, strides, and an accumulator in fp32: that is all the
# Triton you need for FlashAttention. One question to check it: `matmul` above gives a small
# difference, not zero. Is that a mistake?
#
# <details><summary>Answer</summary>
#
# No. Both sums have the same terms in another order, and fp32 rounds after each addition. The
# checks of this course allow what PyTorch's own error is, a little more, and nothing beyond.
# </details>

# %% [markdown]
# ## Where next
#
# - **01 · Online softmax**: a softmax that reads its input in pieces, the heart of FlashAttention.
# - `docs/notes/triton_basics.md` has this chapter's theory on two pages.
# - The matrix product comes back in **02 · Softmax-matmul** and in homework 1.
