# course: instructor
"""Not for learners."""
