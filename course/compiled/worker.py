"""Compiles for one architecture, in a process of its own: ``python -m course.compiled.worker``.

Triton is told that a GPU of that architecture is here, and every launch becomes a warm-up, which
compiles what the launch would have run: the same specialisation, constants and configurations.
Reads {"arch", "cases"} from standard input; writes a JSON line for each compiled kernel.
"""

import contextlib
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler.errors import CompilationError
from triton.runtime import driver
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from course.check.registry import in_words
from course.compiled.cases import Case, case_from_json
from course.compiled.row import CHIPS, Row
from course.subject.load import load

# a line of PTX: an optional predicate, then the instruction
_INSTRUCTION = re.compile(r"^\s+(?:@!?%\w+\s+)?([a-z][\w.:]*\w)[^\S\n]+[^\n]*;", re.MULTILINE)
# "Potential Performance Loss: wgmma.mma_async instructions are serialized", a number each reason
_SERIALISED = re.compile(r"\(C751[0-8]\)")
_LONGEST = 1500  # characters of a reason
_EXCERPT = 5  # lines of source, the mark under the last among them
_TENSOR_CORES = {"mma.sync": "mma", "wgmma.mma_async": "wgmma", "tcgen05.mma": "tcgen05"}


class _AbsentGPU:
    """As much of a triton driver as compiling asks for."""

    class utils:
        @staticmethod
        def get_device_properties(device: int) -> dict[str, int]:
            # no limit: a tile too large for shared memory is reported, not refused
            return {"max_shared_mem": 2**31 - 1, "multiprocessor_count": 64}

    def __init__(self, arch: int) -> None:
        self._target = GPUTarget("cuda", arch, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _pretend(arch: int) -> None:
    """Make launchers take the path they would take on a GPU of this architecture."""
    driver.set_active(_AbsentGPU(arch))
    knobs.nvidia.dump_ptxas_log = True
    capability = divmod(arch, 10)
    # tensors stay on the CPU: nothing will run
    torch.Tensor.is_cuda = property(lambda self: True)  # type: ignore[assignment]
    torch.cuda.is_available = lambda: True
    torch.cuda.get_device_capability = lambda device=None: capability
    # for launchers that count programs: an H200's
    properties: Any = SimpleNamespace(multi_processor_count=132)
    torch.cuda.get_device_properties = lambda device=None: properties


def _every_configuration(self: Autotuner, *args: Any, **kwargs: Any) -> None:
    """Stands in for Autotuner.run: launch each configuration once."""
    self.nargs = dict(zip(self.arg_names, args, strict=False))
    for config in self.prune_configs(kwargs):
        if config.pre_hook:
            config.pre_hook({**self.nargs, **kwargs, **config.all_kwargs()})
        self.fn.run(*args, **kwargs, **config.all_kwargs())


class _Recorder:
    """Stands in for JITFunction.run: compile, and write down what came out."""

    def __init__(self, arch: int, emit: Callable[[Row], None]) -> None:
        self._arch, self._emit = arch, emit
        self._compile = JITFunction.run
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # so that no id is used twice
        self.case: Case | None = None
        self.launches = 0

    def launch(self, kernel: JITFunction, args: tuple, kwargs: dict[str, Any]) -> None:
        """Compile ``kernel`` as this launch would, and emit a row unless it was there before."""
        if self.case is None:
            return
        self.launches += 1
        log = io.StringIO()
        try:
            with contextlib.redirect_stdout(log):
                built = self._compile(kernel, *args, **{**kwargs, "warmup": True})
        except Exception as error:
            self._emit(self._row(kernel, args, kwargs, problem=compile_error(error)))
            return
        if id(built) in self._seen:
            return
        self._seen.add(id(built))
        self._kept.append(built)
        used, limit = built.metadata.shared, CHIPS[self._arch].shared_bytes
        problem = (
            f"needs {used} bytes of shared memory and the chip has {limit}: the tile is too large, "
            "or num_stages too high"
            if used > limit
            else ""
        )
        text = log.getvalue()
        shape = {name: getattr(built.metadata, name) for name in ("num_warps", "num_stages")}
        row = self._row(
            kernel,
            args,
            {**shape, **kwargs},
            registers=max((int(n) for n in re.findall(r"Used (\d+) registers", text)), default=0),
            spill_bytes=sum(int(n) for n in re.findall(r"(\d+) bytes spill stores", text)),
            shared_bytes=used,
            tensor_cores=next((n for i, n in _TENSOR_CORES.items() if i in built.asm["ptx"]), ""),
            serialised=_SERIALISED.search(text) is not None,
            problem=problem,
            instructions=dict(Counter(_INSTRUCTION.findall(built.asm["ptx"]))),
        )
        self._emit(row)

    def _row(self, kernel: JITFunction, args: tuple, kwargs: dict[str, Any], **found: Any) -> Row:
        assert self.case is not None
        given = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
        names = [kernel.arg_names[i] for i in kernel.constexprs]
        blocks = [f"{n} {given[n]}" for n in names if type(given.get(n)) is int]
        shape = [
            f"{given[key]} {word}"
            for key, word in (("num_warps", "warps"), ("num_stages", "stages"))
            if given.get(key) is not None
        ]
        config = ", ".join([*blocks, *shape])
        return row_of(self.case, self._arch, kernel=kernel.__name__, config=config, **found)


def row_of(case: Case, arch: int, kernel: str = "", **found: Any) -> Row:
    """A row about ``case``."""
    return Row(kernel, case.op, case.dtype, case.shapes[0][-1], arch, **found)


def compile_error(error: BaseException) -> str:
    """Why the compiler refused, without its own frames: the reason, then the lines it is about.

    Triton puts them the other way round, so that what is cut off would be the reason.
    """
    words = in_words(error)
    if words.startswith("is not written"):
        return words
    where = None
    while True:
        # a kernel called by another: the innermost says which line it is
        where = error if isinstance(error, CompilationError) else where
        if error.__cause__ is None:
            break
        error = error.__cause__
    if where is None:
        return f"does not compile: {words[:_LONGEST]}"
    own = where.error_message or ""
    kind = "" if isinstance(error, (AssertionError, CompilationError)) else type(error).__name__
    reason = own if error is where else f"{kind}: {error}".removeprefix(": ")
    excerpt = str(where).removesuffix(own).rstrip().splitlines()[-_EXCERPT:]
    reason = reason or "Triton gives no reason"
    return "\n".join([f"does not compile: {reason[:_LONGEST]}", *(f"    {x}" for x in excerpt)])


def _run(case: Case, recorder: _Recorder) -> None:
    dtype = torch.float32 if case.dtype == "tf32" else getattr(torch, case.dtype)
    torch.set_float32_matmul_precision("high" if case.dtype == "tf32" else "highest")
    tensors = []
    for shape in case.shapes:
        t = torch.zeros(shape, dtype=dtype)
        t = t.mT.contiguous().mT if case.transposed else t
        tensors.append(t.requires_grad_(case.backward))
    function = load(case.target)
    recorder.case = None if case.backward else case
    result = function(*tensors, *case.arguments)
    if case.backward:
        recorder.case = case
        result.backward(torch.zeros_like(result))


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    arch = request["arch"]
    # what student code and compilers print must not end up between the rows
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def emit(row: Row) -> None:
        replies.write(json.dumps(asdict(row)) + "\n")
        replies.flush()

    _pretend(arch)
    recorder = _Recorder(arch, emit)
    Autotuner.run = _every_configuration
    JITFunction.run = lambda self, *args, **kwargs: recorder.launch(self, args, kwargs)
    for fields in request["cases"]:
        case = case_from_json(fields)
        recorder.launches = 0
        try:
            _run(case, recorder)
            problem = "" if recorder.launches else "launches no Triton kernel"
        except Exception as error:
            problem = compile_error(error)
        if problem:
            emit(row_of(case, arch, problem=problem))


if __name__ == "__main__":
    assert triton.runtime.driver is driver and not knobs.runtime.interpret
    main()
