"""A request that no attempt will help."""

from lookalike.errors import DataError


class RefusedError(DataError):
    """A request that will not succeed, however often it is made."""

    def __init__(self, url: str, reason: str, code: int = 0):
        self.url, self.reason, self.code = url, reason, code
        super().__init__(f"{url}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:
        return type(self), (self.url, self.reason, self.code)
