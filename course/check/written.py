"""One line where a cell needs an exercise that is not written yet, instead of a traceback."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from course.check.registry import in_words


@contextmanager
def written() -> Iterator[None]:
    """Around what uses a learner's functions or kernels; also a decorator, which then gives None.

    Stops at the first exercise that is not written yet, and prints which it is.
    """
    try:
        yield
    except Exception as error:
        needed = re.search(r"it needs (\S+) first (.+)", in_words(error, "this cell"))
        if not needed:
            raise
        print(f"First {needed[1]} {needed[2]}: it is used here.")
