"""Classic mistakes are named, and memory is judged by what an N x N matrix would take."""

import math
from functools import partial

import pytest
import torch

from course.check import mistakes
from course.testing.attention import memory_that_grows
from course.testing.inputs import normal


def tensors(seq_q: int = 96, seq_k: int = 96, d: int = 16) -> list[torch.Tensor]:
    lengths = (seq_q, seq_k, seq_k, seq_q)
    return [normal(2, n, d, seed=seed) for seed, n in enumerate(lengths)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("seq_q", "seq_k"), [(96, 96), (70, 96), (96, 70)])
def test_every_mistake_is_recognised_and_no_other(seq_q, seq_k, causal):
    Q, K, V, dO = tensors(seq_q, seq_k)
    for names, made in (
        (("O",), lambda: mistakes.outputs(Q, K, V, causal)),
        (("dQ", "dK", "dV"), lambda: mistakes.gradients(Q, K, V, dO, causal)),
        (("out",), lambda: mistakes.products(Q @ K.mT, V)),
        (("y",), lambda: mistakes.softmaxes(Q @ K.mT, (16, 64))),
    ):
        for words, results in made().items():
            if not words:
                continue
            with (
                pytest.raises(AssertionError) as raised,
                mistakes.named(names, [t.float() for t in results], made),
            ):
                raise AssertionError("it is wrong.")
            assert str(raised.value).startswith("it is wrong.")
            assert str(raised.value).endswith(f"This is what comes out {words}.")


def test_what_is_right_is_said_and_what_is_unknown_is_not_guessed():
    Q, K, V, dO = tensors()
    made = partial(mistakes.gradients, Q, K, V, dO, False)
    dQ, dK, dV = made()[""]
    names = ("dQ", "dK", "dV")
    for got, said in (
        ([dQ, dK, torch.zeros_like(dV)], "wrong. dQ and dK are right."),
        ([torch.full_like(dQ, math.nan), dK + 1, dV], "wrong. dV is right."),
        ([dQ + 1, dK + 1, dV + 1], "wrong."),
        ([dQ[0], dK, dV], "wrong."),
        ([None, dK, dV], "wrong."),
    ):
        with pytest.raises(AssertionError) as raised, mistakes.named(names, got, made):
            raise AssertionError("wrong.")
        assert str(raised.value) == said


def test_what_is_wrong_by_little_is_not_called_right():
    Q, K, V, dO = tensors()
    made = partial(mistakes.gradients, Q, K, V, dO, False)
    names = ("dQ", "dK", "dV")
    with pytest.raises(AssertionError) as raised, mistakes.named(names, made()[""], made):
        raise AssertionError("dQ is wrong.")
    assert str(raised.value) == "dQ is wrong. dK and dV are right."
    right = partial(mistakes.outputs, Q, K, V, False)
    with pytest.raises(AssertionError) as raised, mistakes.named(("O",), right()[""], right):
        raise AssertionError("O for 96 tokens is wrong.")
    assert str(raised.value) == "O for 96 tokens is wrong."


def test_a_list_of_tiles_joined_at_the_end_is_no_square():
    # measured: the tiles are the peak at N, the joining at 4N
    assert memory_that_grows({128: 76032, 256: 84736, 512: 108288}, "forward") == ""
    assert memory_that_grows({n: 640 * n for n in (128, 256, 512)}, "forward") == ""


@pytest.mark.parametrize("bytes_a_pair", [1, 2, 4])
def test_a_matrix_of_all_pairs_is(bytes_a_pair):
    peaks = {n: 640 * n + bytes_a_pair * n * n for n in (128, 256, 512)}
    assert "Is an N x N tensor made?" in memory_that_grows(peaks, "forward")
