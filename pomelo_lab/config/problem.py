"""What is wrong with a config: a text for people, and for programs whether the data set alone is to blame."""

from __future__ import annotations


class Problem(str):
    """A problem in words that also says whether the job's data cannot give what a component needs, where another data
    set could.

    Args:
        text: the whole message.
        owner: the key of the component ("sampler", "metrics.iou").
        lacks: what the data set lacks, in a clause ("needs Portraits, not CelebA"); "" where something else is wrong.
    """

    owner: str
    lacks: str

    def __new__(cls, text: str, owner: str = "", lacks: str = "") -> Problem:
        made = super().__new__(cls, text)
        made.owner, made.lacks = owner, lacks
        return made


def lacks(problem: str) -> str:
    """What the data set lacks, "" for every other problem."""
    return problem.lacks if isinstance(problem, Problem) else ""
