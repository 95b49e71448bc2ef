"""The child's side: answer requests until the other side has gone."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import torch

from course import device

if device.prepare().interpreted:
    torch.set_num_threads(1)

from course.check.place import place
from course.subject import probe, wire
from course.subject.load import load, use


def _answer(request: dict[str, Any]) -> Any:
    target, arguments, settings = request["target"], request["arguments"], request["settings"]
    if request["what"] == "gradcheck":
        return probe.gradcheck(target, tuple(arguments))
    if request["what"] == "benchmark":
        from course.bench import scenarios

        return scenarios.run(load(target), arguments[0], **settings)
    reply = probe.call(target, tuple(arguments), **settings)
    return {f.name: getattr(reply, f.name) for f in dataclasses.fields(reply)}


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def main() -> None:
    """Serve on the two file descriptors named on the command line."""
    requests, replies = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    use(Path(sys.path[0]))  # where course.process.python() puts the tree
    wire.send(replies, "ready")
    while True:
        try:
            request = wire.receive(requests)
        except EOFError:
            return
        try:
            # nothing is written before all of it is known to fit into a message
            wire.send(replies, {"value": _answer(request)})
        except BaseException as error:
            root = _root(error)
            said = {"error": type(root).__name__, "text": str(root), "place": place(error)}
            wire.send(replies, said)


if __name__ == "__main__":
    main()
