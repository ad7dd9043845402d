"""Which member of a group is to have which partition. Pure: every member comes to the same answer.

It never moves a partition that it need not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def assign(
    partitions: Sequence[int], members: Sequence[int], current: Mapping[int, int | None]
) -> dict[int, int | None]:
    """Spread `partitions` evenly over `members`, changing as little of `current` as evenness allows."""
    if not members:
        return dict.fromkeys(partitions)
    kept: dict[int, list[int]] = {member: [] for member in members}
    free: list[int] = []
    for partition in partitions:
        owner = current.get(partition)
        if owner is not None and owner in kept:
            kept[owner].append(partition)
        else:
            free.append(partition)
    least, extra = divmod(len(partitions), len(members))
    # Those that have most get the odd partitions, since taking these away would be a move for nothing.
    by_load = sorted(members, key=lambda member: -len(kept[member]))
    room = {member: least + (place < extra) for place, member in enumerate(by_load)}
    for member in members:
        free += kept[member][room[member] :]
        del kept[member][room[member] :]
    result: dict[int, int | None] = {partition: member for member, mine in kept.items() for partition in mine}
    free.sort()
    for member in members:
        for _ in range(room[member] - len(kept[member])):
            result[free.pop(0)] = member
    return result
