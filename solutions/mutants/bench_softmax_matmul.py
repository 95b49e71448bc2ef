# course: instructor
"""Benchmarks of homework 1 that measure the wrong thing: the tests must fail each of them."""

_SOFTMAX = "benchmarking/bench_softmax_matmul.py"

MUTANTS = [
    {
        "exercise": "hw1-4",
        "file": _SOFTMAX,
        "title": "a wait in each pass",
        "old": "        events.append((start, clock.record()))\n",
        "new": "        events.append((start, clock.record()))\n        clock.synchronize()\n",
        "says": "wait once, at the end",
    },
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
]
