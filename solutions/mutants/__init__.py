# course: instructor
"""Wrong solutions, by package: the tests must fail each of them."""
