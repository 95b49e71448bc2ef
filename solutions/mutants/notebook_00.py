# course: instructor
"""Wrong solutions of notebook 00: its checks must fail each, and say why.

``says`` is a part of the message a learner must get to read.
"""


def _mutant(exercise: str, title: str, old: str, new: str, says: str) -> dict[str, str]:
    return {
        "exercise": exercise,
        "file": "notebooks/00_triton_basics.py",
        "title": title,
        "old": old,
        "new": new,
        "says": says,
    }


MUTANTS = [
    _mutant(
        "nb00-1",
        "one program too many when the blocks fit",
        "return (n + BLOCK - 1) // BLOCK",
        "return n // BLOCK + 1",
        "number_of_programs(12, 4) is 4",
    ),
    _mutant(
        "nb00-1",
        "the last, shorter block is forgotten",
        "return (n + BLOCK - 1) // BLOCK",
        "return n // BLOCK",
        "need 3 programs",
    ),
    _mutant(
        "nb00-1",
        "the mask lets one place too many in",
        "return offsets, offsets < n",
        "return offsets, offsets <= n",
        "mask [True, True, True, False], expected [True, True, False, False]",
    ),
    _mutant(
        "nb00-1",
        "blocks of 4 whatever BLOCK is",
        "offsets = pid * BLOCK + torch.arange(BLOCK)",
        "offsets = pid * 4 + torch.arange(4)",
        "my_block(1, 12, 8)",
    ),
    _mutant(
        "nb00-1",
        "a number of programs that no grid takes",
        "return (n + BLOCK - 1) // BLOCK",
        "return float((n + BLOCK - 1) // BLOCK)",
        "3 programs, an int",
    ),
    _mutant(
        "nb00-2",
        "the store is not masked",
        "tl.store(out_ptr + offsets, x + y, mask=mask)",
        "tl.store(out_ptr + offsets, x + y)",
        "beyond the end of out",
    ),
    _mutant(
        "nb00-2",
        "all programs do the first block",
        "    x = tl.load(x_ptr + offsets, mask=mask)\n    y =",
        "    offsets = tl.arange(0, BLOCK)\n    x = tl.load(x_ptr + offsets, mask=mask)\n    y =",
        "NaN",
    ),
    _mutant(
        "nb00-2",
        "the two vectors are multiplied",
        "tl.store(out_ptr + offsets, x + y, mask=mask)",
        "tl.store(out_ptr + offsets, x * y, mask=mask)",
        "with n=64, BLOCK=16, out is wrong",
    ),
    _mutant(
        "nb00-2",
        "the loads are not masked",
        "y = tl.load(y_ptr + offsets, mask=mask)",
        "y = tl.load(y_ptr + offsets)",
        "y[63] was read, but y has 63 elements.",
    ),
    _mutant(
        "nb00-2",
        "every program adds everything",
        "    offsets = pid * BLOCK + tl.arange(0, BLOCK)\n    mask = offsets < n\n"
        "    x = tl.load(x_ptr + offsets, mask=mask)\n    y = tl.load(y_ptr + offsets, mask=mask)\n"
        "    tl.store(out_ptr + offsets, x + y, mask=mask)",
        "    for start in range(0, n, BLOCK):\n        offsets = start + tl.arange(0, BLOCK)\n"
        "        mask = offsets < n\n        x = tl.load(x_ptr + offsets, mask=mask)\n"
        "        y = tl.load(y_ptr + offsets, mask=mask)\n"
        "        tl.store(out_ptr + offsets, x + y, mask=mask)",
        "each program writes its own",
    ),
    _mutant(
        "nb00-3",
        "rows and columns swap strides",
        "return rows[:, None] * stride_m + cols[None, :] * stride_n",
        "return rows[:, None] * stride_n + cols[None, :] * stride_m",
        "expected [[0, 1, 2, 3], [10, 11, 12, 13]]",
    ),
    _mutant(
        "nb00-3",
        "the tile comes out transposed",
        "return rows[:, None] * stride_m + cols[None, :] * stride_n",
        "return rows[None, :] * stride_m + cols[:, None] * stride_n",
        "expected shape (2, 4), got (4, 2)",
    ),
    _mutant(
        "nb00-4",
        "a photo with contiguous rows is assumed",
        "pixels = rgb_ptr + rows[:, None] * stride_h + cols[None, :] * stride_w",
        "pixels = rgb_ptr + rows[:, None] * W * 3 + cols[None, :] * 3",
        "a photo that is transposed, grey is wrong",
    ),
    _mutant(
        "nb00-4",
        "the colours are assumed to lie side by side",
        "b = tl.load(pixels + 2 * stride_c, mask=mask)",
        "b = tl.load(pixels + 2, mask=mask)",
        "colours first, grey",
    ),
    _mutant(
        "nb00-4",
        "the right edge runs into the next row",
        "    mask = (rows[:, None] < H) & (cols[None, :] < W)\n    pixels",
        "    mask = rows[:, None] * W + cols[None, :] < H * W\n    pixels",
        "written transposed",
    ),
    _mutant(
        "nb00-4",
        "the weights of red and blue are swapped",
        "0.299 * r + 0.587 * g + 0.114 * b, mask=mask",
        "0.114 * r + 0.587 * g + 0.299 * b, mask=mask",
        "a photo that is contiguous, grey is wrong",
    ),
    _mutant(
        "nb00-4",
        "the result is assumed contiguous",
        "out = grey_ptr + rows[:, None] * stride_gh + cols[None, :] * stride_gw",
        "out = grey_ptr + rows[:, None] * W + cols[None, :]",
        "written transposed",
    ),
    _mutant(
        "nb00-4",
        "the two masks are joined with and",
        "mask = (rows[:, None] < H) & (cols[None, :] < W)\n    pixels",
        "mask = (rows[:, None] < H) and (cols[None, :] < W)\n    pixels",
        "join its parts with &, each side in parentheses",
    ),
    _mutant(
        "nb00-4",
        "the masks are joined without parentheses",
        "mask = (rows[:, None] < H) & (cols[None, :] < W)\n    pixels",
        "mask = rows[:, None] < H & cols[None, :] < W\n    pixels",
        "join its parts with &, each side in parentheses",
    ),
    _mutant(
        "nb00-4",
        "no load is masked",
        "    r = tl.load(pixels, mask=mask)",
        "    r = tl.load(pixels)",
        "memory beyond the end of rgb was read",
    ),
    _mutant(
        "nb00-4",
        "the axes of the grid are swapped",
        "rows = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)\n"
        "    cols = tl.program_id(1) * BLOCK_W",
        "rows = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)\n"
        "    cols = tl.program_id(0) * BLOCK_W",
        "grey is wrong",
    ),
    _mutant(
        "nb00-5",
        "as it was planted: padding of 0",
        'mask=mask, other=-float("inf"))\n    tl.store(out_ptr + r',
        "mask=mask, other=0.0)\n    tl.store(out_ptr + r",
        "with rows of negative numbers, out is wrong",
    ),
    _mutant(
        "nb00-5",
        "as it was planted: the store is not masked",
        "tl.store(out_ptr + r, tl.max(x, 1), mask=r < rows)",
        "tl.store(out_ptr + r, tl.max(x, 1))",
        "with 7 rows, two programs of 4, 1 element beyond the end of out",
    ),
    _mutant(
        "nb00-5",
        "as it was planted: the row stride is the width",
        "x = tl.load(x_ptr + r[:, None] * stride_row + c[None, :]",
        "x = tl.load(x_ptr + r[:, None] * cols + c[None, :]",
        "a slice of a wider matrix",
    ),
    _mutant(
        "nb00-5",
        "no mask, no padding",
        'mask=mask, other=-float("inf"))\n    tl.store(out_ptr + r',
        "mask=r[:, None] < rows)\n    tl.store(out_ptr + r",
        "with rows of negative numbers, memory beyond the end of x",
    ),
    _mutant(
        "nb00-5",
        "padding that is small, but not the smallest",
        'mask=mask, other=-float("inf"))\n    tl.store(out_ptr + r',
        "mask=mask, other=-1e38)\n    tl.store(out_ptr + r",
        "with the smallest numbers, out is wrong",
    ),
    _mutant(
        "nb00-6",
        "the race again: load, add, store to one place",
        "tl.store(partial_ptr + pid, tl.sum(x, 0))",
        "tl.store(partial_ptr, tl.load(partial_ptr) + tl.sum(x, 0))",
        "NaN",
    ),
    _mutant(
        "nb00-6",
        "what lies beyond the end is added too",
        "    x = tl.load(x_ptr + offsets, mask=offsets < n, other=0.0)\n    tl.store(partial_ptr",
        "    x = tl.load(x_ptr + offsets)\n    tl.store(partial_ptr",
        "with n=63, BLOCK=16, x[63] was read",
    ),
    _mutant(
        "nb00-6",
        "masked places are left undefined",
        "mask=offsets < n, other=0.0)\n    tl.store(partial_ptr",
        "mask=offsets < n)\n    tl.store(partial_ptr",
        "NaN",
    ),
    _mutant(
        "nb00-6",
        "every program writes every place",
        "    pid = tl.program_id(0)\n    offsets = pid * BLOCK + tl.arange(0, BLOCK)\n"
        "    x = tl.load(x_ptr + offsets, mask=offsets < n, other=0.0)\n"
        "    tl.store(partial_ptr + pid, tl.sum(x, 0))",
        "    for pid in range(0, tl.num_programs(0)):\n"
        "        offsets = pid * BLOCK + tl.arange(0, BLOCK)\n"
        "        x = tl.load(x_ptr + offsets, mask=offsets < n, other=0.0)\n"
        "        tl.store(partial_ptr + pid, tl.sum(x, 0))",
        "each program writes its own",
    ),
    _mutant(
        "nb00-7",
        "the accumulator is rounded to fp16 at every step",
        'acc = tl.dot(a, b, acc, input_precision="ieee")',
        'acc = tl.dot(a, b, acc, input_precision="ieee").to(a.dtype).to(tl.float32)',
        "Only the fp16 case is wrong",
    ),
    _mutant(
        "nb00-7",
        "only the last step along K counts",
        'acc = tl.dot(a, b, acc, input_precision="ieee")',
        'acc = tl.dot(a, b, input_precision="ieee")',
        "does k move on by BLOCK_K",
    ),
    _mutant(
        "nb00-7",
        "K is masked on one side only",
        "b_mask = (k[:, None] < K) & (cols[None, :] < N)",
        "b_mask = cols[None, :] < N",
        "with ragged K, memory beyond the end of b was read",
    ),
    _mutant(
        "nb00-7",
        "b is assumed row-major",
        "b_tile = b_ptr + k[:, None] * stride_bk + cols[None, :] * stride_bn",
        "b_tile = b_ptr + k[:, None] * stride_bk + cols[None, :]",
        "with everything transposed",
    ),
    _mutant(
        "nb00-7",
        "the store is not masked",
        "tl.store(c_tile, acc.to(c_ptr.dtype.element_ty), mask=c_mask)",
        "tl.store(c_tile, acc.to(c_ptr.dtype.element_ty), mask=rows[:, None] < M)",
        "with edges masked, 11 elements beyond the end of c",
    ),
    _mutant(
        "nb00-7",
        "masked places of a are left undefined",
        "a = tl.load(a_tile, mask=a_mask, other=0.0)",
        "a = tl.load(a_tile, mask=a_mask)",
        "other=0.0",
    ),
    _mutant(
        "nb00-7",
        "the last, shorter step along K is left out",
        "for start in range(0, K, BLOCK_K):",
        "for start in range(0, K // BLOCK_K * BLOCK_K, BLOCK_K):",
        "is there a fourth, shorter step",
    ),
    _mutant(
        "nb00-7",
        "a GPU would round the inputs to TF32",
        'acc = tl.dot(a, b, acc, input_precision="ieee")',
        "acc = tl.dot(a, b, acc)",
        "was not asked for input_precision",
    ),
    _mutant(
        "nb00-7",
        "rows of c lie side by side",
        "cols[None, :] * stride_cn",
        "cols[None, :]",
        "with everything transposed",
    ),
    _mutant(
        "nb00-7",
        "tiles of 16 whatever the blocks are",
        "k = start + tl.arange(0, BLOCK_K)",
        "k = start + tl.arange(0, 16)",
        "with everything transposed",
    ),
    _mutant(
        "nb00-7",
        "products without tl.dot",
        'acc = tl.dot(a, b, acc, input_precision="ieee")',
        "acc += tl.sum(a[:, :, None] * b[None, :, :], 1)",
        "without tl.dot",
    ),
]
