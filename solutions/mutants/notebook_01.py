# course: instructor
"""Wrong solutions of notebook 01: its checks must fail each, and say why.

``says`` is a part of the message a learner must get to read.
"""

_LOAD = (
    '        x = tl.load(x_row + j * stride_xn, mask=j < n, other=-float("inf")).to(tl.float32)\n'
)


def _mutant(exercise: str, title: str, old: str, new: str, says: str) -> dict[str, str]:
    return {
        "exercise": exercise,
        "file": "notebooks/01_online_softmax.py",
        "title": title,
        "old": old,
        "new": new,
        "says": says,
    }


MUTANTS = [
    _mutant(
        "nb01-1",
        "the textbook's softmax, without the shift",
        "m = x.amax(dim=-1, keepdim=True)",
        "m = torch.zeros_like(x[:, :1])",
        "rows around 100",
    ),
    _mutant(
        "nb01-1",
        "the maximum of the whole matrix",
        "m = x.amax(dim=-1, keepdim=True)",
        "m = x.max()",
        "rows around 0, -200 and -1000",
    ),
    _mutant(
        "nb01-1",
        "the wrong axis",
        "l = torch.exp(x - m).sum(dim=-1, keepdim=True)",
        "l = torch.exp(x - m).sum(dim=0, keepdim=True)",
        "with ordinary rows, y is wrong",
    ),
    _mutant(
        "nb01-1",
        "PyTorch's own softmax",
        "return torch.exp(x - m) / l",
        "return torch.softmax(x, dim=-1)",
        "write the three passes yourself",
    ),
    _mutant(
        "nb01-1",
        "the columns are normalised",
        "return torch.exp(x - m) / l",
        "e = torch.exp(x - x.amax(0))\n    return e / e.sum(0)",
        "if each column sums to 1",
    ),
    _mutant(
        "nb01-1",
        "x is overwritten",
        "return torch.exp(x - m) / l",
        "x -= m\n    return x.exp_().div_(l)",
        "safe_softmax changed the x it was given",
    ),
    _mutant(
        "nb01-2",
        "the old sum is not rescaled",
        "l_new = l * torch.exp(m - m_new) +",
        "l_new = l +",
        "l is wrong",
    ),
    _mutant(
        "nb01-2",
        "the rescaling goes the wrong way",
        "l_new = l * torch.exp(m - m_new) +",
        "l_new = l * torch.exp(m_new - m) +",
        "with the first block, from m = -inf and l = 0, l is wrong",
    ),
    _mutant(
        "nb01-2",
        "the maximum of the block replaces the maximum so far",
        "m_new = torch.maximum(m, block.amax(dim=-1, keepdim=True))",
        "m_new = block.amax(dim=-1, keepdim=True)",
        "m is wrong",
    ),
    _mutant(
        "nb01-2",
        "the block's terms stay relative to the old maximum",
        "torch.exp(block - m_new).sum(dim=-1, keepdim=True)\n    return m_new, l_new",
        "torch.exp(block - m).sum(dim=-1, keepdim=True)\n    return m_new, l_new",
        "l is wrong",
    ),
    _mutant(
        "nb01-3",
        "the maximum starts at 0",
        'm = torch.full_like(x[:, :1], float("-inf"))',
        "m = torch.zeros_like(x[:, :1])",
        "rows around 0, -200 and -1000",
    ),
    _mutant(
        "nb01-3",
        "the last, shorter block is never written",
        "    for start in range(0, x.shape[1], BLOCK):\n        y[:, start",
        "    for start in range(0, x.shape[1] // BLOCK * BLOCK, BLOCK):\n        y[:, start",
        "NaN",
    ),
    _mutant(
        "nb01-3",
        "each block is normalised on its own",
        "        y[:, start : start + BLOCK] = torch.exp(x[:, start : start + BLOCK] - m) / l",
        "        y[:, start : start + BLOCK] = x[:, start : start + BLOCK].softmax(-1)",
        "BLOCK=4",
    ),
    _mutant(
        "nb01-3",
        "no blocks at all",
        "    y = torch.empty_like(x)\n    for start in range(0, x.shape[1], BLOCK):\n"
        "        y[:, start : start + BLOCK] = torch.exp(x[:, start : start + BLOCK] - m) / l",
        "    y = torch.exp(x - m) / l",
        "64 columns of x were taken at once",
    ),
    _mutant(
        "nb01-3",
        "a pass for the maximum alone",
        "        m, l = step(m, l, x[:, start : start + BLOCK])",
        "        m = torch.maximum(m, x[:, start : start + BLOCK].amax(-1, keepdim=True))\n"
        "    for start in range(0, x.shape[1], BLOCK):\n"
        "        l = l + torch.exp(x[:, start : start + BLOCK] - m).sum(-1, keepdim=True)",
        "x was read in 3 passes",
    ),
    _mutant(
        "nb01-3",
        "the maximum of whole rows",
        "    l = torch.zeros_like(m)\n    for start",
        "    l = torch.zeros_like(m)\n    m = x.amax(-1, keepdim=True)\n    for start",
        "columns of x were taken at once",
    ),
    _mutant(
        "nb01-3",
        "y is always fp32",
        "    y = torch.empty_like(x)\n",
        "    y = torch.empty_like(x, dtype=torch.float32)\n",
        "expected dtype torch.float64",
    ),
    _mutant(
        "nb01-4",
        "only the first sum is rescaled",
        "l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)",
        "l1 * torch.exp(m1 - m) + l2",
        "l is wrong",
    ),
    _mutant(
        "nb01-4",
        "sums relative to different maxima are added",
        "l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)",
        "l1 + l2",
        "l is wrong",
    ),
    _mutant(
        "nb01-4",
        "a part that has seen nothing gives NaN",
        "l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)",
        "torch.exp(m1 - m) * (l1 + l2 * torch.exp(m2 - m1))",
        "the first part has seen nothing",
    ),
    _mutant(
        "nb01-4",
        "exponentials that overflow",
        "l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)",
        "(l1 * torch.exp(m1) + l2 * torch.exp(m2)) / torch.exp(m)",
        "with rows around 100",
    ),
    _mutant(
        "nb01-4",
        "l1 is overwritten",
        "l1 * torch.exp(m1 - m) + l2 * torch.exp(m2 - m)",
        "l1.mul_(torch.exp(m1 - m)) + l2 * torch.exp(m2 - m)",
        "merge changed the l1 it was given",
    ),
    _mutant(
        "nb01-5",
        "masked places hold 0",
        'other=-float("inf")).to(tl.float32)\n        m_new',
        "other=0.0).to(tl.float32)\n        m_new",
        "n=63, BLOCK=16",
    ),
    _mutant(
        "nb01-5",
        "l is not rescaled",
        "l = l * tl.exp(m - m_new) + tl.sum(",
        "l = l + tl.sum(",
        "if l is not multiplied by exp(m - m_new)",
    ),
    _mutant(
        "nb01-5",
        "no division by the sum",
        "tl.store(y_row + j, tl.exp(x - m) / l, mask=j < n)",
        "tl.store(y_row + j, tl.exp(x - m), mask=j < n)",
        "without the division by the sum",
    ),
    _mutant(
        "nb01-5",
        "the stride of the columns is left out",
        "x = tl.load(x_row + j * stride_xn, mask=j < n, "
        'other=-float("inf")).to(tl.float32)\n        m_new',
        'x = tl.load(x_row + j, mask=j < n, other=-float("inf")).to(tl.float32)\n        m_new',
        "a transposed view",
    ),
    _mutant(
        "nb01-5",
        "the store is not masked",
        "tl.store(y_row + j, tl.exp(x - m) / l, mask=j < n)",
        "tl.store(y_row + j, tl.exp(x - m) / l)",
        "beyond the end of y",
    ),
    _mutant(
        "nb01-5",
        "sums in the dtype of the input",
        "l = l * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new), 0)",
        "l = (l * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new), 0))"
        ".to(x_ptr.dtype.element_ty).to(tl.float32)",
        "with fp16, 4096 columns",
    ),
    _mutant(
        "nb01-5",
        "a pass for the maximum alone",
        "        m_new = tl.maximum(m, tl.max(x, 0))\n"
        "        l = l * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new), 0)\n        m = m_new\n",
        "        m = tl.maximum(m, tl.max(x, 0))\n    for start in range(0, n, BLOCK):\n"
        "        j = start + cols\n"
        '        x = tl.load(x_row + j * stride_xn, mask=j < n, other=-float("inf"))\n'
        "        l += tl.sum(tl.exp(x.to(tl.float32) - m), 0)\n",
        "each element of x was read 3 times",
    ),
    _mutant(
        "nb01-5",
        "the whole row at once",
        f"    for start in range(0, n, BLOCK):\n        j = start + cols\n{_LOAD}        m_new",
        "    for start in range(0, n, 4096):\n        j = start + tl.arange(0, 4096)\n"
        f"{_LOAD}        m_new",
        "a tl.load took 4096 columns of x",
    ),
    _mutant(
        "nb01-5",
        "a load without a mask",
        "        x = tl.load(x_row + j * stride_xn, mask=j < n, "
        'other=-float("inf")).to(tl.float32)\n        tl.store',
        "        x = tl.load(x_row + j * stride_xn).to(tl.float32)\n        tl.store",
        "memory beyond the end of x was read",
    ),
    _mutant(
        "nb01-6",
        "D is missing",
        "return y * (dy - D)",
        "return y * dy",
        "This is what comes out without D",
    ),
    _mutant(
        "nb01-6",
        "D is summed over the wrong dimension",
        "D = (y * dy).sum(dim=-1, keepdim=True)",
        "D = (y * dy).sum(dim=0, keepdim=True)",
        "if D is summed over the rows",
    ),
    _mutant(
        "nb01-6",
        "D is the sum of dy alone",
        "D = (y * dy).sum(dim=-1, keepdim=True)",
        "D = dy.sum(dim=-1, keepdim=True)",
        "if D is a sum of dy",
    ),
    _mutant(
        "nb01-6",
        "the whole Jacobian",
        "return y * (dy - D)",
        "J = torch.diag_embed(y) - y[:, :, None] * y[:, None, :]\n"
        "    return (J @ dy[:, :, None])[:, :, 0]",
        "was the whole of J made",
    ),
    _mutant(
        "nb01-6",
        "PyTorch's own",
        "return y * (dy - D)",
        "return torch._softmax_backward_data(dy, y, -1, y.dtype)",
        "by PyTorch's own",
    ),
    _mutant(
        "nb01-7",
        "the times are read before the device is there",
        "    clock.synchronize()\n    return [clock",
        "    return [clock",
        "device not ready",
    ),
    _mutant(
        "nb01-7",
        "compiling is timed",
        "    for _ in range(warm_up):\n        fn()\n    marks",
        "    passes += warm_up\n    marks",
        "times, one a pass",
    ),
    _mutant(
        "nb01-7",
        "no warm-up",
        "    for _ in range(warm_up):\n        fn()\n    marks",
        "    marks",
        "fn was called 5 times",
    ),
    _mutant(
        "nb01-7",
        "the inputs lie in the cache",
        "        clock.flush_cache()\n        start = clock.record()",
        "        start = clock.record()",
        "came from the cache",
    ),
    _mutant(
        "nb01-7",
        "the flush is timed too",
        "        clock.flush_cache()\n        start = clock.record()",
        "        start = clock.record()\n        clock.flush_cache()",
        "The flush is in it",
    ),
    _mutant(
        "nb01-7",
        "a mark's start and end are swapped",
        "return [clock.elapsed_ms(start, end) for",
        "return [clock.elapsed_ms(end, start) for",
        "Start and end are swapped",
    ),
    _mutant(
        "nb01-7",
        "a wait in each pass",
        "        marks.append((start, clock.record()))",
        "        marks.append((start, clock.record()))\n        clock.synchronize()",
        "wait once, at the end",
    ),
    _mutant(
        "nb01-7",
        "a CPU clock",
        "return [clock.elapsed_ms(start, end) for start, end in marks]",
        "return [0.5 for _ in marks]",
        "by a CPU clock",
    ),
    _mutant(
        "nb01-8",
        "the writes are forgotten",
        "return (reads + writes) * rows * n * itemsize",
        "return reads * rows * n * itemsize",
        "expected 8000000",
    ),
    _mutant(
        "nb01-8",
        "milliseconds are taken for seconds",
        "return moved / 1e9 / (ms / 1e3)",
        "return moved / 1e9 / ms",
        "gb_per_s(8e+09, 2) is 4, expected 4000",
    ),
    _mutant(
        "nb01-8",
        "GiB instead of GB",
        "return moved / 1e9 / (ms / 1e3)",
        "return moved / 2**30 / (ms / 1e3)",
        "10^9 bytes",
    ),
]
