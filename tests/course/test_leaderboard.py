"""The entry for the leaderboard, at a tiny size and with a clock that tells no time."""

import importlib

import pytest
import torch

from course import device
from course.bench import FakeClock
from course.process import ROOT
from course.subject import load

MACHINE = device.prepare()
CLOCK = FakeClock(event_ms=0.25, device=MACHINE.device)
TINY = {"seq_len": 64, "heads": 2, "head_dim": 16, "peer": "naive", "warmup": 1, "passes": 3}


@pytest.fixture(scope="module")
def leaderboard():
    load.use(ROOT / "solutions")
    return importlib.import_module("benchmarking.submit_leaderboard")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_entry_is_timed_against_its_peer_and_written_down(leaderboard, tmp_path, dtype):
    result = leaderboard.entry(CLOCK, dtype=dtype, **TINY)
    assert result["forward_backward_ms"] == result["peer_ms"] == 0.25
    assert result["speed_against_peer"] == 1.0
    # half of 4 heads S^2 d operations where causal, and 2.5 times as much backward
    assert result["TFLOP_per_s"] == round(3.5 * 4 * 2 * 64**2 * 16 / 2 / 0.25 / 1e9, 1)
    path = tmp_path / "outputs" / "result.txt"
    leaderboard.write(result, path)
    lines = dict(line.split(": ", 1) for line in path.read_text().splitlines())
    assert lines["shape"] == "2 heads, sequence 64, head dim 16, causal"
    assert lines["dtype"] == str(dtype).removeprefix("torch.")
    assert {"gpu", "torch", "triton"} <= set(lines)


def test_a_wrong_entry_gets_no_time(leaderboard, monkeypatch):
    module = importlib.import_module("flash_attention.flash_forward")
    wrong = module.FlashAttentionTriton.backward

    def doubled(ctx, dO):
        return tuple(None if t is None else 2 * t for t in wrong(ctx, dO))

    monkeypatch.setattr(module.FlashAttentionTriton, "backward", staticmethod(doubled))
    with pytest.raises(RuntimeError, match=r"no time for this entry: it .*dQ"):
        leaderboard.entry(CLOCK, dtype=torch.float32, **TINY)


def test_without_a_gpu_it_says_what_to_do_instead(leaderboard, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        leaderboard.main()
    assert stopped.value.code == 2
    assert "'course check hw3-1' tests your kernel" in capsys.readouterr().err
