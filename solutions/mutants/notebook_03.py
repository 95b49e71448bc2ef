# course: instructor
"""Wrong solutions of notebook 03's own cells: the checks must fail each. Kernels: ladder.py."""

_LADDER = "notebooks/03_attention_ladder.py"

# exercise, title, what stands there, what a wrong solution has instead, what a learner must read
_WRONG = [
    (
        "nb03-3",
        "padding takes no registers",
        "return max_tile // BLOCK_D",
        "return max_tile // head_dim",
        "longest(80, 32768) is 409; a tile of 256 keys",
    ),
    (
        "nb03-3",
        "a number that is no count",
        "return max_tile // BLOCK_D",
        "return max_tile / BLOCK_D",
        "keys are counted in whole numbers",
    ),
    (
        "nb03-4",
        "the scores are not read back",
        "(2 * N * d + N * N) + 2 * N * N + (N * N + 2 * N * d)",
        "(2 * N * d + N * N) + N * N + (N * N + 2 * N * d)",
        "Missing: writing the scores or reading the scores",
    ),
    (
        "nb03-4",
        "a mask is counted",
        "return size * (2 * N * d + (2 * N * d + N * N) + 2 * N * N",
        "return size * (2 * N * d + (2 * N * d + N * N) + 4 * N * N",
        "Nothing is causal here",
    ),
    (
        "nb03-4",
        "four bytes an element",
        "return size * (2 * N * d + (2 * N * d + N * N)",
        "return 4 * (2 * N * d + (2 * N * d + N * N)",
        "An element has size bytes, here 2",
    ),
    (
        "nb03-4",
        "K and V read once",
        "return size * N * one_program",
        "return size * (2 * N * d + 2 * N * d)",
        "Each of the 8 programs reads all of k and v",
    ),
    (
        "nb03-4",
        "one program only",
        "return size * N * one_program",
        "return size * one_program",
        "That is what one program moves, and there are N = 8 of them",
    ),
    (
        "nb03-5",
        "a program has one query",
        "return size * (2 * N * d + programs * 2 * N * d)",
        "return size * programs * (2 * d + 2 * N * d)",
        "q is read and o written whole, BLOCK_Q rows a program",
    ),
    (
        "nb03-5",
        "the block shares q and o too",
        "return size * (2 * N * d + programs * 2 * N * d)",
        "return size * N * (2 * d + 2 * N * d) // BLOCK_Q",
        "Only k and v are shared",
    ),
    (
        "nb03-5",
        "K and V only",
        "return size * (2 * N * d + programs * 2 * N * d)",
        "return size * programs * 2 * N * d",
        "Missing: reading q and writing o",
    ),
    (
        "nb03-5",
        "the bytes of an element are forgotten",
        "while 2 * BLOCK_Q / size < balance:",
        "while 2 * BLOCK_Q < balance:",
        "and with 128 queries only 128",
    ),
    (
        "nb03-5",
        "a balance is cut down to a whole number",
        "    while 2 * BLOCK_Q / size < balance:\n        BLOCK_Q *= 2\n    return BLOCK_Q\n",
        "    return triton.next_power_of_2(max(BLOCK_Q, int(balance * size / 2)))\n",
        "queries_needed(16.1, 4) is 32, expected 64",
    ),
]

MUTANTS = [
    {"exercise": exercise, "file": _LADDER, "title": title, "old": old, "new": new, "says": says}
    for exercise, title, old, new, says in _WRONG
]
