"""Homework 1 and 3: the benchmarks, judged on an imagined device. Timings earn no points.

The device knows how long each call took and which calls were timed; so what a benchmark reports can
be compared with the truth.
"""

import re
import statistics
from typing import Any

import pytest

TIME_FORWARD = "benchmarking.bench_softmax_matmul:time_forward"
SOFTMAX_SWEEP = "benchmarking.bench_softmax_matmul:sweep"
ATTENTION_SWEEP = "benchmarking.bench_attention:sweep"

PASSES = {"warmup": 3, "passes": 6}
# letters of the error's name or text, or of other words for it
NO_RESOURCE = ("outofresource", "sharedmemory")
NO_MEMORY = ("outofmemory", "notenoughmemory")
SOFTMAX_SIZES: dict[str, Any] = {
    "batch_size": 2,
    "d1": 3,
    "d2s": [4, 8, 16],
    "d3": 5,
    "blocks": [16, 32],
}
ATTENTION_SIZES: dict[str, Any] = {"batch_size": 2, "d_model": 4, "seq_lens": [8, 16]}

SOFTMAX_MEASURED = ["forward_ms_mean", "forward_ms_std", "forward_peak_MiB"]
SOFTMAX_COLUMNS = ["batch_size", "d1", "d2", "d3", "triton", "BLOCK", *SOFTMAX_MEASURED]
FORWARD = ["forward_ms", "forward_peak_MiB"]
BACKWARD = ["backward_ms", "backward_peak_MiB"]
ATTENTION_COLUMNS = [
    "implementation",
    "d_model",
    "seq_len",
    *FORWARD,
    *BACKWARD,
    "saved_activations_MiB",
    "status",
    "gpu",
]


def assert_timed(label: str, work: dict[str, Any], warmup: int, passes: int) -> None:
    """Warm-up passes untimed, and exactly the passes asked for timed."""
    assert work["timed"], f"{label}: no pass was timed between two events of the clock"
    assert work["timed"] == passes, f"{label}: {work['timed']} passes were timed, not {passes}"
    assert work["untimed_before"] >= warmup, (
        f"{label}: {work['untimed_before']} passes ran before the first timed one; "
        f"{warmup} warm-up passes were asked for"
    )


def assert_number(row: dict[str, Any], column: str, low: float, high: float, hint: str) -> None:
    """A column holds a number between two known ones."""
    got = row.get(column)
    assert isinstance(got, (int, float)), f"{column} is {got!r}; expected a number"
    assert low * (1 - 1e-6) <= got <= high * (1 + 1e-6), (
        f"{column} is {got:.6g}; expected {low:.6g}. {hint}"
    )


def assert_mean_and_std(row: dict[str, Any], work: dict[str, Any], sample: bool = False) -> None:
    """The mean of the timed passes, and their standard deviation: any, or that of a sample."""
    mean = statistics.fmean(work["ms"])
    hint = "The mean of one pass is asked for, in milliseconds: not the sum of all, not another."
    assert_number(row, "forward_ms_mean", mean, mean, hint)
    high = statistics.stdev(work["ms"])
    low = high if sample else statistics.pstdev(work["ms"])
    hint = (
        "The sample standard deviation of the passes is asked for: each pass timed by itself, the "
        "sum of squares divided by passes - 1."
    )
    assert_number(row, "forward_ms_std", low, high, hint)


def assert_flushed(work: dict[str, Any], passes: int) -> None:
    """Each pass timed with a cold cache, and the flush not timed (the mean would show it)."""
    assert work["flushed"] == passes, (
        f"the cache was flushed before {work['flushed']} of {passes} timed passes; "
        "call clock.flush_cache() before each, and before its first event"
    )


def assert_on_the_clock_s_device(result: dict[str, Any]) -> None:
    """Judged where ``clock.device`` is "meta": tensors made without asking are elsewhere."""
    for label, work in result["work"].items():
        assert work["devices"] == ["meta"], (
            f"{label}: its inputs are on {work['devices'][0]!r}, not on clock.device, here 'meta'"
        )


def assert_inputs(label: str, work: dict[str, Any], *shapes: list[int]) -> None:
    """Right shapes, float32, random."""
    assert work["shapes"] == list(shapes), f"{label}: inputs {work['shapes']}, not {list(shapes)}"
    assert work["dtypes"] == ["float32"], f"{label}: inputs are {work['dtypes']}, not float32"
    assert work["random"], f"{label}: inputs are constant; random ones show the real speed"


