"""`inorder dlq`: dead letters. Each verb is in a module of this package, imported when it is used."""

from __future__ import annotations

from cyclopts import App

from inorder import cli

VERBS = {
    "list": ("inorder.cli.dlq.listing:list_letters", "What failed: dead letters by reason and by key."),
    "show": ("inorder.cli.dlq.showing:show", "One letter, or all about one key."),
    "plan": ("inorder.cli.dlq.planning:plan", "Choose letters, rehearse their replay, freeze it as a plan."),
    "replay": ("inorder.cli.dlq.replaying:replay", "Run a plan: guard and handler, in order, exactly once."),
    "edit": ("inorder.cli.dlq.changing:edit", "Give a letter a new payload; the old one is kept."),
    "skip": ("inorder.cli.dlq.changing:skip", "Say that an event will never be applied; its key goes on."),
    "audit": ("inorder.cli.dlq.auditing:audit", "Who did what, when and why."),
    "import": ("inorder.cli.dlq.bridging:import_letters", "Take over dead letters that others wrote to a topic."),
    "export": ("inorder.cli.dlq.bridging:export_letters", "Copy letters to a topic, for those who watch one."),
}

HELP = """Dead letters: look at them, mend them, replay them.

An event that could not take effect is a dead letter. Its key is parked: later
events of the key wait behind it, in order. All other keys go on.

  inorder dlq list                        what failed, and why
  inorder dlq show ID                     one letter; payload with --payload
  (mend the cause: deploy new code, edit the payload, or skip the event)
  inorder dlq plan bank.py:balance        rehearse a replay; nothing changes
  inorder dlq replay PLAN --reason WHY    replay, and what waits behind

A replay goes through the same guard and handler as live events, one
transaction a letter. It may be interrupted, run again, and run beside live
workers. What changes something asks first; without a terminal it needs --yes
and --reason.
"""


def __getattr__(name: str) -> App:
    # Made when it is asked for: the verb that is about to be used tells of itself at length.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = App(name="dlq", help=HELP)
    for at, (verb, (place, line)) in enumerate(VERBS.items()):
        app.command(place, name=verb, help=None if verb in cli.asked else line, sort_key=at)
    return app
