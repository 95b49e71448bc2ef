"""What the first cell of every notebook imports: device, interpreter, autoreload, ``check``.

Import it before triton. In plain Python (no Jupyter) it does the same without autoreload.
"""

import sys
from types import TracebackType
from typing import Any

from course import device
from course.check import check, unwritten

_machine = device.prepare()
DEVICE = _machine.device
INTERPRETED = _machine.interpreted


def _show(
    shell: Any, kind: type, error: Any, trace: TracebackType, tb_offset: int | None = None
) -> None:
    """One line where a cell needs an exercise that is not written yet, not Triton's frames."""
    missing = unwritten(error)
    if missing:
        error._render_traceback_ = lambda: [missing]
    shell.showtraceback((kind, error, trace), running_compiled_code=True)


if "IPython" in sys.modules:
    from IPython import get_ipython

    _shell = get_ipython()
    if _shell is not None:
        _shell.run_line_magic("load_ext", "autoreload")
        _shell.run_line_magic("autoreload", "2")
        _shell.set_custom_exc((Exception,), _show)

print(_machine.sentence)

__all__ = ["DEVICE", "INTERPRETED", "check"]
