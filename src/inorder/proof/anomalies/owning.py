"""Anomalies of ownership: who worked on what they had lost, and who worked on one key at once."""

from __future__ import annotations

from inorder.proof.anomalies.anomaly import Oracle, anomaly
from inorder.proof.history import History
from inorder.proof.trace import Op, Step


@anomaly("S9", "zombie-write", Op.APPLIED, Op.HELD, Op.LETTER, Op.COMMITTED, Op.CALLED, needs=(Op.ASSIGNED, Op.APPLIED))
def zombie_write(history: History, step: Step, _: Oracle | None) -> str | None:
    """A worker wrote, called or committed under an epoch of its partition that was over.

    Calls cannot be taken back, so only one that began after the newer owner's first one counts.
    """
    newest = history.epochs.get(step.partition)
    if step.epoch is None or newest is None or step.epoch >= newest:
        return None
    if step.op is Op.CALLED and history.owners_called.get(step.partition, 0) <= step.epoch:
        return None
    what = f"{step.key} v{step.version}" if step.key is not None else f"{step.partition}@{step.offset}"
    return f"{step.worker} {step.op} {what} under epoch {step.epoch} of {step.partition}, which {newest} had ended"


@anomaly("S10", "key-overlap", Op.STARTED)
def key_overlap(history: History, step: Step, _: Oracle | None) -> str | None:
    """Two handlers of one key ran at once, and no change of owner explains it."""
    for other in history.running.get(step.key or "", []):
        moved = None not in {other.epoch, step.epoch} and (other.worker, other.epoch) != (step.worker, step.epoch)
        if not moved:
            return f"{step.key} v{other.version} and v{step.version} ran at once ({other.worker}, {step.worker})"
    return None
