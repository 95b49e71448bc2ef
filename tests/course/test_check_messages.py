"""What a check says of a wrong result: how much, where first, and no guess that does not fit."""

import linecache
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from types import ModuleType

import pytest
import torch
from rich.console import Console
from torch import Tensor

from course.check import CheckFailed, assert_close_to_exact, assert_matches, check
from course.check.close import how_many
from course.check.registry import _CALLS, _CHECKERS, checker
from course.exercise.cells import Cell, run_cells
from course.exercise.homework import _tell
from course.oracle.attention import attention
from course.submit.score import Results


def message(got: Tensor, exact: Tensor, name: str = "out") -> str:
    """What is said of a wrong result."""
    with pytest.raises(AssertionError) as raised:
        assert_close_to_exact(name, got, exact.double(), exact.to(got.dtype), 1.0, 1e-7)
    return str(raised.value)


def scaled(factor: float, Q: Tensor, K: Tensor, V: Tensor) -> str:
    """What is said when attention's result is off by a factor."""
    with pytest.raises(AssertionError) as raised:
        assert_matches("O", factor * attention(Q, K, V), attention, Q, K, V)
    return str(raised.value)


@pytest.mark.parametrize(
    ("factor", "guess"),
    [
        (8**-0.5, "0.3536 = 1/sqrt(d) with d = 8: one division by sqrt(d) too many?"),
        (8**0.5, "2.828 = sqrt(d) with d = 8: a division by sqrt(d) missing?"),
        (1 / 8, "0.125 = 1/d with d = 8: two divisions by sqrt(d) too many?"),
        (8, "8 = d with d = 8: two divisions by sqrt(d) missing?"),
        (0.25, "0.25: a scale missing, or one too many?"),
        (2.8, "2.8: a scale missing, or one too many?"),
    ],
)
def test_a_factor_of_sqrt_d_is_named(factor: float, guess: str) -> None:
    assert scaled(factor, *torch.randn(3, 5, 8)).endswith(f"off by one factor, {guess}")


def test_without_a_head_dimension_no_sqrt_d_is_named() -> None:
    x = torch.linspace(-1, 2, 32).view(4, 8)
    with pytest.raises(AssertionError, match="a scale missing, or one too many"):
        assert_matches("y", 8**0.5 * x, lambda x: x, x)


@pytest.mark.parametrize(("first", "edge"), [(4, True), (16, True), (24, True), (33, False)])
def test_a_tile_s_edge_is_guessed_at_edges_only(first: int, edge: bool) -> None:
    exact = torch.arange(48.0)[:, None].repeat(1, 3) % 7
    got = exact.clone()
    got[first:] += torch.arange(48.0 - first)[:, None] + 1
    said = message(got, exact)
    end = ": a tile's edge?" if edge else "."
    assert said.endswith(f"Everything before index {first} of dimension 0 is right{end}")


@pytest.mark.parametrize(
    ("wrong", "total", "words"),
    [
        (1, 1, "its only element"),
        (3, 5, "3 of its 5 elements"),
        (5, 5, "all of its 5 elements"),
        (512, 512, "all of its 512 elements"),
        (64, 512, "12.5% of its 512 elements"),
        (9999, 10000, "all but 1 of its 10000 elements"),
        (1, 10000, "less than 0.1% of its 10000 elements"),
    ],
)
def test_how_many(wrong: int, total: int, words: str) -> None:
    assert how_many(torch.arange(total) < wrong) == words


def test_an_index_follows_a_name_of_one_word() -> None:
    exact, got = torch.zeros(5, 1), torch.ones(5, 1)
    assert "first at l[0, 0]: got 1" in message(got, exact, "l")
    assert "first at [0, 0]: got 1" in message(got, exact, "l after tile 2")


