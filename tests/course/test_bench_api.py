"""The functions a learner calls from a notebook."""

import importlib
from typing import Any

import pandas as pd
import pytest
import torch

from course.bench import FakeClock, benchmark_attention, quick_benchmark, test_correctness
from course.oracle.attention import attention

LIMITS: dict[str, Any] = {"budget_ms": 0.02, "warmup": 1}


def tensors(*shape: int, grad: bool = False):
    torch.manual_seed(0)
    return [torch.randn(*shape, requires_grad=grad) for _ in range(3)]


def mine(Q, K, V, is_causal=False):
    return attention(Q, K, V, is_causal)


@pytest.mark.parametrize("shape", [(20, 8), (3, 20, 8), (2, 3, 20, 8)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_right_function_is_right_in_every_layout(shape, is_causal, capsys):
    seen = []

    def watched(Q, *rest):
        seen.append(tuple(Q.shape))
        return mine(Q, *rest)

    Q, K, V = tensors(*shape)
    assert test_correctness(watched, Q, K, V, is_causal)
    assert seen == [shape]
    assert "Right: output" in capsys.readouterr().out


def test_gradients_are_judged_where_they_are_asked_for(capsys):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, Q, K, V):
            return attention(Q, K, V)

        @staticmethod
        def backward(ctx, dO):
            return dO, dO, dO

    assert test_correctness(Wrong.apply, *tensors(2, 9, 8))
    assert not test_correctness(Wrong.apply, *tensors(2, 9, 8, grad=True))
    assert "dQ is wrong" in capsys.readouterr().out
    assert test_correctness(mine, *tensors(2, 9, 8, grad=True))
    assert "output and gradients" in capsys.readouterr().out


def named(Q, K, V):
    raise KeyError("missing")


def test_a_causal_function_takes_a_fourth_argument(capsys):
    Q, K, V = tensors(2, 12, 8)
    assert not test_correctness(named, Q, K, V, is_causal=True)
    assert "called as named(Q, K, V, True)" in capsys.readouterr().out


def test_the_line_that_went_wrong_is_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_kernel.py").write_text("def mine(Q, K, V):\n    return Q @ missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert not test_correctness(importlib.import_module("my_kernel").mine, *tensors(2, 12, 8))
    said = capsys.readouterr().out
    assert "mine stopped with NameError" in said
    assert "my_kernel.py: `return Q @ missing`" in said


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda Q, K, V: mine(Q * Q.shape[-1] ** 0.5, K, V), "O is wrong in"),
        (lambda Q, K, V: mine(Q, K, V).mT, "expected the shape of Q, (2, 12, 8), got (2, 8, 12)"),
        (lambda Q, K, V: None, "expected a tensor, got NoneType"),
        (lambda Q, K, V: 1 / 0, "stopped with ZeroDivisionError"),
        (lambda Q, K, V: mine(Q, K, V).double(), "expected dtype torch.float32"),
        (named, "named stopped with"),
    ],
)
def test_what_is_wrong_is_said_in_words(fn, words, capsys):
    assert not test_correctness(fn, *tensors(2, 12, 8))
    assert words in capsys.readouterr().out


def test_wrong_inputs_are_an_error_in_words():
    Q, K, V = tensors(2, 12, 8)
    with pytest.raises(ValueError, match=r"Q: expected a tensor of shape \(seq, d\), \(heads, seq"):
        test_correctness(mine, Q[None, None], K, V)
    with pytest.raises(ValueError, match="K and V: expected one shape"):
        test_correctness(mine, Q, K[:1], V)


def test_keys_may_be_more_than_queries():
    (Q, *_), (_, K, V) = tensors(2, 5, 8), tensors(2, 12, 8)
    assert test_correctness(mine, Q, K, V)


