"""The registry of ops, and the race: right before timed, every failure a row."""

import time
from typing import Any

import pytest
import torch

from course.bench import FakeClock, harness
from course.bench.ceilings import Ceilings, from_rows, measure_ceilings
from course.bench.ops.attention import flops
from course.bench.registry import Implementation, UnknownName, dtype_name, find, op_names
from course.oracle.attention import attention

TINY = {"heads": 2, "seq_len": 12, "head_dim": 16, "dtype": "fp32"}
PEERS = ("sdpa_math", "naive")


def raced(mine: dict[str, Any], names=PEERS, clock: FakeClock | None = None, **options: Any):
    op = find("attention")
    clock = clock or FakeClock(event_ms=0.01)
    limits: dict[str, Any] = {"warmup": 1, "passes": 3}
    rows = harness.bench(op, [op.case(**TINY)], names, clock, mine=mine, **limits, **options)
    return {row["implementation"]: row for row in rows}


def right(Q, K, V):
    return attention(Q, K, V, True)


def test_every_op_has_cases_inputs_work_and_implementations():
    for name in op_names():
        op = find(name)
        case = op.case(**{size: 16 for size in op.sizes if size != "MiB"})
        assert op.implementations and op.name == name
        for what in op.passes:
            assert op.moved(case, what) > 0 and op.flops(case, what) >= 0
        assert all(isinstance(one, Implementation) for one in op.implementations.values())


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match=r"there is no op 'attentio'. Did you mean attention\?"):
        find("attentio")
    op = find("attention")
    with pytest.raises(UnknownName, match=r"no implementation of attention 'cudnn'.*sdpa_cudnn"):
        op.named(["cudnn"])
    with pytest.raises(UnknownName, match="There are: bf16, fp16, fp32"):
        op.case(dtype="int8")
    with pytest.raises(UnknownName, match="no size of attention 'd_model'"):
        op.case(d_model=3)
    assert dtype_name(torch.bfloat16) == dtype_name("bfloat16") == "bf16"


def test_what_is_right_is_timed_and_compared_with_the_first():
    rows = raced({"mine": right})
    assert list(rows) == ["mine", *PEERS]
    for row in rows.values():
        assert row["status"] == "ok", row
        assert row["forward_ms"] == row["total_ms"] == 0.01 and row["forward_speed"] == 1.0
    rate = flops(2, 12, 16, True) / 0.01 / 1e9
    assert rows["mine"]["forward_TFLOP_per_s"] == pytest.approx(rate, rel=1e-4)


def test_what_is_wrong_or_fails_has_no_time_and_says_why():
    def no_scale(Q, K, V):
        return right(Q * 4, K, V)

    def bad_gradient(Q, K, V):
        O = right(Q, K, V)
        return O + (V - V.detach())

    def full_of_nan(Q, K, V):
        return right(Q, K, V) * float("nan")

    def no_memory(Q, K, V):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB.")

    def no_room(Q, K, V):
        from triton.runtime.errors import OutOfResources

        raise OutOfResources(303104, 232448, "shared memory")

    bad = {f.__name__: f for f in (no_scale, bad_gradient, full_of_nan, no_memory, no_room)}
    rows = raced(bad | {"mine": right})
    status = {name: rows[name]["status"] for name in bad}
    assert status == {
        "no_scale": "wrong",
        "bad_gradient": "wrong",
        "full_of_nan": "wrong",
        "no_memory": "OOM",
        "no_room": "failed",
    }
    for name in bad:
        assert rows[name]["forward_ms"] is rows[name]["backward_ms"] is None
    assert "O is wrong" in rows["no_scale"]["reason"]
    assert "dV is wrong" in rows["bad_gradient"]["reason"]
    assert "NaN or infinity in 2 of 2 heads" in rows["full_of_nan"]["reason"]
    assert "shared memory" in rows["no_room"]["reason"]
    assert rows["mine"]["status"] == rows["naive"]["status"] == "ok"


def test_a_pass_that_fails_keeps_the_others():
    def forward_only(Q, K, V):
        O = right(Q, K, V)
        O.register_hook(fail_in_timing)
        return O

    calls = iter(range(10))

    def fail_in_timing(gradient):
        if next(calls) > 0:
            raise RuntimeError("no backward today")

    row = raced({"mine": forward_only}, ())["mine"]
    assert row["forward_ms"] == 0.01 and row["backward_ms"] is None
    assert row["status"] == "failed" and "no backward today" in row["reason"]


