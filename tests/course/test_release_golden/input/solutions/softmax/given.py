# course: given
"""Given whole."""

ANSWER = 42
