"""What a row measures."""

from dataclasses import dataclass, field


@dataclass
class Figure:
    """The result of a row.

    Attributes:
        measured: what came out, in a sentence.
        threshold: what it has to be.
        problems: everything that was not as it has to be; none if the row passes.
    """

    measured: str
    threshold: str
    problems: list[str] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        """Whether there are no problems."""
        return not self.problems
