"""Counts a learner worked out, judged exactly: bytes, programs, keys."""

from collections.abc import Mapping


def assert_counted(
    name: str,
    got: object,
    parts: dict[str, int],
    size: int = 1,
    usual: Mapping[str, int] | None = None,
) -> None:
    """Fail unless ``got`` is the sum of ``parts``, and say which part seems to be missing.

    Args:
        name: the call as the learner knows it, "unfused_bytes(4, 8, 2, 4)".
        parts: what is counted in words -> how much of it.
        size: bytes an element, to recognise a count of elements.
        usual: what helps against a usual mistake, in words -> what that mistake comes to.

    Raises:
        AssertionError: in words.
    """
    assert isinstance(got, (int, float)), f"{name}: expected a number, got {type(got).__name__}"
    expected = sum(parts.values())
    if got == expected:
        return
    message = f"{name}: expected {expected}, got {got:g}."
    if got * size == expected:
        raise AssertionError(f"{message} That is a count of elements: how many bytes is each?")
    helps = [words for words, wrong in (usual or {}).items() if got == wrong]
    if helps:
        raise AssertionError(f"{message} {helps[0]}.")
    missing = " or ".join(part for part, amount in parts.items() if got == expected - amount)
    twice = " or ".join(part for part, amount in parts.items() if got == expected + amount)
    if missing or twice:
        guess = f"Missing: {missing}." if missing else f"Counted twice: {twice}."
        raise AssertionError(f"{message} {guess}")
    raise AssertionError(message)
