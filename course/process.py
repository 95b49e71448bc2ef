"""Starting Python with the right tree first on its path, and the working directory not on it."""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

expendable = False  # this process may end with what it runs: it was started for that alone

# `python -m` would put the working directory first, and stubs there before any solutions;
# the module's own argv starts after its name, as there
_PATH = "import sys; sys.path[0:1] = sys.argv.pop(1).split('|'); del sys.argv[0]; "
_RUN = "from runpy import run_module; run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
# Python looks for garbage all the time torch is imported, and again at the end, and finds none:
# together a quarter of what such a process costs. What it never looks at again stays out of both
_TORCH = "import gc; gc.disable(); import torch; gc.freeze(); gc.enable(); "


def python(tree: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with ``tree`` and then the course first on the path."""
    return _command(_PATH + _RUN, tree, module, arguments)


def python_with_torch(tree: Path, module: str, *arguments: str) -> list[str]:
    """As :func:`python`, with torch imported before the module, in less time."""
    return _command(_PATH + _TORCH + _RUN, tree, module, arguments)


def _command(program: str, tree: Path, module: str, arguments: tuple[str, ...]) -> list[str]:
    path = "|".join(str(p) for p in (tree, ROOT))
    return [sys.executable, "-c", program, path, module, *arguments]


def died(status: int) -> str:
    """Why a process may have ended with this exit status, if a signal ended it; else ""."""
    if status not in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
        return ""
    return (
        f"Python itself died ({signal.Signals(-status).name}): most often a tl.store or "
        "tl.load without a mask reached outside a tensor"
    )


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change the path, plus ``changes``."""
    dropped = ("PYTHONPATH", "PYTHONSAFEPATH")
    return {k: v for k, v in os.environ.items() if k not in dropped} | changes
