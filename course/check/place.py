"""Where in a learner's own code an error arose, and what beginners most often mean there."""

import re
import sysconfig
import traceback
from pathlib import Path

_COURSE = Path(__file__).resolve().parents[1]
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_NOT_LEARNERS = (_COURSE, _COURSE.parent / "tests", _STDLIB)
_IPYTHON = re.compile(r"[\\/]ipykernel_\d+[\\/]|^<ipython-input-")
_OWN_CELL = re.compile(r"^<((?:nb\d+-\d+)|(?:code cell \d+))>$")

# what Triton or Python says, the line it says it of, and what helps
_HINTS = (
    (
        r"'builtin_function_or_method' object has no attribute|must be Tensor, not tensor",
        "",
        "Inside a kernel use tl., not torch.",
    ),
    (
        r"'int' object is not iterable|arrays can be converted to Python scalars"
        r"|does not support item assignment|unsupported tensor index",
        r"\w\[",
        "Read and write memory with tl.load and tl.store, not ptr[i].",
    ),
    (
        r"'function' object is not subscriptable",
        "",
        "Is @triton.jit still above the def?",
    ),
    (
        r"has no attribute 'grid_idx'|Cannot call @triton.jit'd outside of the scope of a kernel",
        "",
        "Was the kernel called without a grid? Write kernel[grid](...), not kernel(...).",
    ),
    (
        r"'NoneType' object has no attribute 'to_tensor'",
        "",
        "In a kernel write tl.exp(x), not x.exp().",
    ),
    (
        r"'int' object has no attribute 'to'",
        "",
        "Interpreted, the variable of a range loop is a plain number: convert a tensor instead.",
    ),
    (
        r"Did you forget to add @triton.jit",
        "",
        "Outside a kernel it is plain PyTorch: torch.arange. What begins with tl. is for kernels.",
    ),
    (
        r"incompatible dimensions at index",
        "",
        "Pointers, mask and values must have one shape: make a mask as you made the pointers, "
        "rows[:, None] with cols[None, :].",
    ),
    (
        r"arange's arguments must be of type tl.constexpr",
        "",
        "tl.arange takes constants only: tl.arange(0, BLOCK), and add the start to it.",
    ),
    (
        r"Mask argument cannot be block type",
        "",
        "The pointer is a single address: add the offsets to it, x_ptr + offsets.",
    ),
    (
        r"unsupported operand type\(s\) for @",
        "",
        "Inside a kernel matrices are multiplied by tl.dot(a, b).",
    ),
    (
        r"axis .* out of bounds|out of bounds for (array|shape)",
        r"tl\.(max|min|sum)",
        "tl.max(x, 0) reduces one block; the larger of two values is tl.maximum(a, b).",
    ),
    (
        r"cannot convert float|must be real number|only 0-dimensional arrays|float\(\) argument",
        r"math\.",
        "Inside a kernel use tl.exp, not math.exp.",
    ),
    (
        r"power of (2|two)",
        "",
        "A size inside a kernel must be a power of two (triton.next_power_of_2 in the launcher).",
    ),
)


def place(error: BaseException, exercise: str = "") -> str:
    """The learner's last line that ``error``, or else what it was raised from, passed through.

    An error that came from another process carries the line in an attribute ``place``.

    Returns:
        "line 3 of the cell: `y = x + missing`"; "" if the error never was in a learner's code.
    """
    found = getattr(error, "place", "")
    while True:
        for frame in traceback.extract_tb(error.__traceback__):
            where = learners(frame.filename, exercise)
            if where:
                # an error in a kernel is the cause of one in its launcher, so the last one counts
                found = f"line {frame.lineno} of {where}: `{frame.line}`"
        if error.__cause__ is None:
            return str(found)
        error = error.__cause__


def hint(text: str, line: str) -> str:
    """A translation of the commonest errors of beginners; "" for all others."""
    for says, of, helps in _HINTS:
        if re.search(says, text) and re.search(of, line):
            return helps
    return ""


def learners(filename: str, exercise: str = "") -> str:
    """What to call a file or cell that a learner writes in; "" for anybody else's."""
    if _IPYTHON.search(filename):
        return "the cell"
    cell = _OWN_CELL.match(filename)
    if cell:
        if cell[1] == exercise:
            return "the cell"
        # nobody sees the number of a cell, but few cells have more of a name
        return cell[1] if cell[1].startswith("code") else f"the cell of {cell[1]}"
    path = Path(filename)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    if filename.startswith("<") or installed or not path.is_file():
        return ""
    path = path.resolve()
    if any(folder in path.parents for folder in _NOT_LEARNERS):
        return ""
    return "/".join(path.parts[-2:])
