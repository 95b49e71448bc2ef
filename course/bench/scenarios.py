"""Runs a benchmark a student wrote on an imagined device, and writes down what it did.

The benchmark gets a :class:`FakeClock` and stand-ins for the kernels, whose time and memory are
known. ``run`` is called in the process of the student code; tests judge what it returns.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from triton.runtime.errors import OutOfResources

from course.bench.clock import FLUSH, FakeClock

# What a kernel's first call costs besides: compiling it, and memory to try its configurations.
FIRST_CALL_MS = 200.0
FIRST_CALL_MIB = 512.0
INPUTS_MIB = 40.0


class StandIn:
    """A pretended kernel: each piece of work has a label, a time, and memory it needs."""

    def __init__(self, clock: FakeClock):
        self.clock = clock
        self.work: dict[str, dict[str, Any]] = {}

    def work_on(self, label: str, inputs: tuple[Tensor, ...], ms: float, mib: float) -> None:
        """Do one call: the first is dear, the others vary by up to 45%, their median is no mean."""
        seen = self.work.setdefault(label, {"calls": 0, "peak_MiB": mib, **_described(inputs)})
        call = seen["calls"]
        seen["calls"] += 1
        first = call == 0
        with self.clock.allocate(mib + FIRST_CALL_MIB * first):
            self.clock.launch(label, ms * (1 + 0.05 * (call % 4) ** 2) + FIRST_CALL_MS * first)


class FullMemory(TorchFunctionMode):
    """Refuses new tensors with a dimension of ``too_large`` or more, as a full device would."""

    def __init__(self, too_large: float):
        super().__init__()
        self.too_large = too_large

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        new = isinstance(made, Tensor) and not any(isinstance(one, Tensor) for one in args)
        if new and max(made.shape, default=0) >= self.too_large:
            raise torch.cuda.OutOfMemoryError(
                f"CUDA out of memory. There is no room for a tensor of {tuple(made.shape)}."
            )
        return made


def no_room() -> OutOfResources:
    """What Triton raises on a GPU for a kernel that needs too much; no RuntimeError."""
    return OutOfResources(303104, 232448, "shared memory")


def run(function: Callable[..., Any], scenario: str, **settings: Any) -> dict[str, Any]:
    """Run ``function`` in one of the SCENARIOS.

    Returns:
        ``rows`` (a list of dictionaries), ``log`` (lines), ``work`` (label -> calls, untimed calls
        before the first timed one, timed calls and their ms, timed calls right after a flush of
        the cache, peak MiB of a call, its inputs),
        ``mixed`` (the labels of each timed interval that held more than one of them), ``waits``
        (how often the program waited for the device).

    Raises:
        TypeError: the function did not return what it should.
        Exception: whatever it raised.
    """
    return SCENARIOS[scenario](function, **settings)


def one(function: Callable[..., Any], **settings: Any) -> dict[str, Any]:
    """hw1-4: one forward pass to time, with inputs that stay allocated."""
    clock = FakeClock()
    stand_in = StandIn(clock)
    held = clock.allocate(INPUTS_MIB)
    result = function(lambda: stand_in.work_on("pass", (), 2.0, 24.0), clock, **settings)
    del held
    if not isinstance(result, dict):
        raise TypeError(f"expected a dictionary, got {type(result).__name__}")
    return _report([result], [], stand_in)


def softmax(
    function: Callable[..., Any],
    capacity_mib: float = math.inf,
    refused: str = "",
    too_large: float = math.inf,
    device: str = "cpu",
    **settings: Any,
) -> dict[str, Any]:
    """hw1-5: a sweep over a stand-in for the kernel and one for the reference.

    Args:
        capacity_mib: memory of the device; the reference needs more than the kernel.
        refused: "d2 8, BLOCK 64", the configuration the kernel cannot be built for.
        too_large: inputs with a dimension of this size find no memory.
        device: where the inputs belong.
    """
    clock = FakeClock(FIRST_CALL_MIB + capacity_mib, device=device)
    stand_in = StandIn(clock)
    log: list[str] = []

    def fused_softmax(x: Tensor, V: Tensor, BLOCK_1: int = 16, BLOCK_2: int = 16) -> Tensor:
        tile = str(BLOCK_1) if BLOCK_1 == BLOCK_2 else f"{BLOCK_1}x{BLOCK_2}"
        label = f"d2 {x.shape[-1]}, BLOCK {tile}"
        if label == refused:
            raise no_room()
        stand_in.work_on(label, (x, V), x.shape[-1] * 0.5 + 32 / BLOCK_1, float(x.shape[-1]))
        return _product_shaped(x, V)

    def softmax_mult(x: Tensor, V: Tensor, dim: int = -1) -> Tensor:
        label = f"d2 {x.shape[-1]}, reference"
        stand_in.work_on(label, (x, V), float(x.shape[-1]), 2.0 * x.shape[-1])
        return _product_shaped(x, V)

    with FullMemory(too_large):
        result = function(clock, fused_softmax, softmax_mult, log=_into(log), **settings)
    return _report(result, log, stand_in)


def attention(
    function: Callable[..., Any],
    capacity_mib: float = math.inf,
    refused: str = "",
    too_large: float = math.inf,
    device: str = "cpu",
    implementations: tuple[str, ...] = ("flash_triton", "pytorch_sdpa"),
    **settings: Any,
) -> dict[str, Any]:
    """hw3-6: a sweep over two stand-ins with a forward and a backward pass.

    ``flash_triton`` needs more memory backward than forward, ``pytorch_sdpa`` the other way round.
    For a length of 16: 4 and 16 MiB, 48 and 12 MiB, besides what they keep (2 and 24 MiB).

    Args:
        capacity_mib: memory of the device.
        refused: "flash_triton 16 forward", the call whose kernel the GPU has no room for.
        too_large: inputs with a dimension of this size find no memory.
        device: where the inputs belong.
    """
    clock = FakeClock(FIRST_CALL_MIB + capacity_mib, device=device)
    stand_in = StandIn(clock)
    log: list[str] = []
    costs = {  # ms forward, ms backward; MiB forward, MiB backward, MiB kept, per unit of length
        "flash_triton": (0.1, 0.4, 0.25, 1.0, 0.125),
        "pytorch_sdpa": (0.2, 0.7, 3.0, 0.75, 1.5),
    }

    def pretended(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        ms_forward, ms_backward, mib_forward, mib_backward, mib_kept = costs[name]

        def work_on(what: str, inputs: tuple[Tensor, ...], ms: float, mib: float) -> None:
            length = inputs[0].shape[-2]
            label = f"{name} {length} {what}"
            if label == refused:
                raise no_room()
            stand_in.work_on(label, inputs, ms * length, mib * length)

        class Pretended(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
                work_on("forward", (Q, K, V), ms_forward, mib_forward)
                ctx.save_for_backward(Q, K, V)
                ctx.kept = clock.allocate(mib_kept * Q.shape[-2])
                return Q.clone()

            @staticmethod
            def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                # as any attention does: a graph that was not retained is an error
                _ = ctx.saved_tensors
                work_on("backward", gradients, ms_backward, mib_backward)
                return gradients[0], gradients[0], gradients[0]

        return Pretended.apply

    chosen = {name: pretended(name) for name in implementations}
    with FullMemory(too_large):
        result = function(clock, chosen, log=_into(log), **settings)
    report = _report(result, log, stand_in)
    for label, work in report["work"].items():
        name, length, what = label.split()
        work["kept_MiB"] = costs[name][4] * int(length)
        # what the forward pass left is alive while the backward pass runs
        work["peak_MiB"] += work["kept_MiB"] if what == "backward" else 0.0
    return report


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The default values of the function's arguments, without calling it."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, (int, tuple))}


SCENARIOS = {"one": one, "softmax": softmax, "attention": attention, "defaults": defaults}


def _into(log: list[str]) -> Callable[..., None]:
    return lambda *parts: log.append(" ".join(map(str, parts)))


def _product_shaped(x: Tensor, V: Tensor) -> Tensor:
    return x.new_zeros(*x.shape[:-1], V.shape[-1])


def _described(inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    return {
        "shapes": [list(t.shape) for t in inputs],
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in inputs}),
        "random": all(t.is_meta or t.unique().numel() > 1 for t in inputs),
        "devices": sorted({t.device.type for t in inputs}),
    }


def _report(rows: Any, log: list[str], stand_in: StandIn) -> dict[str, Any]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError(
            f"expected a list of dictionaries, one a configuration, got {type(rows).__name__}"
        )
    launches, intervals = stand_in.clock.launches, stand_in.clock.intervals
    timed = sorted({i for first, last in intervals for i in range(first, last)})
    for label, work in stand_in.work.items():
        mine = [i for i in timed if launches[i].name == label]
        earlier = launches[: mine[0]] if mine else launches
        work["untimed_before"] = sum(launch.name == label for launch in earlier)
        work["timed"] = len(mine)
        work["ms"] = [launches[i].ms for i in mine]
        work["flushed"] = sum(launches[i - 1].name == FLUSH for i in mine if i)
    spans = (sorted({launch.name for launch in launches[i:j]}) for i, j in intervals)
    return {
        "rows": [{str(k): _plain(v) for k, v in row.items()} for row in rows],
        "log": log,
        "work": stand_in.work,
        "mixed": [names for names in spans if len(names) > 1],
        "waits": stand_in.clock.synchronizations,
    }


def _plain(value: Any) -> Any:
    """As JSON has it: NaN becomes None, and a number of NumPy or PyTorch one of Python."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
