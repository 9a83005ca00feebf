"""The errors that the module shows to the user, and the one that says that it was the user."""

from __future__ import annotations


class TextSegError(Exception):
    """Something that the user can do something about; the message is shown as it is."""


class ServerError(TextSegError):
    """The server refused, failed, or cannot be reached.

    Attributes:
        status: of HTTP; 0 without an answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Stopped(TextSegError):  # noqa: N818 - no error, the user stopped the run
    """The run was cancelled."""