def test_two_lines_time_a_kernel_of_your_own():
    shape = (2, 3, 12, 8)
    seen = set()

    def watched(Q, K, V):
        seen.add(tuple(Q.shape))
        return mine(Q, K, V)

    wrong = {"wrong": lambda Q, K, V: V}
    clock = FakeClock(event_ms=0.01)
    table = quick_benchmark(
        {"mine": watched} | wrong,
        shape,
        "fp32",
        against=("sdpa_math", "naive"),
        clock=clock,
        **LIMITS,
    )
    assert isinstance(table, pd.DataFrame) and seen == {shape}
    assert table["implementation"].tolist() == ["mine", "wrong", "sdpa_math", "naive"]
    assert table["status"].tolist() == ["ok", "wrong", "ok", "ok"]
    assert table["forward_ms"].isna().tolist() == [False, True, False, False]


def test_a_kernel_without_a_backward_pass_can_be_timed_forward():
    def forward_only(Q, K, V):
        return mine(Q.detach(), K.detach(), V.detach())

    clock = FakeClock(event_ms=0.01)
    table = quick_benchmark({"x": forward_only}, (12, 8), "fp32", against=(), clock=clock, **LIMITS)
    assert table["status"].tolist() == ["ok"] and table["forward_ms"].tolist() == [0.01]


def test_quick_benchmark_refuses_in_words():
    with pytest.raises(ValueError, match=r"shape: expected \(seq, d\).*got \(4,\)"):
        quick_benchmark({"mine": mine}, (4,))
    with pytest.raises(ValueError, match="no dtype 'int8'"):
        quick_benchmark({"mine": mine}, (4, 4), "int8")
    with pytest.raises(ValueError, match="no implementation of attention 'slow'"):
        quick_benchmark({"mine": mine}, (4, 4), against=("slow",))


@pytest.mark.parametrize(
    "config",
    [
        {"seq_len": 12, "num_heads": 2, "head_dim": 8},
        {"seq_len": 12, "d_model": 16, "num_heads": 2, "head_dim": 8},
        {"seq_len": [12], "d_model": 16, "num_heads": 2, "batch": 1},
        {"seq_len": 12, "d_model": 16, "head_dim": 8},
    ],
)
def test_a_model_is_given_by_any_two_of_its_sizes(config):
    clock = FakeClock(event_ms=0.01)
    table = benchmark_attention(config, ["naive", "sdpa_math"], "fp32", clock=clock, **LIMITS)
    assert table[["heads", "head_dim", "seq_len"]].to_numpy().tolist() == [[2, 8, 12]] * 2
    assert (table["total_ms"] > 0).all() and table["is_causal"].all()


def test_functions_of_your_own_get_four_dimensions():
    seen = set()

    def watched(Q, K, V, is_causal):
        seen.add((tuple(Q.shape), is_causal))
        return mine(Q, K, V, is_causal)

    config = {"batch": 2, "seq_len": 6, "num_heads": 3, "head_dim": 8}
    clock = FakeClock(event_ms=0.01)
    table = benchmark_attention(config, {"mine": watched}, "fp32", clock=clock, **LIMITS)
    assert table["implementation"].iloc[0] == "mine" and table["status"].iloc[0] == "ok"
    assert seen == {((2, 3, 6, 8), True)}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"seq_length": 3}, "there is no 'seq_length'; there are: batch, num_heads, seq_len"),
        ({"seq_len": 3, "num_heads": 2}, "expected num_heads and head_dim, or one of them"),
        ({"seq_len": 3, "num_heads": 3, "d_model": 16}, "or one of them and a d_model it divides"),
        ({"num_heads": 2, "head_dim": 8}, "seq_len is missing"),
        (
            {"seq_len": 3, "num_heads": 2, "head_dim": 8, "d_model": 17},
            r"d_model is num_heads \* head_dim, but 17 is not 2 \* 8",
        ),
    ],
)
def test_a_model_that_does_not_add_up_is_an_error_in_words(config, words):
    with pytest.raises(ValueError, match=words):
        benchmark_attention(config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_works():
    with pytest.raises(RuntimeError, match=r"no GPU here.*test_correctness works here"):
        quick_benchmark({"mine": mine})
