"""The anomalies S1 to S22, each a small checker over traces. They share no code with what they check."""

from inorder.proof.anomalies import effects, keeping, letters, owning
from inorder.proof.anomalies.anomaly import Anomaly, Oracle

_FOUND = [
    found
    for module in (effects, keeping, letters, owning)
    for found in vars(module).values()
    if isinstance(found, Anomaly)
]

ANOMALIES: dict[str, Anomaly] = {found.id: found for found in sorted(_FOUND, key=lambda one: int(one.id[1:]))}
"""Every anomaly by its id."""

__all__ = ["ANOMALIES", "Anomaly", "Oracle"]
