"""What is replaced in ``triton.runtime.interpreter`` so that handles can carry float32."""

import inspect
from typing import Any

import numpy as np

from course.interpreter import arithmetic, memory
from course.interpreter.formats import FORMATS, UNSUPPORTED, format_of


def apply(interpreter: Any) -> None:
    """Replace it, in a module whose source is known to fit."""
    _carry_float32(interpreter)
    _find_builtins_once(interpreter)
    _refuse_calls_without_a_grid(interpreter)
    builder = interpreter.InterpreterBuilder
    for name, function in {
        **memory.replacements(interpreter),
        **memory.reductions(interpreter),
        **arithmetic.replacements(interpreter),
    }.items():
        setattr(builder, name, function)


def _find_builtins_once(interpreter: Any) -> None:
    """Every launch, and every call of one kernel by another, replaces Triton's built-in functions.

    It looks for them among all names there are, which takes a third of the time of small kernels.
    """
    is_builtin = interpreter.tl.core.is_builtin
    found: dict[Any, list[str]] = {}

    def replace(place: Any, *rest: Any) -> None:
        if place not in found:
            found[place] = [name for name, one in inspect.getmembers(place) if is_builtin(one)]
        for name in found[place]:
            member = getattr(place, name)
            if is_builtin(member):  # not where a kernel has called another: replaced already
                interpreter._patch_attr(place, name, member, *rest)

    interpreter._patch_builtin = replace


def _refuse_calls_without_a_grid(interpreter: Any) -> None:
    """``kernel(...)`` where ``kernel[grid](...)`` was meant: said at the call, in words.

    Triton takes it for the call of one kernel by another, and the first kernel of a process then
    fails inside ``tl.program_id``; later ones run as the last program of the launch before.
    """
    executor, function = interpreter.GridExecutor, interpreter.InterpretedFunction
    launch, call = executor.__call__, function.__call__
    running = 0

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal running
        running += 1
        try:
            return launch(self, *args, **kwargs)
        finally:
            running -= 1

    def inside_only(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not running:
            name = self.__name__
            raise TypeError(f"{name} was called without a grid: write {name}[grid](...)")
        return call(self, *args, **kwargs)

    executor.__call__ = counted
    function.__call__ = inside_only


def _carry_float32(interpreter: Any) -> None:
    """Handles round on creation, and whoever asks for an array's type hears float32.

    What would still read bits, or write them, raises TypeError.
    """
    handle = interpreter.TensorHandle
    stock_check, stock_type = handle.__post_init__, interpreter._get_np_dtype
    stock_convert = interpreter._convert_float
    # of tl.dot_scaled, from 3.8 on
    stock_scaled: Any = getattr(interpreter, "_mxfp_value_handle_to_float32", None)

    def check(self: Any) -> None:
        name = self.dtype.scalar.name
        carried = FORMATS.get(name)
        if carried is None:
            if name in UNSUPPORTED:
                raise NotImplementedError(f"kernels with {name} cannot be interpreted")
            stock_check(self)
        elif self.data.dtype.kind == "f":
            self.data = carried.rounded(self.data)
        elif self.data.dtype.kind != "b":  # what a comparison gives bears its operand's type
            raise TypeError(f"{self.data.dtype} for {name}: not all of the interpreter is mended")

    def array_type(dtype: Any) -> np.dtype:
        return stock_type(dtype) if format_of(dtype) is None else np.dtype(np.float32)

    def convert(data: Any, source: Any, target: Any, rounding: Any) -> Any:
        if format_of(source) or format_of(target):
            raise TypeError(f"{source} to {target}: not all of the interpreter is mended")
        return stock_convert(data, source, target, rounding)

    def scaled(value: Any) -> Any:
        return value.data if format_of(value.dtype) else stock_scaled(value)

    handle.__post_init__ = check
    interpreter._get_np_dtype = array_type
    interpreter._convert_float = convert
    if stock_scaled:
        interpreter._mxfp_value_handle_to_float32 = scaled
