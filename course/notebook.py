"""What the first cell of every notebook imports: device, interpreter, autoreload, ``check``.

Import it before triton. In plain Python (no Jupyter) it does the same without autoreload.
"""

import sys

from course import device
from course.check import check

_machine = device.prepare()
DEVICE = _machine.device
INTERPRETED = _machine.interpreted

if "IPython" in sys.modules:
    from IPython import get_ipython

    _shell = get_ipython()
    if _shell is not None:
        _shell.run_line_magic("load_ext", "autoreload")
        _shell.run_line_magic("autoreload", "2")

print(_machine.sentence)

__all__ = ["DEVICE", "INTERPRETED", "check"]
