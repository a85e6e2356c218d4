"""What rows are counted together: a branch's of one content, or two arms' of one epoch."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from gateway.names import Branch

ALONE = "window"
BASELINE, ARM = "baseline", "arm"


class Stream(NamedTuple):
    """`branch`: rows that it answered, of fingerprint `content`. `pair`: rows that were assigned
    to it or to the baseline in epoch `content`.
    """

    kind: Literal["branch", "pair"]
    branch: Branch
    content: str
    #: Of a pair.
    baseline: Branch | None = None

    def __str__(self) -> str:
        return " ".join((self.kind, self.branch, self.content, *filter(None, [self.baseline])))

    @classmethod
    def parse(cls, text: str) -> Self:
        """No branch has a space in its name."""
        kind, branch, content, *baseline = text.split(" ")
        with_ = Branch(baseline[0]) if baseline else None
        return cls("pair" if kind == "pair" else "branch", Branch(branch), content, with_)

    @property
    def sides(self) -> tuple[str, ...]:
        return (ALONE,) if self.kind == "branch" else (BASELINE, ARM)
