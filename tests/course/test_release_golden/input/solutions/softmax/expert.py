# course: instructor
"""The fast one."""
