"""The pytest plugin behind every test: the subject, the tiers, points, and failures in words."""
