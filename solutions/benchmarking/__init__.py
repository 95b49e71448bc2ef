# course: given
"""The benchmarks of the homework, and the entry for the leaderboard."""
