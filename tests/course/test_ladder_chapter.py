"""Notebook 03: its charts, and what it says of the measurements."""

import re

import numpy as np
import pytest
from matplotlib.text import Annotation

from course.pictures import ladder
from course.process import ROOT

TEXT = " ".join((ROOT / "solutions/notebooks/03_attention_ladder.py").read_text().split("\n# "))


def test_what_the_text_says_is_what_was_measured() -> None:
    frame, _ = ladder.committed()
    ms = frame.pivot(index="seq_len", columns="rung", values="forward_ms").astype(float)
    slower = ms.div(ms["naive"], axis=0)
    assert "At N = 128 they take about the same" in TEXT
    assert 0.8 < slower["basic"][128] < 1.25
    assert "from 512 on basic takes several times as long" in TEXT
    assert slower["basic"].loc[512:].min() > 3
    assert "vectorized is the fastest of all up to 256; at 512, its limit, it is behind" in TEXT
    assert (ms.loc[:256].idxmin(axis=1) == "vectorized").all()
    assert slower["vectorized"][512] > 1 and ms["vectorized"].loc[1024:].isna().all()
    assert "Between N = 4,096 and 8,192." in TEXT and "At N = 128 tiled is ahead as well" in TEXT
    assert (
        slower["tiled"].loc[256:4096].min() > 1 > max(slower["tiled"][8192], slower["tiled"][128])
    )
    assert "naive and basic come near it with the last doubling" in TEXT
    growth = ms.loc[8192] / ms.loc[4096]
    assert growth[["naive", "basic"]].between(3.3, 4.4).all() and growth["tiled"] < 3
    mib = frame.pivot(index="seq_len", columns="rung", values="forward_peak_MiB").astype(float)
    assert "some 32 MiB are working space" in TEXT and 28 < mib["naive"][128] < 36


@pytest.mark.parametrize("what", ["time", "speedup", "memory", "scaling"])
def test_each_chart_has_the_four_rungs(what: str) -> None:
    figure = ladder.measured_on_gpu(what)
    assert figure is not None
    names = [t.get_text() for t in figure.axes[0].texts if isinstance(t, Annotation)]
    assert sorted(re.split(r"\W", name)[0] for name in names) == sorted(ladder.RUNGS)
    if what == "scaling":
        # what is too short to be fitted has no power, and is named nevertheless
        assert "vectorized" in names and all("N$" in n for n in names if n != "vectorized")
        assert "N ≥ 2,048" in figure.axes[0].get_title(loc="left")
        drawn = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
        assert all(
            np.min(np.asarray(line.get_xdata(), float)) >= ladder.FITTED_FROM for line in drawn
        )


def test_a_rung_has_one_row_of_numbers_a_length() -> None:
    table = ladder.numbers()
    assert table is not None and table.index.is_unique
    assert (table["vectorized / naive"] == "").sum() == (table.index > 512).sum()
