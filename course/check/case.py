"""Says with which inputs something was wrong, and what may help."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# What 'course release' leaves in place of a solution: "nb00-2: add two vectors".
STUB = re.compile(r"\b((?:hw|nb)\d+-\d+): ([^\"\n]+)")


@contextmanager
def case(inputs: str, advice: str = "") -> Iterator[None]:
    """Put the inputs in front of what an assertion inside says, and advice behind a wrong result.

    The error stays what it is: what it passed through says which line was wrong.
    """
    try:
        yield
    except Exception as error:
        # an assertion inside a kernel is the cause of Triton's own errors
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, AssertionError) and not STUB.match(str(root)):
            # what a kernel's own line says needs no advice
            more = f" {advice}" if advice and root is error else ""
            root.args = (f"with {inputs}, {root}{more}",)
        raise
