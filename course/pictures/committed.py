"""The committed measurements as notebook 06 shows them: tables, roofs, and charts made of them.

What has not been measured yet is said in one line, and no chart is drawn of it.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from course.bench.measured import load
from course.bench.plots import speedup_chart
from course.pictures.ladder import TB_PER_S, TENSOR_TFLOPS
from course.pictures.performance import mistakes, roofline


def measured(name: str, **where: Any) -> pd.DataFrame | None:
    """Rows of a committed table, those where the columns have these values; None if none are.

    What is the same in all of them by this choice is left out, and so is "ok".
    """
    try:
        frame, source = load(name)
    except FileNotFoundError:
        frame, source = pd.DataFrame(columns=list(where)), ""
    for column, value in where.items():
        frame = frame[frame[column] == value] if column in frame else frame[:0]
    what = ", ".join([name, *map(str, where.values())])
    print(f"{what}: {source}" if len(frame) else f"{what}: not measured yet")
    if frame.empty:
        return None
    if "status" in frame and (frame["status"] == "ok").all():
        frame = frame.drop(columns="status")
    pd.set_option("display.max_colwidth", None)  # the words of a row say what was measured
    frame = frame.drop(columns=list(where)).dropna(axis="columns", how="all")
    return frame.round(3).reset_index(drop=True)


def ceilings() -> tuple[float, float, str]:
    """The roofs: 16-bit TFLOP/s, TB/s, and where they come from.

    Measured ones (a large product, a copy) where they are committed, else those of the data sheet.
    """
    try:
        frame, source = load("roofline")
    except FileNotFoundError:
        return TENSOR_TFLOPS, TB_PER_S, "NVIDIA H200 data sheet: no roof is measured yet"
    of = frame.set_index("ceiling")
    tflops, rate = of.loc["bf16", "TFLOP_per_s"], of.loc["copy", "GB_per_s"] / 1e3
    return float(tflops), float(rate), f"measured: a bf16 product of 8192³, a large copy; {source}"


def peers() -> tuple[pd.DataFrame, str]:
    """Forward passes in bf16: implementation, heads (of all the batch), seq_len, head_dim,
    is_causal and forward_ms; the homework's solution is called "flash_triton".

    Raises:
        FileNotFoundError: nothing has been measured.
    """
    frame, source = load("attention_peers")
    heads = frame["batch_heads"] if "batch_heads" in frame else frame["batch"] * frame["heads"]
    frame = frame.assign(heads=heads).replace({"implementation": {"ours": "flash_triton"}})
    columns = ["implementation", "heads", "seq_len", "head_dim", "is_causal", "forward_ms"]
    return frame[(frame["dtype"] == "bf16") & (frame["forward_ms"] > 0)][columns], source


def beside_bytes(ways: dict[str, Callable[[int], int]], head_dim: int = 64) -> pd.DataFrame | None:
    """What implementations take, and what their bytes alone would at the bandwidth of a copy.

    Args:
        ways: implementation -> sequence length -> bytes of one head.
    """
    try:
        rows, source = peers()
    except FileNotFoundError:
        print("attention_peers: not measured yet")
        return None
    rows = rows[rows["implementation"].isin(list(ways)) & ~rows["is_causal"].astype(bool)]
    rows = rows[rows["head_dim"] == head_dim]
    _, rate, roofs = ceilings()
    counts = [row.heads * ways[row.implementation](row.seq_len) for row in rows.itertuples()]
    print(f"{int(rows['heads'].iloc[0])} heads of {head_dim}, bf16, not causal: {source}")
    print(f"bytes_alone_ms: at {rate:.2f} TB/s ({roofs})")
    table = rows[["implementation", "seq_len", "forward_ms"]].assign(
        GB=[n / 1e9 for n in counts], bytes_alone_ms=[n / rate / 1e9 for n in counts]
    )
    return table.round(3).sort_values(["implementation", "seq_len"]).reset_index(drop=True)


def roofline_of_peers(work: Callable[[int, int, int], tuple[int, int]]) -> Figure | None:
    """Attention's measured speed under the roofs.

    Args:
        work: sequence length, head dimension, bytes a number -> flops and bytes of one head.
    """
    try:
        rows, source = peers()
    except FileNotFoundError:
        print("attention_peers: not measured yet")
        return None
    wanted = ("naive", "sdpa_flash", "sdpa_cudnn", "flash_triton", "expert")
    rows = rows[rows["implementation"].isin(wanted) & ~rows["is_causal"].astype(bool)]
    points = []
    for row in rows[rows["head_dim"] == 64].sort_values("seq_len").itertuples():
        flops, nbytes = work(row.seq_len, row.head_dim, 2)
        rate = row.heads * flops / row.forward_ms / 1e9
        points.append({"name": row.implementation, "intensity": flops / nbytes, "tflops": rate})
    tflops, rate, _ = ceilings()
    title = "attention forward, not causal, d = 64, N = 1024 and more"
    return roofline(pd.DataFrame(points), tflops, rate, source, title)


def measured_mistakes() -> Figure | None:
    """What the wrong ways of timing said on a real GPU."""
    if measured("experiments", experiment="mistakes") is None:
        return None
    frame, source = load("experiments")
    frame = frame[frame["experiment"] == "mistakes"]
    return mistakes(frame, float(frame["ms"].iloc[0]), f"a copy of 16 MiB; {source}")


def rungs(*names: str) -> Figure | None:
    """How many times as fast as the first rung the others are, in 16 bits; prints their times."""
    try:
        frame, source = load("attention_ladder")
    except FileNotFoundError:
        frame, source = pd.DataFrame({"rung": []}), ""
    rung = "rung" if "rung" in frame else "implementation"
    top = frame[frame[rung].isin(names)]
    if "dtype" in top:
        # some rungs take float32 too
        top = top[top["dtype"] != "fp32"]
    if top.empty:
        print(f"{', '.join(names)}: not measured yet; their chart appears here once they are")
        return None
    for column in ("is_causal", "heads", "head_dim"):
        if column in top and top[column].nunique() > 1:
            top = top[top[column] == top[column].mode()[0]]
    times = top.pivot_table(index="seq_len", columns=rung, values="forward_ms")[list(names)]
    print(f"forward, ms ({source}):\n{times.round(3).to_string()}")
    return speedup_chart(top, "seq_len", "forward_ms", rung, names[0], "forward", source)
