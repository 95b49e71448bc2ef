"""The tooling of the course: checks, subject, benchmarks, submission, release."""

__version__ = "0.1.0"
