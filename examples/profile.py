"""Profile edits, each with the whole profile: only the newest counts, and an older one never comes back.

inorder run examples/profile.py:profile --from examples/profile.jsonl --until-idle 1
inorder state --store sqlite:///inorder.db --stream profile
"""

from dataclasses import dataclass

import inorder


@dataclass
class Edit:
    """A profile as it is after one edit."""

    id: str
    user: str
    version: int
    name: str
    city: str


@dataclass
class Profile:
    """What is kept of a user."""

    name: str
    city: str


@inorder.fold(key="user", version="version", id="id", order="latest")
def profile(state: Profile | None, edit: Edit) -> Profile:
    return Profile(edit.name, edit.city)
