"""Student code in a process of its own: what ``course submit`` and graders use.

This side owns inputs, expected values and the clock; the child only computes.
"""

import builtins
import contextlib
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

from course.process import died, environment, python_with_torch
from course.subject import wire
from course.subject.reply import Reply, StudentError

_STARTUP_SECONDS = 60


class Child:
    """One child process, started when needed, replaced when it dies or takes too long."""

    def __init__(self, tree: Path, time_limit: float = 60.0) -> None:
        self.tree = tree
        self.time_limit = time_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._to: BinaryIO
        self._from: BinaryIO

    def call(self, target: str, *arguments: Any, **settings: Any) -> Reply:
        """See :meth:`course.subject.reply.Subject.call`."""
        return Reply(**self._ask("call", target, arguments, settings))

    def gradcheck(self, target: str, *arguments: Any) -> bool:
        """See :meth:`course.subject.reply.Subject.gradcheck`."""
        return bool(self._ask("gradcheck", target, arguments, {}))

    def benchmark(self, target: str, scenario: str, **settings: Any) -> dict[str, Any]:
        """See :meth:`course.subject.reply.Subject.benchmark`."""
        return dict(self._ask("benchmark", target, (scenario,), settings))

    def close(self) -> None:
        """End the child, and whatever it started."""
        if self._process is None:
            return
        with contextlib.suppress(BrokenPipeError):  # of a request that nobody read
            self._to.close()
        self._from.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        self._process = None

    def _ask(self, what: str, target: str, arguments: tuple[Any, ...], settings: Any) -> Any:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended after its last answer: no fault of this call
        if self._process is None:
            self._start()
        request = {"what": what, "target": target, "arguments": arguments, "settings": settings}
        try:
            wire.send(self._to, request)
            reply = self._receive(self.time_limit)
        except (EOFError, BrokenPipeError):
            raise StudentError(self._epitaph()) from None
        except TimeoutError:
            self.close()
            raise StudentError(
                f"no answer after {self.time_limit:.0f} s, so it was stopped: an endless loop?"
            ) from None
        if "error" in reply:
            error = _rebuilt(reply["error"], reply["text"])
            error.place = str(reply["place"])  # type: ignore[attr-defined]  # course.check.place
            raise error
        return reply["value"]

    def _epitaph(self) -> str:
        """Why the child may have ended; closes it."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        status = self._process.returncode
        self.close()
        return died(status) or "the process running this code ended before it answered"

    def _start(self) -> None:
        read_request, write_request = os.pipe()
        read_reply, write_reply = os.pipe()
        self._process = subprocess.Popen(
            python_with_torch(
                self.tree, "course.subject.serve", str(read_request), str(write_reply)
            ),
            pass_fds=(read_request, write_reply),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_request)
        os.close(write_reply)
        self._to = os.fdopen(write_request, "wb")
        self._from = os.fdopen(read_reply, "rb", buffering=0)
        try:
            self._receive(_STARTUP_SECONDS)
        except (EOFError, TimeoutError):
            self.close()
            raise StudentError("the process for student code could not be started") from None

    def _receive(self, seconds: float) -> Any:
        return wire.receive(_Deadline(self._from, time.monotonic() + seconds))  # type: ignore[arg-type]


class _Deadline:
    """Reads exactly as many bytes as asked, or raises TimeoutError."""

    def __init__(self, stream: BinaryIO, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            left = self._until - time.monotonic()
            if left <= 0 or not select.select([self._stream], [], [], left)[0]:
                raise TimeoutError
            part = self._stream.read(min(count - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def _rebuilt(name: str, text: str) -> BaseException:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # UnicodeDecodeError is made of five things
            return kind(text)
    return StudentError(text if name == "StudentError" else f"{name}: {text}")
