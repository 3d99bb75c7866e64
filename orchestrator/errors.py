"""What can go wrong in a way that a person should read. Each carries the fix with it.

HomerunError
 |- NotFound       no such run, checkpoint...        exit 1,  HTTP 404
 |- Invalid        the request itself is wrong       exit 2,  HTTP 400
 |- Held           not now: something holds it       exit 75, HTTP 423
 |- Refused        not at all, as things are         exit 77, HTTP 409
 `- Misconfigured  the configuration is wrong        exit 78, HTTP 422
"""

from __future__ import annotations


class HomerunError(Exception):
    """``message`` says what is wrong, ``fix`` what to do about it."""

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, fix: str = "") -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message}\n  fix: {fix}" if fix else message)


class NotFound(HomerunError):
    """No such run, checkpoint, file."""

    exit_code = 1
    http_status = 404


class Invalid(HomerunError):
    """The request itself is wrong: a pause into the past, a bad duration."""

    exit_code = 2
    http_status = 400


class Held(HomerunError):
    """Cannot be done now because something holds the run; try later."""

    exit_code = 75
    http_status = 423


class Refused(HomerunError):
    """Cannot be done as things are: a name taken, a state that forbids it."""

    exit_code = 77
    http_status = 409


class Misconfigured(HomerunError):
    """A configuration or spec that cannot be used; the message lists every problem."""

    exit_code = 78
    http_status = 422
