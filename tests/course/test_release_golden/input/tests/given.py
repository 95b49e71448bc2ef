"""What learners run."""
