"""Starting Python with the right tree first on its path, and the working directory not on it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# `python -m` would put the working directory first, and stubs there before any solutions;
# the module's own argv starts after its name, as there
_RUN = (
    "import sys; sys.path[0:1] = sys.argv.pop(1).split('|'); del sys.argv[0]; "
    "from runpy import run_module; "
    "run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python(tree: Path, module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` with ``tree`` and then the course first on the path."""
    path = "|".join(str(p) for p in (tree, ROOT))
    return [sys.executable, "-c", _RUN, path, module, *arguments]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change the path, plus ``changes``."""
    dropped = ("PYTHONPATH", "PYTHONSAFEPATH")
    return {k: v for k, v in os.environ.items() if k not in dropped} | changes