def assert_columns(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Exactly these, in every row."""
    assert rows, "no row was returned"
    for row in rows:
        missing = [c for c in columns if c not in row]
        extra = [c for c in row if c not in columns]
        found = (("columns missing", missing), ("not asked for", extra))
        wrong = "; ".join(f"{what}: {', '.join(names)}" for what, names in found if names)
        assert not wrong, wrong


def softmax_label(row: dict[str, Any]) -> str:
    return f"d2 {row['d2']}, " + (f"BLOCK {row['BLOCK']}" if row["triton"] else "reference")


def softmax_rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows by configuration; every one there, once."""
    assert_columns(result["rows"], SOFTMAX_COLUMNS)
    labels = [softmax_label(row) for row in result["rows"]]
    tiles = [f"BLOCK {b}" for b in SOFTMAX_SIZES["blocks"]]
    wanted = [f"d2 {n}, {t}" for n in SOFTMAX_SIZES["d2s"] for t in [*tiles, "reference"]]
    missing, extra = set(wanted) - set(labels), [x for x in labels if labels.count(x) > 1]
    assert not missing, f"no row for: {'; '.join(sorted(missing))}"
    assert set(labels) == set(wanted) and not extra, f"rows nobody asked for: {labels}"
    return dict(zip(labels, result["rows"], strict=True))


def attention_rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows by "implementation length"; every one there, once."""
    assert_columns(result["rows"], ATTENTION_COLUMNS)
    labels = [f"{row['implementation']} {row['seq_len']}" for row in result["rows"]]
    names, lengths = ("flash_triton", "pytorch_sdpa"), ATTENTION_SIZES["seq_lens"]
    wanted = [f"{name} {n}" for name in names for n in lengths]
    got, expected = ("; ".join(at_length(x) for x in some) for some in (labels, wanted))
    assert sorted(labels) == sorted(wanted), f"rows for {got}. Expected: {expected}"
    return dict(zip(labels, result["rows"], strict=True))


def at_length(label: str) -> str:
    """Says "flash_triton 8 backward" as "flash_triton at length 8, backward"."""
    return re.sub(r" (\d+) (?=\w)", r" \1, ", label).replace(" ", " at length ", 1)


def assert_all_ran(result: dict[str, Any], rows: dict[str, dict[str, Any]], column: str) -> None:
    """Everything could run here; where nothing did, the reason matters more than the numbers."""
    empty = [label for label, row in rows.items() if row[column] is None]
    assert not empty, f"no {column} for {empty}; the log: {'; '.join(result['log'])[:500]}"


def assert_logged(result: dict[str, Any], reason: tuple[str, ...], label: str = "") -> None:
    """The log says why, by the error's name or in words."""
    log = "\n".join(result["log"])
    letters = re.sub("[^a-z]", "", log.lower())
    assert any(word in letters for word in reason), (
        f"{label}{': ' if label else ''}the log does not say that it was {reason[0]!r} "
        f"(str(error), or the error's name); it has: {log!r}"
    )


@pytest.mark.exercise("hw1-4", points=1)
@pytest.mark.parametrize("passes", [{"warmup": 3, "passes": 6}, {}], ids=["few", "default"])
def test_each_pass_is_timed_after_the_warmup(subject, passes):
    result = subject.benchmark(TIME_FORWARD, scenario="one", **passes)
    work, row = result["work"].get("pass"), result["rows"][0]
    assert work, "fn was never called"
    assert_timed("fn", work, passes.get("warmup", 10), passes.get("passes", 100))
    assert_mean_and_std(row, work, sample=True)
    assert_flushed(work, passes.get("passes", 100))
    assert result["waits"] < passes.get("passes", 100), (
        f"right, but the program waited {result['waits']} times: in each pass that lets the GPU "
        "run dry, and the launch is timed too; wait once, at the end"
    )


@pytest.mark.exercise("hw1-4", points=1)
def test_peak_memory_is_that_of_the_timed_passes(subject):
    result = subject.benchmark(TIME_FORWARD, scenario="one", **PASSES)
    row, peak = result["rows"][0], 64.0  # 40 MiB of inputs and 24 of one pass
    assert sorted(row) == sorted(SOFTMAX_MEASURED), f"expected {SOFTMAX_MEASURED}, got {list(row)}"
    hint = "In MiB, inputs included, without what the first call needs: reset after the warm-up."
    assert_number(row, "forward_peak_MiB", peak, peak, hint)


@pytest.mark.exercise("hw1-5", points=1)
def test_softmax_sweep_times_every_configuration(subject):
    result = subject.benchmark(SOFTMAX_SWEEP, scenario="softmax", **PASSES, **SOFTMAX_SIZES)
    rows = softmax_rows(result)
    assert_all_ran(result, rows, "forward_ms_mean")
    assert not result["mixed"], f"timed together: {result['mixed'][0]}"
    for label, row in rows.items():
        work = result["work"].get(label)
        assert work, f"{label}: its row is there, but it never ran with these sizes"
        assert (row["triton"] is True) == ("BLOCK" in label), f"{label}: triton is {row['triton']}"
        assert row["triton"] or row["BLOCK"] is None, f"{label}: PyTorch has no BLOCK (None)"
        assert [row["batch_size"], row["d1"], row["d3"]] == [2, 3, 5], f"{label}: {row}"
        assert_inputs(label, work, [2, 3, row["d2"]], [2, row["d2"], 5])
        assert_timed(label, work, **PASSES)
        assert_mean_and_std(row, work)
        hint = f"That is not the peak of {label}."
        assert_number(row, "forward_peak_MiB", work["peak_MiB"], work["peak_MiB"], hint)
    settings = {"scenario": "softmax", "device": "meta", **PASSES, **SOFTMAX_SIZES}
    assert_on_the_clock_s_device(subject.benchmark(SOFTMAX_SWEEP, **settings))


@pytest.mark.exercise("hw1-5", points=1)
def test_softmax_sweep_goes_on_after_a_configuration_that_cannot_run(subject):
    refused, too_large = "d2 8, BLOCK 32", "d2 16, reference"
    result = subject.benchmark(
        SOFTMAX_SWEEP,
        scenario="softmax",
        refused=refused,
        capacity_mib=20.0,
        **PASSES,
        **SOFTMAX_SIZES,
    )
    rows = softmax_rows(result)
    for label, reason in ((refused, NO_RESOURCE), (too_large, NO_MEMORY)):
        values = [rows[label][c] for c in SOFTMAX_MEASURED]
        assert values == [None] * 3, f"{label} cannot run: expected None three times, got {values}"
        assert_logged(result, reason, label)
    others = {label: row for label, row in rows.items() if label not in (refused, too_large)}
    assert_all_ran(result, others, "forward_ms_mean")


@pytest.mark.exercise("hw1-5")
def test_softmax_sweep_goes_on_where_already_the_inputs_find_no_memory(subject):
    settings = {"scenario": "softmax", "too_large": 64, **PASSES, **SOFTMAX_SIZES}
    result = subject.benchmark(SOFTMAX_SWEEP, **(settings | {"d2s": [64, 4]}))
    assert_columns(result["rows"], SOFTMAX_COLUMNS)
    rows = {softmax_label(row): row for row in result["rows"]}
    for tile in ("BLOCK 16", "BLOCK 32", "reference"):
        large, small = rows.get(f"d2 64, {tile}"), rows.get(f"d2 4, {tile}")
        assert large and small, f"rows for {list(rows)}; memory was too small for x and V of d2 64"
        values = [large[c] for c in SOFTMAX_MEASURED]
        assert values == [None] * 3, f"d2 64, {tile}: expected None three times, got {values}"
        assert small["forward_ms_mean"] is not None, f"d2 4, {tile}: this one could run"
    assert_logged(result, NO_MEMORY)


@pytest.mark.exercise("hw3-6", points=1)
def test_attention_benchmark_measures_forward_and_backward_apart(subject):
    result = subject.benchmark(ATTENTION_SWEEP, scenario="attention", **PASSES, **ATTENTION_SIZES)
    rows = attention_rows(result)
    not_ok = {label: row["status"] for label, row in rows.items() if row["status"] != "ok"}
    assert not not_ok, f"expected ok everywhere, got {not_ok}; the log: {result['log'][:1]}"
    mixed = [" and ".join(map(at_length, labels)) for labels in result["mixed"]]
    assert not mixed, f"timed together: {mixed[0]}"
    for label, row in rows.items():
        assert (row["d_model"], row["gpu"]) == (4, "a fake device"), f"{at_length(label)}: {row}"
        shape = [2, row["seq_len"], 4]
        for what, inputs in (("forward", [shape] * 3), ("backward", [shape])):
            work = result["work"].get(f"{label} {what}")
            name = at_length(f"{label} {what}")
            assert work, f"{name}: this pass never ran"
            assert_inputs(name, work, *inputs)
            assert_timed(name, work, **PASSES)
            typical = (statistics.fmean(work["ms"]), statistics.median(work["ms"]))
            hint = "The median of the timed passes is asked for (their mean will do)."
            assert_number(row, f"{what}_ms", min(typical), max(typical), hint)
            # a result of an earlier pass may still be alive while the next one runs
            low, high = work["peak_MiB"], work["peak_MiB"] + 2 * work["kept_MiB"]
            hint = f"Only the {what} passes count, warm-up left out: reset the peak before."
            assert_number(row, f"{what}_peak_MiB", low, high, hint)
        hint = "What one forward pass leaves allocated while its output is alive."
        kept = result["work"][f"{label} forward"]["kept_MiB"]
        assert_number(row, "saved_activations_MiB", kept, kept, hint)
    settings = {"scenario": "attention", "device": "meta", **PASSES, **ATTENTION_SIZES}
    assert_on_the_clock_s_device(subject.benchmark(ATTENTION_SWEEP, **settings))


@pytest.mark.exercise("hw3-6", points=1)
def test_attention_benchmark_says_what_could_not_run(subject):
    # at length 16: sdpa's forward needs 48 MiB, and flash_triton's backward 2 + 16
    result = subject.benchmark(
        ATTENTION_SWEEP, scenario="attention", capacity_mib=17.0, **PASSES, **ATTENTION_SIZES
    )
    rows = attention_rows(result)
    compare_status(rows["pytorch_sdpa 16"], "OOM", [*FORWARD, *BACKWARD])
    compare_status(rows["flash_triton 16"], "OOM(backward)", BACKWARD)
    compare_status(rows["flash_triton 8"], "ok", [])
    assert_logged(result, NO_MEMORY)
    result = subject.benchmark(
        ATTENTION_SWEEP,
        scenario="attention",
        refused="flash_triton 8 forward",
        **PASSES,
        **ATTENTION_SIZES,
    )
    rows = attention_rows(result)
    compare_status(rows["flash_triton 8"], "failed", [*FORWARD, *BACKWARD])
    compare_status(rows["flash_triton 16"], "ok", [])
    assert_logged(result, NO_RESOURCE)


@pytest.mark.exercise("hw3-6")
def test_attention_benchmark_goes_on_where_already_the_inputs_find_no_memory(subject):
    settings = {"scenario": "attention", "too_large": 16, **PASSES, **ATTENTION_SIZES}
    result = subject.benchmark(ATTENTION_SWEEP, **(settings | {"seq_lens": [16, 8]}))
    rows = attention_rows(result)
    for name in ("flash_triton", "pytorch_sdpa"):
        compare_status(rows[f"{name} 16"], "OOM", [*FORWARD, *BACKWARD])
        compare_status(rows[f"{name} 8"], "ok", [])
    assert_logged(result, NO_MEMORY)


def compare_status(row: dict[str, Any], status: str, empty: list[str]) -> None:
    """The status, None for what could not be measured, numbers for what could."""
    label = f"{row['implementation']} {row['seq_len']}"
    assert row["status"] == status, f"{label}: expected status {status!r}, got {row['status']!r}"
    for column in [*FORWARD, *BACKWARD]:
        expected = "None" if column in empty else "a number"
        assert (row[column] is None) == (column in empty), (
            f"{label}: status is {status!r}, so {column} should be {expected}; got {row[column]!r}"
        )


def test_softmax_sweep_has_the_sizes_of_the_handout(subject):
    defaults = subject.benchmark(SOFTMAX_SWEEP, scenario="defaults")
    expected: dict[str, Any] = {
        "batch_size": 16,
        "d1": 2048,
        "d3": 512,
        "warmup": 10,
        "passes": 100,
    }
    expected |= {"d2s": (64, 128, 256, 512, 1024, 2048, 4096, 8192), "blocks": (16, 32, 64)}
    assert as_lists(defaults) == as_lists(expected)


def test_attention_sweep_has_the_sizes_of_the_handout(subject):
    defaults = subject.benchmark(ATTENTION_SWEEP, scenario="defaults")
    expected: dict[str, Any] = {"batch_size": 8, "d_model": 64, "warmup": 10, "passes": 100}
    expected |= {"seq_lens": (256, 1024, 4096, 8192, 16384)}
    assert as_lists(defaults) == as_lists(expected)


def as_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples come back from another process as lists."""
    return {k: list(v) if isinstance(v, (list, tuple)) else v for k, v in values.items()}
