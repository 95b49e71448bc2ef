"""``course release``: the student's tree, derived from ``solutions/``. Does not ship itself."""
