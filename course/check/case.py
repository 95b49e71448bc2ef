"""Says with which inputs something was wrong."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def case(inputs: str) -> Iterator[None]:
    """Put the inputs in front of what an assertion inside says."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"with {inputs}, {error}") from None
