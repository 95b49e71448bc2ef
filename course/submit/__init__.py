"""Testing a learner's work, scoring it, and packing it for handing in."""
