"""Which calls are compiled: every kernel of the course, at the shapes that matter."""

from dataclasses import asdict, dataclass, replace
from typing import Any

ARCHITECTURES = (75, 80, 90, 100)


@dataclass(frozen=True)
class Case:
    """One call of a launcher; its kernels are compiled instead of run.

    Attributes:
        op: what it is, for people.
        target: "package.module:name", called with one tensor a shape, then ``arguments``.
        shapes: of the tensors.
        dtype: "float32", "float16", "bfloat16", or "tf32": float32 with TF32 products.
        arguments: numbers and booleans after the tensors.
        backward: compile what the backward pass launches, instead of the call itself.
        transposed: the last two dimensions of the tensors lie the other way round in memory.
        since: the first architecture whose instructions it needs.
    """

    op: str
    target: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    arguments: tuple[Any, ...] = ()
    backward: bool = False
    transposed: bool = False
    since: int = 0

    def exists_on(self, arch: int) -> bool:
        """Whether a chip has what the call needs; Turing has no bfloat16."""
        return arch >= max(self.since, 80 if self.dtype == "bfloat16" else 0)

    def as_json(self) -> dict[str, Any]:
        """For the process that compiles."""
        return asdict(self)


def case_from_json(fields: dict[str, Any]) -> Case:
    """The inverse of :meth:`Case.as_json`."""
    shapes = tuple(tuple(shape) for shape in fields["shapes"])
    return Case(**{**fields, "shapes": shapes, "arguments": tuple(fields["arguments"])})


_ATTENTION = "flash_attention.flash_attention:FlashAttentionTriton.apply"
_LONG, _SHORT = (32, 2048), (2, 512)  # (batch, seq): enough work to be tuned for, and not


def _attention(
    dtype: str, d: int, size: tuple[int, int] = _LONG, causal: bool = True, **more: Any
) -> Case:
    shapes = ((*size, d),) * 3
    return Case("attention forward", _ATTENTION, shapes, dtype, (causal,), **more)


def _backward(case: Case) -> Case:
    return replace(case, op="attention backward", backward=True)


_FORWARD = (
    _attention("float16", 64),
    _attention("float16", 128),
    _attention("float16", 256),
    _attention("bfloat16", 64),
    _attention("tf32", 64),
    _attention("float32", 64),
    _attention("float32", 128),
    _attention("float16", 64, _SHORT, causal=False),
    _attention("float16", 16, _SHORT),
    _attention("float16", 256, _SHORT),
    _attention("float32", 64, _SHORT),
    _attention("float32", 128, _SHORT),
    _attention("float16", 64, _SHORT, transposed=True),
)

_SOFTMAX = (
    *(
        Case(
            "softmax matmul",
            "softmax_matmul.softmax_matmul:fused_softmax",
            ((2, 256, 512), (2, 512, 512)),
            dtype,
            (block, block),
        )
        for dtype, block in (
            ("float32", 16),
            ("float32", 32),
            ("float32", 64),
            ("tf32", 64),
            ("float16", 64),
        )
    ),
)

_ONLINE = "online_softmax.online_softmax:OnlineSoftmax.apply"
_WORKED = tuple(
    Case(f"online softmax {way}", _ONLINE, ((2, 256, 512),), "float32", (16, 16), way == "backward")
    for way in ("forward", "backward")
)


def _rung(name: str, seq: int, dtype: str) -> Case:
    target = f"attention_ladder.{name}:attention"
    return Case(f"ladder {name}", target, ((seq, 64),) * 3, dtype, (True,))


_BASIC = tuple(_rung("basic", 512, dtype) for dtype in ("float32", "float16"))
_VECTORIZED = tuple(_rung("vectorized", 512, dtype) for dtype in ("float32", "float16"))


def _upper(name: str, dtype: str, d: int = 64, seq: int = 2048, **more: Any) -> Case:
    target = f"attention_ladder.{name}:attention"
    return Case(f"ladder {name}", target, ((seq, 2, d),) * 3, dtype, (True,), **more)


_TILED = (_upper("tiled", "float32"), _upper("tiled", "float32", 128))
_MULTIHEAD = (
    _upper("multihead", "float16"),
    _upper("multihead", "float16", 128),
    _upper("multihead", "float32", seq=512),
)
_FP8 = (_upper("fp8", "float16", since=89), _upper("fp8", "bfloat16", 128, since=89))
_BACKWARD = tuple(_backward(case) for case in _FORWARD)

_LADDER = (*_BASIC, *_VECTORIZED, *_TILED, *_MULTIHEAD, *_FP8)
CASES = (*_WORKED, *_SOFTMAX, *_LADDER, *_FORWARD, *_BACKWARD)

_OF_EXERCISE = {
    **dict.fromkeys(("hw1-1", "hw1-2", "hw1-3"), _SOFTMAX),
    **dict.fromkeys(("hw3-1", "hw3-2", "hw3-3", "hw3-4", "hw3-5"), _FORWARD),
    **dict.fromkeys(("hw3-7", "hw3-8", "hw3-9"), _BACKWARD),
    "nb03-1": _BASIC,
    "nb03-2": _VECTORIZED,
    "nb06-2": _TILED,
    "nb06-5": _MULTIHEAD,
    "nb06-8": _FP8,
}


def compiles(exercise: str) -> bool:
    """Whether an exercise has kernels that can be compiled."""
    return exercise in _OF_EXERCISE


def cases_of(exercise: str) -> tuple[Case, ...]:
    """The calls that launch the kernels of an exercise.

    Raises:
        ValueError: the exercise has no kernel in a module.
    """
    if not compiles(exercise):
        known = ", ".join(sorted(_OF_EXERCISE))
        raise ValueError(f"{exercise} has no kernel in a module; these have: {known}")
    return _OF_EXERCISE[exercise]
