# course: exercise
"""A module with every kind of region."""

import torch
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])
@triton.jit
def kernel(x_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    for start in range(0, n, BLOCK):
        # about 2 lines
        ### BEGIN SOLUTION hw1-1 one "block" at a time
        x = tl.load(x_ptr + start + i)

        tl.store(x_ptr + start + i, x)
        ### END SOLUTION


class Softmax:
    """Python, indented twice."""

    def forward(self, x):
        """Softmax of x."""

        ### BEGIN SOLUTION hw1-2 exponentials over their sum
        def shifted(y):
            return y - y.max()

        return shifted(x).exp() / shifted(x).exp().sum()
        ### END SOLUTION

    def backward(self, y, dy):
        if y.numel():
            ### BEGIN SOLUTION hw1-3 the whole backward
            dx = y * (dy - (y * dy).sum())
            ### END SOLUTION
            ### BEGIN STUB
            # # without the bonus, PyTorch does it
            # with torch.enable_grad():
            #     dx = torch.zeros_like(y)
            #
            # dx = dx + 0
            ### END STUB
        return dx


### BEGIN SOLUTION hw1-1 the launcher
def launch(x):
    kernel[(1,)](x, x.numel())
    return x


### END SOLUTION
### BEGIN STUB
# def launch(x):
#     raise NotImplementedError("hw1-1: the launcher")
### END STUB


@triton.jit
def helper(x):
    ### BEGIN SOLUTION hw1-4 double it
    return x + x
    ### END SOLUTION
