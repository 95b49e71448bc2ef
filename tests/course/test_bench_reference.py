"""Attention judged at any length: in chunks, once for all implementations."""

import pytest
import torch

from course.bench import reference
from course.bench.reference import AttentionJudge, attention_and_gradients
from course.oracle.attention import attention, attention_gradients, log_sum_exp


def inputs(heads=2, seq=37, d=8, dtype=torch.float32):
    torch.manual_seed(0)
    made = [torch.randn(heads, seq, d, dtype=dtype) for _ in range(4)]
    return [*(t.requires_grad_() for t in made[:3]), made[3]]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("rows", [1024, 16])
def test_in_chunks_it_is_what_the_whole_matrix_gives(is_causal, rows, monkeypatch):
    monkeypatch.setattr(reference, "ROWS", rows)
    Q, K, V, dO = (t.detach().double() for t in inputs())
    got, largest = attention_and_gradients(Q, K, V, dO, is_causal)
    exact = (attention(Q, K, V, is_causal), *attention_gradients(Q, K, V, dO, is_causal))
    for name, one, other in zip(("O", "dQ", "dK", "dV"), got, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=name)
    assert largest == pytest.approx(log_sum_exp(Q, K, is_causal).abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_its_own_error_in_16_bits_is_that_of_pytorch(dtype, monkeypatch):
    monkeypatch.setattr(reference, "ROWS", 64)
    Q, K, V, dO = (t.detach() for t in inputs(1, 256, 32, dtype))
    q, k, v, do = (t.double() for t in (Q, K, V, dO))
    exact = (attention(q, k, v, True), *attention_gradients(q, k, v, do, True))
    plain = (attention(Q, K, V, True), *attention_gradients(Q, K, V, dO, True))
    chunked, _ = attention_and_gradients(Q, K, V, dO, True)
    for e, p, c in zip(exact, plain, chunked, strict=True):
        own, of_chunks = ((t.double() - e).abs().max().item() for t in (p, c))
        assert of_chunks <= 2 * own and own <= 2 * of_chunks


def test_no_more_than_a_chunk_of_scores_is_alive(monkeypatch):
    from course.subject.watch import Watch

    monkeypatch.setattr(reference, "ROWS", 32)
    Q, K, V, dO = (t.detach().double() for t in inputs(1, 1024, 8))
    watch = Watch([Q, K, V, dO])
    with watch.phase(noop=False):
        attention_and_gradients(Q, K, V, dO, True)
    chunk, whole = 32 * 1024 * 8, 1024 * 1024 * 8
    assert watch.peak < 8 * chunk + 16 * Q.numel() * 8 < whole


def test_exact_results_are_computed_once_for_all_who_ask(monkeypatch):
    calls = []
    real = reference.attention_and_gradients

    def counted(Q, *rest):
        calls.append(Q.dtype)
        return real(Q, *rest)

    monkeypatch.setattr(reference, "attention_and_gradients", counted)
    judge = AttentionJudge(tuple(inputs()), True)
    for name in "abc":
        judge(name, lambda Q, K, V: attention(Q, K, V, True))
    assert sorted(map(str, calls)) == ["torch.float32", "torch.float64"]


def test_a_late_row_of_the_last_head_is_seen():
    Q, K, V, dO = inputs(3, 100)

    def wrong_at_the_end(Q, K, V):
        O = attention(Q, K, V, False)
        mask = torch.ones_like(O)
        mask[-1, -1] = 0.5
        return O * mask

    with pytest.raises(AssertionError, match="O is wrong"):
        AttentionJudge((Q, K, V, dO), False)("x", wrong_at_the_end)


def test_nothing_left_unwritten_in_any_head():
    def hole_in_the_middle(Q, K, V):
        O = attention(Q, K, V, False)
        mask = torch.zeros_like(O)
        mask[1, 3] = float("nan")
        return O + mask

    Q, K, V, dO = inputs(3)
    with pytest.raises(AssertionError, match="1 of 3 heads, first in head 1"):
        AttentionJudge((Q, K, V, dO), False)("x", hole_in_the_middle)
