"""What the exercises with tests are called on a scorecard. Their points stand on the tests."""

PARTS = {
    "hw1": "Softmax and matrix product in one kernel",
    "hw2": "FlashAttention in PyTorch",
    "hw3": "FlashAttention in Triton",
    "nb03": "The attention ladder",
    "nb06": "The attention ladder's top",
}

TITLES = {
    "hw1-1": "fused kernel in one pass",
    "hw1-2": "any length",
    "hw1-3": "strides and dtypes",
    "hw1-4": "benchmark: time one configuration",
    "hw1-5": "benchmark: sweep all configurations",
    "hw2-1": "tiled forward",
    "hw2-2": "causal attention",
    "hw2-3": "saves Q, K, V, O and L only",
    "hw2-4": "backward from the equations",
    "hw2-5": "any length, 4-D inputs, strides",
    "hw2-6": "tiled backward, O(N) memory",
    "hw3-1": "forward kernel",
    "hw3-2": "causal scheduling",
    "hw3-3": "autograd",
    "hw3-4": "any length, 4-D inputs, strides",
    "hw3-5": "O(N) memory, torch.compile",
    "hw3-6": "attention benchmark",
    "hw3-7": "bonus: delta kernel",
    "hw3-8": "bonus: dQ kernel",
    "hw3-9": "bonus: dK and dV kernel",
    "nb03-1": "ladder: one key at a time",
    "nb03-2": "ladder: all keys at once",
    "nb06-2": "ladder: tiles of queries, keys and features",
    "nb06-5": "ladder: every head in 16 bits",
    "nb06-8": "ladder: products in FP8",
}

BONUS = frozenset({"hw3-7", "hw3-8", "hw3-9"})

# the folders a learner writes in: what a submission may hold, besides notebooks
PACKAGES = (
    "online_softmax",
    "softmax_matmul",
    "flash_attention",
    "attention_ladder",
    "benchmarking",
)
