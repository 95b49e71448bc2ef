"""The ops that can be benchmarked, one module each; see :mod:`course.bench.registry`."""
