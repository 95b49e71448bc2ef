# course: instructor
"""Benchmarks that measure the wrong thing: the tests must fail each of them."""

_SOFTMAX = "benchmarking/bench_softmax_matmul.py"
_ATTENTION = "benchmarking/bench_attention.py"

MUTANTS = [
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "events are read without waiting for the device",
        "old": "    clock.synchronize()\n    times =",
        "new": "    times =",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the warm-up passes are timed too",
        "old": "    for _ in range(warmup):\n        fn()\n",
        "new": "    passes = passes + warmup\n",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "one warm-up pass, however many were asked for",
        "old": "    for _ in range(warmup):\n        fn()\n",
        "new": "    fn()\n",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the total of all passes instead of one",
        "old": "statistics.fmean(times)",
        "new": "sum(times)",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the median in the column of the mean",
        "old": "statistics.fmean(times)",
        "new": "statistics.median(times)",
        "says": "The mean of one pass is asked for",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "start and end the other way round",
        "old": "clock.elapsed_ms(start, end) for",
        "new": "clock.elapsed_ms(end, start) for",
        "says": "Start and end are swapped",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the standard deviation in the column of the mean",
        "old": "statistics.fmean(times)",
        "new": "statistics.stdev(times)",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the variance instead of the standard deviation",
        "old": "statistics.stdev(times)",
        "new": "statistics.variance(times)",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the host's clock times how long launching takes",
        "old": "    times = [clock.elapsed_ms(start, end) for start, end in events]\n",
        "new": (
            "    import time\n"
            "    times = []\n"
            "    for _ in range(passes):\n"
            "        began = time.perf_counter()\n"
            "        fn()\n"
            "        clock.synchronize()\n"
            "        times.append(1000 * (time.perf_counter() - began))\n"
        ),
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the peak memory of the warm-up is kept",
        "old": "    clock.reset_peak_memory()\n",
        "new": "",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "what is allocated in the end instead of the peak",
        "old": "clock.peak_memory_mib()",
        "new": "clock.allocated_mib()",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the standard deviation of a population",
        "old": "statistics.stdev(times)",
        "new": "statistics.pstdev(times)",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "the cache is left warm",
        "old": "        clock.flush_cache()\n",
        "new": "",
    },
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "each pass is charged for flushing the cache",
        "old": "        clock.flush_cache()\n        start = clock.record()\n",
        "new": "        start = clock.record()\n        clock.flush_cache()\n",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "the row of PyTorch times the kernel",
        "old": "partial(softmax_mult, x, V)",
        "new": "partial(fused_softmax, x, V, 16, 16)",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "BLOCK sets only one of the two tile sizes",
        "old": "partial(fused_softmax, x, V, BLOCK, BLOCK)",
        "new": "partial(fused_softmax, x, V, BLOCK)",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "no row for PyTorch",
        "old": "in (*blocks, None):",
        "new": "in blocks:",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "the largest d2 is left out",
        "old": "for d2 in d2s:",
        "new": "for d2 in d2s[:-1]:",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "a configuration that cannot run gets no row",
        "old": "                row |= dict.fromkeys(MEASURED)\n                log(",
        "new": "                log(",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "the first configuration that cannot run ends the sweep",
        "old": "            except Exception as error:",
        "new": "            except ZeroDivisionError as error:",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "only running out of memory is expected",
        "old": "            except Exception as error:",
        "new": "            except torch.cuda.OutOfMemoryError as error:",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "only a RuntimeError is expected, and Triton's error is none",
        "old": "            except Exception as error:",
        "new": "            except RuntimeError as error:",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "inputs are made outside the try",
        "old": "            try:\n                row |= timed(",
        "new": (
            "            torch.randn(batch_size, d1, d2, device=clock.device)\n"
            "            try:\n                row |= timed("
        ),
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "inputs stay on the CPU",
        "old": "        x = torch.randn(batch_size, d1, d2, device=clock.device)",
        "new": "        x = torch.randn(batch_size, d1, d2)",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "the reason is swallowed",
        "old": ": {type(error).__name__}: {error}",
        "new": "",
    },
    {
        "exercise": "hw1-5",
        "file": _SOFTMAX,
        "title": "inputs of zeros",
        "old": "torch.randn(batch_size, d1, d2,",
        "new": "torch.zeros(batch_size, d1, d2,",
    },
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
