"""How many examples a property is tried on: `examples(n)` in a normal run, 20 times as many with
`--hypothesis-profile=long`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("long", deadline=None)


def examples(normally: int) -> settings:
    """Settings for one property. There is no deadline: a slow machine is no wrong answer."""
    long = settings.get_current_profile_name() == "long"
    return settings(
        max_examples=normally * 20 if long else normally,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