def test_inputs_without_memory_are_rows_too():
    op = find("attention")
    case = op.case(**TINY | {"seq_len": 2**50})
    rows = harness.bench(op, [case], ["naive"], FakeClock(), what=["forward"])
    assert rows[0]["status"] != "ok" and rows[0]["forward_ms"] is None and rows[0]["reason"]


def test_a_chip_without_the_feature_is_told_apart():
    ladder, op = find("attention_ladder"), find("attention")
    case = op.case(**TINY | {"dtype": "bf16"})
    assert "bfloat16 needs sm_80 or later; this GPU is sm_75" in op.implementations[
        "naive"
    ].refuses(case, (7, 5))
    case = ladder.case(dtype="fp16")
    for rung, chip, words in (("fp8", (8, 6), "FP8 needs sm_89"), ("descriptors", (8, 0), "TMA")):
        here = Implementation(lambda case: right, needs=ladder.implementations[rung].needs)
        assert words in here.refuses(case, chip)
        assert not here.refuses(case, (9, 0))
    assert not op.implementations["naive"].refuses(op.case(**TINY), (7, 5))


def test_what_is_not_here_is_left_out_unless_asked_for(monkeypatch: pytest.MonkeyPatch):
    op = find("attention")
    absent = Implementation(lambda case: right, module="flash_attention_of_nobody.expert")
    monkeypatch.setattr(op, "implementations", {"absent": absent, **op.implementations})
    assert "absent" not in op.named(None)
    rows = raced({}, ["absent", "naive"])
    assert rows["absent"]["status"] == "unsupported"
    assert "is not in this repository" in rows["absent"]["reason"]
    assert rows["naive"]["status"] == "ok"


def test_too_long_for_a_rung_is_said():
    ladder = find("attention_ladder")
    basic = Implementation(lambda case: right, largest=(("seq_len", 4096),))
    assert "above seq_len 4096" in basic.refuses(ladder.case(seq_len=8192), None)


def test_when_time_is_up_the_rest_are_rows():
    rows = raced({"mine": right}, until=time.monotonic() - 1)
    assert {row["status"] for row in rows.values()} == {"unsupported"}
    assert "time allowed was up" in rows["mine"]["reason"]


def test_shares_of_the_roofline_are_of_ceilings_measured_in_the_same_run():
    clock = FakeClock(event_ms=0.5)
    ceilings, rows = measure_ceilings(clock, copy_bytes=2**16, size=32)
    assert ceilings == from_rows(rows)
    assert ceilings.GB_per_s == pytest.approx(2**16 / 0.5e-3 / 1e9)
    assert ceilings.TFLOP_per_s["bf16"] == pytest.approx(2 * 32**3 / 0.5 / 1e9)
    op = find("attention")
    case = op.case(**TINY | {"seq_len": 4096})
    work = flops(2, 4096, 16, True)
    compute = Ceilings(1e9, {"fp32": 50.0})
    assert compute.least_ms(op, case, "forward") == pytest.approx(work / 50 / 1e9)
    memory = Ceilings(1.0, {"fp32": 1e9})
    moved = 4 * 2 * 4096 * 16 * 4
    assert memory.least_ms(op, case, "forward") == pytest.approx(moved / 1e9 * 1e3)


def test_operations_of_attention_are_counted_as_in_the_paper():
    assert flops(16, 8192, 64, False) == 4 * 16 * 8192**2 * 64
    assert flops(16, 8192, 64, True, "total") == 3.5 * flops(16, 8192, 64, False) / 2


@pytest.mark.parametrize("name", ["softmax", "softmax_matmul", "copy", "matmul"])
def test_other_ops_judge_and_time_too(name: str):
    op = find(name)
    sizes = {"softmax": {"batch": 2, "d1": 3, "d2": 40}, "copy": {"MiB": 1}, "matmul": {"n": 48}}
    sizes["softmax_matmul"] = {"batch": 2, "d1": 3, "d2": 40, "d3": 5}
    case = op.case(**sizes[name])
    names = [n for n, one in op.implementations.items() if not one.module]
    wrong = {"wrong": lambda *inputs: op.implementations[names[0]].make(case)(*inputs) * 1.5}
    rows = harness.bench(op, [case], names, FakeClock(event_ms=0.01), mine=wrong, what=["forward"])
    assert [row["status"] for row in rows] == ["wrong", *["ok"] * len(names)]
    assert rows[1][f"forward_{op.rate}"] > 0
