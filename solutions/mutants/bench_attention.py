# course: instructor
"""Benchmarks of homework 3 that measure the wrong thing: the tests must fail each of them."""

_ATTENTION = "benchmarking/bench_attention.py"

MUTANTS = [
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "the backward pass is charged for a forward pass",
        "old": "            lambda: torch.autograd.grad(O, (Q, K, V), dO, retain_graph=True),",
        "new": "            lambda: torch.autograd.grad(attention(Q, K, V), (Q, K, V), dO),",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "the graph is gone after the first backward pass",
        "old": "dO, retain_graph=True),",
        "new": "dO),",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "every row times the same implementation",
        "old": "row |= measured(attention,",
        "new": 'row |= measured(implementations["flash_triton"],',
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "saved activations are counted when they are gone",
        "old": (
            "        O = attention(Q, K, V)\n"
            '        row["saved_activations_MiB"] = clock.allocated_mib() - before\n'
        ),
        "new": (
            "        attention(Q, K, V)\n"
            '        row["saved_activations_MiB"] = clock.allocated_mib() - before\n'
            "        O = attention(Q, K, V)\n"
        ),
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "what is allocated in all instead of what the forward pass added",
        "old": "clock.allocated_mib() - before",
        "new": "clock.peak_memory_mib()",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "out of memory backward reads as out of memory forward",
        "old": 'out_of_memory = "OOM(backward)"',
        "new": 'out_of_memory = "OOM"',
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "out of memory is just another failure",
        "old": '        return row | {"status": out_of_memory}',
        "new": '        return row | {"status": "failed"}',
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "any other error stops everything",
        "old": "    except Exception as error:",
        "new": "    except ZeroDivisionError as error:",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "only a RuntimeError is expected, and Triton's error is none",
        "old": "    except Exception as error:",
        "new": "    except RuntimeError as error:",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "inputs are made outside the try",
        "old": "            try:\n                row |= measured(",
        "new": (
            "            torch.randn(batch_size, seq_len, d_model, device=clock.device)\n"
            "            try:\n                row |= measured("
        ),
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "inputs stay on the CPU",
        "old": "seq_len, d_model, device=clock.device)",
        "new": "seq_len, d_model)",
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "the forward peak in both columns",
        "old": '"backward_peak_MiB": backward.peak_mib',
        "new": '"backward_peak_MiB": forward.peak_mib',
    },
    {
        "exercise": "hw3-6",
        "file": _ATTENTION,
        "title": "the arguments warmup and passes change places",
        "old": "attention(Q, K, V), warmup, passes, clock)",
        "new": "attention(Q, K, V), passes, warmup, clock)",
    },
]
