"""Checks a learner sees at once: in a notebook cell, or from ``course check``."""

from course.check.close import assert_close_to_exact, assert_matches
from course.check.registry import CheckFailed, check, checker, in_words, require, unwritten

__all__ = [
    "CheckFailed",
    "assert_close_to_exact",
    "assert_matches",
    "check",
    "checker",
    "in_words",
    "require",
    "unwritten",
]
