"""The page's sections on everything but whole attention: the ladder, softmax, softmax-matmul."""

import pandas as pd

from course.bench import plots
from course.bench.markdown import Paper, markdown_table, status


def ladder(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Tables by heads and dtype; bars rung by rung, and growth, of the largest set."""
    text = (
        "## The attention ladder\n\nForward, d 64, not causal. The rungs that know one head only "
        f"are called head after head. {source}\n"
    )
    header = ["S", "rung", "ms", "times as fast as naive", "peak MiB", ""]
    for (heads, dtype), group in frame.groupby(["heads", "dtype"], sort=False):
        several = "1 head" if heads == 1 else f"{heads} heads"
        text += f"\n### {several}, {dtype}\n\n"
        base = "naive_batched" if "naive_batched" in set(group["rung"]) else "naive"
        naive = group[group["rung"] == base].set_index("seq_len")["forward_ms"]
        rows: list[list[object]] = []
        for _, row in group.iterrows():
            speed = naive.get(row["seq_len"], float("nan")) / row["forward_ms"]
            values = [row["seq_len"], row["rung"], row["forward_ms"], speed]
            rows.append([*values, row["forward_peak_MiB"], status(row)])
        text += markdown_table(header, rows)
    drawn = frame[frame["heads"] == frame["heads"].max()]
    dtypes = list(drawn["dtype"].unique())
    drawn = drawn[drawn["dtype"] == dtypes[-1]]
    heads = drawn["heads"].iloc[0]
    where = f"{heads} head{'s' if heads > 1 else ''}, d 64, {dtypes[-1]}"
    title = f"Growth with the sequence length, {where}"
    chart = plots.scaling_chart(drawn, "seq_len", "forward_ms", "rung", title, source)
    text += paper.picture(chart, title, "attention_ladder")
    title = f"Peak memory, {where}"
    chart = plots.memory_chart(drawn, "seq_len", "forward_peak_MiB", "rung", title, source)
    text += paper.picture(chart, title, "attention_ladder_memory")
    lengths = set(drawn["seq_len"])
    at = drawn[drawn["seq_len"] == (8192 if 8192 in lengths else max(lengths))]
    at = at[at["forward_ms"] > 0]
    if len(at) > 1:
        title = f"Rung by rung: S {at['seq_len'].iloc[0]}, {where}"
        steps = [(str(r.rung), float(r.forward_ms)) for r in at.itertuples()]
        text += paper.picture(plots.ladder_chart(steps, title, source), title, "ladder_progress")
    return text


def softmax(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Every kernel against the copy and against PyTorch."""
    text = f"## Softmax against a copy\n\nfloat32; bytes read once and written once. {source}\n\n"
    rows: list[list[object]] = []
    for (batch, d1, d2), group in frame.groupby(["batch", "d1", "d2"], sort=False):
        known = group.drop_duplicates("implementation").set_index("implementation")["forward_ms"]
        for _, row in group.iterrows():
            ms = row["forward_ms"]
            values = [f"{batch} x {d1} x {d2}", row["implementation"], ms, row["forward_GB_per_s"]]
            ratios = [known.get(n, float("nan")) / ms for n in ("copy", "torch.softmax")]
            rows.append([*values, *ratios, status(row)])
    header = ["shape", "kernel", "ms", "GB/s", "speed (copy = 1)", "(torch.softmax = 1)", ""]
    text += markdown_table(header, rows)
    title = "Softmax, 8 x 2048 rows, float32"
    args = ("d2", "forward_ms", "implementation", title, source)
    wanted = ("copy", "torch.softmax", "online_softmax", "online_softmax_1x4096", "fast")
    chart = plots.time_chart(frame[frame["implementation"].isin(wanted)], *args)
    return text + paper.picture(chart, title, "softmax")


def softmax_matmul(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Products as exact as float32."""
    return _softmax_matmul(frame, source, paper, "float32", "softmax_matmul")


def softmax_matmul_tf32(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Products in TF32."""
    return _softmax_matmul(frame, source, paper, "TF32", "softmax_matmul_tf32")


def _softmax_matmul(
    frame: pd.DataFrame, source: str, paper: Paper, precision: str, name: str
) -> str:
    names = {"torch": "PyTorch", "fast": "fast"}
    kernels = [names.get(n, n.replace("fused_", "fused, BLOCK ")) for n in frame["implementation"]]
    frame = frame.assign(kernel=kernels)
    torch_ms = frame[frame["kernel"] == "PyTorch"].set_index("d2")["forward_ms_mean"]
    rows: list[list[object]] = [
        [
            row["d2"],
            row["kernel"],
            row["forward_ms_mean"],
            row["forward_ms_std"],
            torch_ms.get(row["d2"], float("nan")) / row["forward_ms_mean"],
            row["forward_peak_MiB"],
            status(row),
        ]
        for _, row in frame.iterrows()
    ]
    shape = "x 16 x 2048 x d2, V 16 x d2 x 512, float32"
    text = f"## Fused softmax-matmul, {precision} products\n\n{shape}. {source}\n\n"
    header = ["d2", "kernel", "mean ms", "std ms", "times as fast as PyTorch", "peak MiB", ""]
    text += markdown_table(header, rows)
    title = f"softmax(x) @ V, {precision} products"
    chart = plots.time_chart(frame, "d2", "forward_ms_mean", "kernel", title, source)
    return text + paper.picture(chart, title, name)


def expert_steps(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """What each step of the expert kernels bought, as measured."""
    return _as_it_is("## The expert kernels, step by step", frame, source)


def tried(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Attempts at the expert kernels, cuDNN timed in the same run."""
    return _as_it_is("## What was tried on the way", frame, source)


def tried_later(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Later attempts, each measured as a variant of the one above it."""
    return _as_it_is("### Three warpgroups, and sums of integers", frame, source)


def tried_readable(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Attempts at the readable kernels, one by one; 16 heads and S 8192 unless a row says other."""
    return _as_it_is("### The readable kernels, one by one", frame, source)


def tried_float32(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """Attempts at float32, at full rounds of programs, and at cheaper integers.

    PyTorch's time is that of its forward or of all its backward pass, in the same run.
    """
    head = "### Float32 in parts, programs of two sizes, and cheaper integers"
    return _as_it_is(head, frame, source)


def experiments(frame: pd.DataFrame, source: str, paper: Paper) -> str:
    """The experiments of notebook 06, as measured."""
    return _as_it_is("## The experiments of notebook 06", frame, source)


def _as_it_is(head: str, frame: pd.DataFrame, source: str) -> str:
    columns = list(frame.columns)
    rows = frame.astype(object).to_numpy().tolist()
    return f"{head}\n\n{source}\n\n" + markdown_table([c.replace("_", " ") for c in columns], rows)
