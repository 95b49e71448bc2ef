"""bf16 and FP8 in Triton's interpreter, mended: the results are those of PyTorch's casts.

What is wrong in stock Triton 3.6 to 3.9, all of it in ``triton/runtime/interpreter.py``:

- ``_get_np_dtype`` stores bf16 as uint16 and FP8 as uint8, and NumPy then takes the bits for the
  number. So ``InterpreterBuilder.binary_op``, ``ternary_op``, ``unary_op``, ``create_fma``,
  ``create_dot`` and ``ReduceOps``/``ScanOps`` add, compare, multiply and sum integers: 1.0 + 1.0
  is 16256 + 16256, and -1.0 is greater than 1.0.
- ``_convert_float``: float32 to bf16 truncates (``cast_impl`` passes no rounding mode). float32 to
  FP8 adds the cut-off bit without looking at ties, loses the carry when a mantissa overflows,
  truncates subnormals, and turns NaN, infinity and overflow into numbers.
- ``create_dot`` sends FP8 through that; ``create_si_to_fp`` and ``create_ui_to_fp`` write the
  integer itself where bf16's bits belong; ``create_atomic_rmw`` adds bf16 as uint16.
- ``get_bf16`` is missing before 3.9, so that ``x * 2.5`` raises. A descriptor's padding of NaN
  cannot be made. ``create_descriptor_reduce``, which ``desc.atomic_add`` needs, is in no version.

What :func:`install` does: a handle of bf16, fp8e4nv or fp8e5 carries float32, which holds every
value of theirs exactly, and ``TensorHandle`` rounds on creation (to nearest even, by a cast of
PyTorch's). So all of NumPy's arithmetic is right as it stands, rounded once an operation; only
what touches bits is replaced (from ``patch.py`` on): memory, bitcasts, atomics, conversions,
absolute values, products, ``tl.fma``. Bits in such a handle are a TypeError, so nothing that was
overlooked is silent.

Besides, a launch finds the functions it replaces without a search (``_find_builtins_once``), and a
kernel called without a grid is refused in words (``_refuse_calls_without_a_grid``).

Where it differs from a GPU, because it follows PyTorch:

- Too large for FP8: a GPU clips to 448 (e4m3) or 57344 (e5m2), infinity too
  (``cvt.rn.satfinite`` in the PTX for sm_90). PyTorch's cast, and so this, gives infinity for
  e5m2; for e4m3 it clips from 2.13 on, and gives NaN before that.
- ``tl.sum`` of bf16 is added in float32 and rounded once; a GPU rounds after each addition.
  ``tl.max``, ``tl.min``, ``tl.maximum``, ``tl.cumsum`` turn bf16 into float32 on both.
- ``tl.fma`` of bf16 is rounded to float32 and then to bf16.
- ``tl.dot`` of FP8 adds in float32; Hopper's tensor cores keep about 14 bits while adding
  (DeepSeek-V3 technical report, 2024, section 3.3.2).
- Arithmetic and comparisons of two FP8 tensors work here, and do not compile for a GPU (tried with
  3.7.1 for sm_90): convert first.

The formats of AMD and fp8e4b15 raise NotImplementedError. On a version whose interpreter is not
known, nothing at all is patched, and a warning says so once.
"""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

# sha256 of triton/runtime/interpreter.py: a name of a version does not tell whether it was mended
KNOWN = {
    "3cb6ed2fda070e4b211f2ff65fddef842287bf321a61e8874ebc93f6c570c953": "3.6.0",
    "cdeca087f97ed6aadb0dbbc87ccd630d0278358e6c380b4bfe96e8f98afe3ab8": "3.7.0 and 3.7.1",
    "a17550ad6c58a2d903b64cc2eb8b89aeedc02f3b3f263b0a5a7bab43ef3d2435": "3.8.0",
    "5af8debc8c2a858e19e303725d4deb778e796e5bc1b27387b7fa758a96a8e731": "3.9.0",
}
_MENDED = {
    *("bf16", "bfloat16", "fp8", "fp8e4nv", "fp8e5"),
    *("float8e4nv", "float8_e4m3fn", "float8e5", "float8_e5m2"),
}
_RIGHT_ANYWAY = ("fp16", "fp32", "fp64", "float16", "float32", "float64", "int", "uint", "bool")


def install() -> None:
    """Mend the interpreter of this process; imports triton, which costs 0.15 s after torch.

    Does nothing where triton is missing. Warns once, and patches nothing, where the source of its
    interpreter is not known.
    """
    _install()


@lru_cache(maxsize=1)
def _install() -> bool:
    try:
        import triton
        from triton.runtime import interpreter
    except ImportError:
        return False
    if fingerprint(interpreter) not in KNOWN:
        warnings.warn(
            f"bf16 and FP8 are WRONG when triton {triton.__version__} interprets kernels, and the "
            f"course can mend only {', '.join(KNOWN.values())}: use float32 or float16 here, or "
            "install one of those",
            stacklevel=3,
        )
        return False
    from course.interpreter import patch

    patch.apply(interpreter)
    return True


def proves(dtype: Any) -> bool:
    """Whether interpreted results in ``dtype`` are right now, after :func:`install` or without it.

    ``dtype``: a torch.dtype, or a name as PyTorch, Triton or the course's tests have it.
    """
    name = str(dtype).removeprefix("torch.")
    if name in _MENDED:
        return bool(_install.cache_info().currsize) and _install()
    return name.startswith(_RIGHT_ANYWAY)


def fingerprint(interpreter: Any) -> str:
    """What tells one version of Triton's interpreter from another."""
    return hashlib.sha256(Path(interpreter.__file__).read_bytes()).hexdigest()
