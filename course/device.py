"""Where kernels run on this machine: a GPU, or Triton's interpreter on the CPU."""

import os
import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch

from course import interpreter


@dataclass(frozen=True)
class Machine:
    """Where tensors live, whether kernels are interpreted, and a sentence that says so."""

    device: str
    interpreted: bool
    sentence: str


@lru_cache(maxsize=1)
def prepare() -> Machine:
    """Choose GPU or interpreter for this process, once, before triton is imported.

    Triton decides at import whether kernels are interpreted, so a process cannot change its mind.
    ``TRITON_INTERPRET`` set by the user wins: ``TRITON_INTERPRET=1`` interprets on a GPU machine.
    Where kernels are interpreted, bf16 and FP8 are mended, for which triton is imported: 0.15 s.

    Raises:
        RuntimeError: there is no GPU and triton was imported before this call.
    """
    wanted = os.environ.get("TRITON_INTERPRET")
    has_gpu = torch.cuda.is_available()
    if not has_gpu and wanted is None:
        if "triton" in sys.modules:
            raise RuntimeError(
                "triton was imported before the interpreter could be chosen: restart, and run the "
                "first cell first (or set TRITON_INTERPRET=1 before starting Python)"
            )
        os.environ["TRITON_INTERPRET"] = wanted = "1"
    if wanted == "1":
        # rows past the end of a tensor often compute inf - inf on their way to a masked store
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton.runtime.interp")
        interpreter.install()
        why = "as TRITON_INTERPRET=1 asks" if has_gpu else "there is no GPU here"
        return Machine("cpu", True, f"Kernels are interpreted on the CPU ({why}).")
    if not has_gpu:
        return Machine("cpu", False, "No GPU and no interpreter: kernels compile, but cannot run.")
    major, minor = torch.cuda.get_device_capability()
    name = torch.cuda.get_device_name()
    return Machine("cuda", False, f"Kernels run on {name}, sm_{major}{minor}.")
