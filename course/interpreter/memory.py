"""Loads, stores, bitcasts and atomics: memory holds bits, handles hold values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.interpreter.formats import Format, format_of

Replacements = dict[str, Callable[..., Any]]


class _Bits:
    """Handles of the integers that stand in memory."""

    def __init__(self, interpreter: Any) -> None:
        self._handle, self._tl = interpreter.TensorHandle, interpreter.tl

    def integer(self, carried: Format) -> Any:
        return getattr(self._tl, carried.bits.name)

    def pointers(self, pointers: Any, carried: Format) -> Any:
        return self._handle(pointers.data, self._tl.pointer_type(self.integer(carried)))

    def of(self, value: Any, carried: Format) -> Any:
        if format_of(value.dtype) is not carried:
            raise TypeError(f"expected a value of {carried.torch}, got {value.dtype}")
        # a comparison's result may bear this type, and hold bool
        numbers = value.data.astype(np.float32, copy=False)
        return self._handle(carried.encode(numbers), self.integer(carried))


def replacements(interpreter: Any) -> Replacements:
    """Masked loads and stores, to which all others lead, and bitcasts."""
    bits = _Bits(interpreter)
    handle, builder = interpreter.TensorHandle, interpreter.InterpreterBuilder
    stock_load, stock_store = builder.create_masked_load, builder.create_masked_store
    stock_cas, stock_bitcast = builder.create_atomic_cas, builder.create_bitcast

    def load(self: Any, ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        dtype = ptrs.get_element_ty()
        carried = format_of(dtype)
        if carried is None:
            return stock_load(self, ptrs, mask, other, *rest, **named)
        padding = None if other is None else bits.of(other, carried)
        found = stock_load(self, bits.pointers(ptrs, carried), mask, padding, *rest, **named)
        return handle(carried.decode(found.data), dtype)

    def store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        carried = format_of(ptrs.get_element_ty())
        if carried is not None:
            ptrs, value = bits.pointers(ptrs, carried), bits.of(value, carried)
        elif value.data.dtype.kind == "f" and format_of(value.dtype) is not None:
            raise TypeError(f"{value.dtype} cannot be stored as {ptrs.get_element_ty()}")
        return stock_store(self, ptrs, value, mask, *rest, **named)

    def compare_and_swap(self: Any, ptr: Any, cmp: Any, val: Any, *rest: Any) -> Any:
        dtype = ptr.get_element_ty()
        carried = format_of(dtype)
        if carried is None:
            return stock_cas(self, ptr, cmp, val, *rest)
        expected, new = bits.of(cmp, carried), bits.of(val, carried)
        old = stock_cas(self, bits.pointers(ptr, carried), expected, new, *rest)
        return handle(carried.decode(old.data), dtype)

    def bitcast(self: Any, src: Any, dst_type: Any) -> Any:
        source, target = format_of(src.dtype), format_of(dst_type)
        if source is not None:
            src = bits.of(src, source)
        if target is None:
            return stock_bitcast(self, src, dst_type)
        return handle(target.decode(src.data.view(target.bits)), dst_type.scalar)

    return {
        "create_masked_load": load,
        "create_masked_store": store,
        "create_atomic_cas": compare_and_swap,
        "create_bitcast": bitcast,
    }


def reductions(interpreter: Any) -> Replacements:
    """Atomic addition to bf16, and the atomics of tensor descriptors (of any type)."""
    handle, builder, tl = interpreter.TensorHandle, interpreter.InterpreterBuilder, interpreter.tl
    operation, kinds = interpreter._ir.ATOMIC_OP, interpreter._ir.DESCRIPTOR_REDUCE_KIND
    stock_rmw, memory = builder.create_atomic_rmw, interpreter._interpreter

    def read_modify_write(
        self: Any, rmw: Any, ptr: Any, val: Any, mask: Any, sem: Any, scope: Any
    ) -> Any:
        dtype = ptr.get_element_ty()
        carried = format_of(dtype)
        if carried is None:
            return stock_rmw(self, rmw, ptr, val, mask, sem, scope)
        if rmw != operation.FADD:
            raise NotImplementedError(f"atomic {rmw} of {dtype} cannot be interpreted")
        addresses, given = ptr.data.ravel(), np.broadcast_to(val.data, ptr.data.shape).ravel()
        old = np.zeros(given.shape, np.float32)
        waiting = np.flatnonzero(np.broadcast_to(mask.data, ptr.data.shape))
        while waiting.size:
            # of those that share an address one at a time, each rounded, as in memory
            _, first = np.unique(addresses[waiting], return_index=True)
            now = waiting[first]
            where, allowed = addresses[now], np.ones(now.shape, bool)
            nothing = np.zeros(now.shape, carried.bits)
            old[now] = carried.decode(memory.load(where, allowed, nothing, carried.bits))
            with np.errstate(over="ignore", invalid="ignore"):
                new = carried.rounded(old[now] + given[now])
            memory.store(where, carried.encode(new), allowed)
            waiting = np.delete(waiting, first)
        return handle(old.reshape(ptr.data.shape), dtype)

    def of_descriptor(self: Any, kind: Any, desc: Any, value: Any, indices: Any) -> Any:
        dtype = desc.base.dtype.element_ty
        if value.dtype.scalar != dtype:
            raise TypeError(f"a descriptor of {dtype} got {value.dtype}: convert it first")
        name = kind.name
        if dtype.is_floating() and kind != kinds.ADD:
            raise NotImplementedError(f"atomic {name} of {dtype} cannot be interpreted")
        if dtype.is_floating():
            name = "FADD"
        elif dtype.is_int_unsigned() and kind in (kinds.MIN, kinds.MAX):
            name = f"U{name}"
        ptrs, inside = desc.materialize_pointers(indices)
        mask = inside if isinstance(inside, handle) else handle(inside, tl.int1)
        relaxed = interpreter._ir.MEM_SEMANTIC.RELAXED
        self.create_atomic_rmw(getattr(operation, name), ptrs, value, mask, relaxed, None)

    return {"create_atomic_rmw": read_modify_write, "create_descriptor_reduce": of_descriptor}
