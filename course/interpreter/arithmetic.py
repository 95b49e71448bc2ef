"""Constants, conversions, absolute values and products of values carried as float32."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.interpreter.formats import FORMATS, format_of


def replacements(interpreter: Any) -> dict[str, Callable[..., Any]]:
    """What ``InterpreterBuilder`` does with bits where it should use the number."""
    handle, builder, tl = interpreter.TensorHandle, interpreter.InterpreterBuilder, interpreter.tl
    array_type, rounding = interpreter._get_np_dtype, interpreter._ir.ROUNDING_MODE
    stock_cast, stock_convert = builder.cast_impl, builder.create_fp_to_fp
    stock_abs, stock_fused, stock_dot = builder.create_fabs, builder.create_fma, builder.create_dot

    def cast(self: Any, src: Any, dst_type: Any) -> Any:
        if format_of(src.dtype) is None and format_of(dst_type) is None:
            return stock_cast(self, src, dst_type)
        with np.errstate(over="ignore", invalid="ignore"):
            return handle(src.data.astype(array_type(dst_type)), dst_type.scalar)

    def convert(self: Any, src: Any, dst_type: Any, mode: Any) -> Any:
        target = format_of(dst_type)
        if format_of(src.dtype) is None and target is None:
            return stock_convert(self, src, dst_type, mode)
        if mode == rounding.RTZ:
            if target is None:
                raise NotImplementedError(f"{src.dtype} to {dst_type} towards zero")
            return handle(target.towards_zero(src.data), dst_type.scalar)
        return cast(self, src, dst_type)

    def absolute(self: Any, arg: Any) -> Any:
        if format_of(arg.dtype) is None:
            return stock_abs(self, arg)
        return handle(np.abs(arg.data), arg.dtype.scalar)

    def fused(self: Any, x: Any, y: Any, z: Any) -> Any:
        if format_of(z.dtype) is None:
            return stock_fused(self, x, y, z)
        product = np.multiply(x.data, y.data, dtype=np.float64)
        return handle(product + z.data, z.dtype.scalar)

    def dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        if format_of(a.dtype) is None and format_of(b.dtype) is None:
            return stock_dot(self, a, b, d, *rest)
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.matmul(a.data, b.data) + d.data
            return handle(total.astype(d.data.dtype), d.dtype.scalar)

    def constant(dtype: Any) -> Callable[..., Any]:
        return lambda self, value: handle(np.array([value], np.float32), dtype)

    return {
        "cast_impl": cast,
        "create_fp_to_fp": convert,
        "create_fabs": absolute,
        "create_fma": fused,
        "create_dot": dot,
        **{f"get_{name}": constant(tl.dtype(name)) for name in FORMATS},
    }
