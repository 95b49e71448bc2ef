"""``course check ID``: one exercise by itself, in a process of its own."""
