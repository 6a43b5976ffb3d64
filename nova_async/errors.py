"""The kinds of error. HTTP status codes are decided at the edges, never here.

``message`` is public: a caller may read it. ``detail`` is for our logs only.
"""


def plain(error: BaseException) -> str:
    """Any exception in words for our logs. What ``repr`` shows besides may be secret: a request's headers, the bytes of a body."""
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


class Error(Exception):
    """Something went wrong; ``message`` may be shown to the caller."""

    default = "An unknown error occurred."

    def __init__(self, message: str | None = None, *, detail: str | None = None) -> None:
        self.message = message or self.default
        self.detail = detail
        super().__init__(self.message)


class Invalid(Error):
    """The request itself is wrong and will stay wrong until the caller changes it."""

    default = "The server could not comply with the request since it is either malformed or otherwise incorrect."


class Unreadable(Invalid):
    """Chunks, or their compression, are not what they are said to be."""

    default = "The request's body is not encoded as its headers say."


class Unauthorized(Error):
    """Nobody we know is asking."""

    default = "The request you have made requires authentication."


class Forbidden(Error):
    """The caller is known and may not do this."""

    default = "You are not authorized to perform the requested action."


class QuotaExceeded(Forbidden):
    """Allowed, but not so many."""

    default = "Quota exceeded."


class NotFound(Error):
    """The thing does not exist, or the caller may not know that it does."""

    default = "The resource could not be found."


class Conflict(Error):
    """The thing exists and its present state forbids this."""

    default = "The request conflicts with the current state of the resource."


class Gone(Error):
    """The interface was removed for good."""

    default = "This resource is no longer available. No forwarding address is given."


class TooLarge(Error):
    """The body or the object is larger than we take."""

    default = "The request body is too large."


class BadMediaType(Error):
    """The body is of a kind we do not read."""

    default = "Unsupported Content-Type"


class NotAcceptable(Error):
    """No version that the caller would accept."""


class Unsupported(Error):
    """A thing this deployment, driver or host cannot do."""

    default = "The requested functionality is not supported."


class NoCapacity(Error):
    """No host can take the work."""

    default = "No valid host was found."


class Unavailable(Error):
    """A part we depend on does not answer now; the same request may succeed later."""

    default = "The service is currently unable to handle the request. Try again later."

    def __init__(self, message: str | None = None, *, detail: str | None = None, retry_after: int = 5) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class Interrupted(Unavailable):
    """It went away in the middle: what was asked is done, half done or not done."""