@pytest.mark.parametrize("everywhere", [False, True])
def test_nan_has_no_size(everywhere: bool) -> None:
    got = torch.arange(9.0) / (0 if everywhere else 1)
    got[0] = torch.nan
    got[1:] = torch.nan if everywhere else 7
    said = message(got, torch.arange(9.0))
    assert "largest error" not in said and "(allowed " in said
    for cause in ("inf - inf", "inf / inf", "inf * 0", "0 / 0"):
        assert cause in said
    assert said.count("kernel") == 1  # plain PyTorch stores nothing


@pytest.mark.parametrize(("count", "last"), [(4, "1 other message"), (5, "2 other messages")])
def test_other_messages_are_counted(count: int, last: str) -> None:
    failed = {"nodeid": "t", "exercise": "hw9-1", "outcome": "failed"}
    tests = [{**failed, "message": f"message {n}"} for n in range(count)]
    out = StringIO()
    _tell(Console(file=out, highlight=False), "hw9-1", Results(count, {"hw9-1": 1}, tests))
    assert f"... and {last}\n" in out.getvalue()


STEP = "def step(x):\n    return x + 1\n"
WRONG = STEP.replace("1", "2")
TWICE = "def twice(x):\n    return [step(step(y)) for y in [x]][0]\n"


def adds(count: int) -> Callable[[Callable[[int], int]], None]:
    """A check of a function that adds so many."""

    def judge(function: Callable[[int], int]) -> None:
        if function(0) != count:
            raise AssertionError(f"got {function(0)}")  # pytest adds nothing to it

    return judge


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A notebook 99 of two exercises; the second calls the first."""
    monkeypatch.setitem(sys.modules, "course.check.nb99", ModuleType("nb99"))
    checker("nb99-1")(adds(1))
    checker("nb99-2", calls={"nb99-1": ["step"]})(adds(2))
    yield
    for registered in (_CHECKERS, _CALLS):
        del registered["nb99-1"], registered["nb99-2"]


def said(step: str, twice: str) -> str:
    """What the check of the second exercise says."""
    scope: dict = {}
    exec(step + twice, scope)
    with pytest.raises(CheckFailed) as raised:
        check("nb99-2", scope["twice"])
    return str(raised.value)


def test_a_wrong_function_that_is_called_is_blamed_first(notebook) -> None:
    assert said(WRONG, TWICE).splitlines() == [
        "nb99-1, which nb99-2 calls, does not pass: mend it first.",
        "nb99-2 is not right yet: got 4",
    ]


@pytest.mark.parametrize(
    ("step", "twice"),
    [(STEP, TWICE.replace("[0]", "[0] + 1")), (WRONG, "def twice(x):\n    return x + 3\n")],
    ids=["a right one", "one that is not called"],
)
def test_no_other_is_blamed(notebook, step: str, twice: str) -> None:
    assert said(step, twice) == "nb99-2 is not right yet: got 3"


def test_one_that_is_not_written_is_named_once(notebook) -> None:
    stub = 'def step(x):\n    raise NotImplementedError("nb99-1: one more")\n'
    assert said(stub, TWICE) == "nb99-2 is not written yet: it needs nb99-1 first (one more)"


@pytest.mark.parametrize(
    ("name", "where"), [("nb99-1", "the cell of nb99-1"), ("cell-1", "code cell 2")]
)
def test_an_earlier_cell_is_named_by_its_exercise(notebook, monkeypatch, name, where) -> None:
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    call = 'from course.check import check\ncheck("nb99-2", twice)'
    cells = [
        *(Cell("", ""), Cell(name, STEP.replace("x + 1", "missing"))),
        *(Cell("nb99-2", TWICE), Cell("nb99-2-check", call)),
    ]
    assert f"\n  line 2 of {where}: `return missing`" in run_cells(cells, "nb99-2")
    cells[1:3] = Cell(name, "def step(:\n"), Cell("nb99-2", TWICE + "step(1)\n")
    assert f"({where} was left out: " in run_cells(cells, "nb99-2")
