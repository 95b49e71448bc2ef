"""The one door between tests and student code: call a function, see what it did.

``Direct`` calls it in this process, ``Child`` in another one; both give the same ``Reply``.
"""

from course.subject.child import Child
from course.subject.direct import Direct
from course.subject.reply import Reply, StudentError, Subject

__all__ = ["Child", "Direct", "Reply", "StudentError", "Subject"]
