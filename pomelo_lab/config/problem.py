"""Problems of a config: a message for users, and for programs whether the data set is the cause."""

from __future__ import annotations


class Problem(str):
    """The message of a problem, which also tells whether another data set would solve the problem.

    Args:
        text: the whole message.
        owner: the key of the component ("sampler", "metrics.iou").
        lacks: what the data set lacks, in a clause ("needs Portraits, not CelebA"); "" for problems of other causes.
    """

    owner: str
    lacks: str

    def __new__(cls, text: str, owner: str = "", lacks: str = "") -> Problem:
        made = super().__new__(cls, text)
        made.owner, made.lacks = owner, lacks
        return made


def lacks(problem: str) -> str:
    """What the data set lacks according to a problem. "" for problems of other causes."""
    return problem.lacks if isinstance(problem, Problem) else ""
