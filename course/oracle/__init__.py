"""Reference answers in plain PyTorch, one file an op, right at any dtype and exact in float64."""
