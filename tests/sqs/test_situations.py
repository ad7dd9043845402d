"""Situations around the visible prefix of a group: who is given what, and what inorder makes of it.

The server is the one made from the rules, and its clock stands still unless a situation moves it.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

import inorder
from inorder.core.event import Partition
from inorder.errors import UsageError
from tests.sqs.places import PATIENCE_S, until
from tests.sqs.scene import ANSWER_LOST, ITS_FAULT, OUR_FAULT, VISIBILITY_S, Scene, Situation, bodies, e, holds
from tests.worker.consumers import Entry

SITUATIONS: list[Situation] = []


def situation(function: Situation) -> Situation:
    SITUATIONS.append(function)
    return function


# Who is given what.


@situation
def a_run_in_flight_keeps_its_group_from_everybody(scene: Scene) -> None:
    scene.send("a", *"01234")
    source = scene.source()
    assert bodies(scene.take(source, 5)) == list("01234")
    scene.send("a", "5")
    assert scene.gives() == []


@situation
def a_run_is_cut_at_ten_and_the_rest_waits_for_it(scene: Scene) -> None:
    scene.send("a", *map(str, range(12)))
    source = scene.source()
    pieces = scene.take(source, 10)
    assert scene.gives() == []
    scene.settle(source, pieces[:9])
    assert scene.gives() == [], "the last one of the run is the head now"
    scene.settle(source, pieces[9:])
    assert scene.gives() == ["10", "11"]


@situation
def groups_of_one_receive_are_runs_of_their_own(scene: Scene) -> None:
    scene.send("a", "a0", "a1")
    scene.send("b", "b0", "b1")
    source = scene.source()
    a0, a1, b0, b1 = scene.take(source, 4)
    assert a0.lease is a1.lease is not b0.lease is b1.lease
    scene.settle(source, [b0, b1])
    assert scene.left() == ["a0", "a1"]


@situation
def a_settled_tail_leaves_the_head_in_front_of_its_group(scene: Scene) -> None:
    scene.send("a", *"012")
    source = scene.source()
    pieces = scene.take(source, 3)
    scene.settle(source, pieces[1:])
    scene.pass_time(VISIBILITY_S + 1)
    scene.send("a", "3")
    assert scene.gives() == ["0", "3"]


@situation
def a_head_given_back_by_somebody_is_given_out_while_we_hold_the_tail(scene: Scene) -> None:
    scene.send("a", *"012")
    source = scene.source()
    pieces = scene.take(source, 3)
    scene.message("0").visible_at = scene.clock.now
    assert [message.body for message in scene.others_turn()] == ["0"]
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert not any(map(holds, pieces)), "with its head, the whole run is lost"


@situation
def an_expired_middle_is_given_to_nobody_while_the_head_is_held(scene: Scene) -> None:
    scene.send("a", *"012")
    source = scene.source()
    pieces = scene.take(source, 3)
    scene.message("1").visible_at = scene.clock.now
    assert scene.gives() == []
    scene.settle(source, pieces[:1])
    assert [message.body for message in scene.others_turn()] == ["1"]
    scene.settle(source, pieces[1:])
    assert source.lost == 1, "the middle is somebody else's"
    assert scene.left() == ["1"]


# Leases.


@situation
def nothing_is_extended_before_half_of_its_time_is_over(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    scene.take(source, 1)
    scene.pass_time(VISIBILITY_S * 0.4)
    source.extend_now()
    assert scene.requests("ChangeMessageVisibilityBatch") == []


@situation
def a_run_is_extended_as_a_whole_head_first(scene: Scene) -> None:
    scene.send("a", *"01234")
    source = scene.source()
    pieces = scene.take(source, 5)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    (request,) = scene.requests("ChangeMessageVisibilityBatch")
    assert [entry["Id"] for entry in request["Entries"]] == [str(piece.next_offset) for piece in pieces]
    scene.pass_time(VISIBILITY_S * 0.6)
    assert all(map(holds, pieces))
    assert scene.gives() == []


@situation
def only_what_is_not_deleted_is_extended(scene: Scene) -> None:
    scene.send("a", *"0123")
    source = scene.source()
    pieces = scene.take(source, 4)
    scene.settle(source, [pieces[0], pieces[2]])
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    (request,) = scene.requests("ChangeMessageVisibilityBatch")
    assert [int(entry["Id"]) for entry in request["Entries"]] == [pieces[1].next_offset, pieces[3].next_offset]
    assert holds(pieces[1])


@situation
def runs_share_requests_of_ten_and_are_never_split(scene: Scene) -> None:
    for group in "abc":
        scene.send(group, *(f"{group}{n}" for n in range(5)))
    source = scene.source()
    scene.take(source, 15)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    sizes = [len(request["Entries"]) for request in scene.requests("ChangeMessageVisibilityBatch")]
    assert sum(sizes) == 15
    assert max(sizes) <= 10


@situation
def a_run_whose_extension_is_refused_is_lost_and_others_are_not(scene: Scene) -> None:
    scene.send("a", "a0", "a1")
    scene.send("b", "b0")
    source = scene.source()
    a0, a1, b0 = scene.take(source, 3)
    scene.fail("ChangeMessageVisibilityBatch entry", OUR_FAULT)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert [holds(piece) for piece in (a0, a1, b0)] == [False, False, True]


@situation
def an_extension_that_sqs_fails_at_is_tried_again(scene: Scene) -> None:
    scene.send("a", *"01")
    source = scene.source()
    pieces = scene.take(source, 2)
    scene.fail("ChangeMessageVisibilityBatch entry", ITS_FAULT)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert all(map(holds, pieces)), "the old deadline holds meanwhile"
    source.extend_now()
    scene.pass_time(VISIBILITY_S * 0.6)
    assert all(map(holds, pieces))


@situation
def an_extension_that_sqs_fails_at_does_not_count_where_another_run_is_refused(scene: Scene) -> None:
    scene.send("a", "a0")
    scene.send("b", "b0")
    source = scene.source()
    a0, b0 = scene.take(source, 2)
    faults = iter([OUR_FAULT, ITS_FAULT])

    def refuse(action: str, request: Any) -> None:
        if action == "ChangeMessageVisibilityBatch entry":
            raise next(faults)

    scene.server.refuse = refuse
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert [holds(piece) for piece in (a0, b0)] == [False, True], "the old deadline of the second holds"
    scene.pass_time(VISIBILITY_S * 0.6)
    assert not holds(b0), "it was not extended: SQS gives it to somebody else by now"


@situation
def an_extension_whose_answer_is_lost_does_not_count(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)
    scene.fail("ChangeMessageVisibilityBatch", ANSWER_LOST, obeyed=True)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    scene.pass_time(VISIBILITY_S * 0.6)
    assert not holds(pieces[0]), "SQS has extended it, but we do not know"
    assert scene.gives() == []


@situation
def a_lease_that_is_over_is_not_revived(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)
    scene.pass_time(VISIBILITY_S - 1)
    assert not holds(pieces[0]), "over before SQS says so: there is a margin"
    source.extend_now()
    assert scene.requests("ChangeMessageVisibilityBatch") == []
    assert not holds(pieces[0])


@situation
def an_answer_that_comes_after_the_deadline_revives_nothing(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)

    def slowly(action: str, request: Any) -> None:
        if action == "ChangeMessageVisibilityBatch":
            scene.clock.now += VISIBILITY_S * 0.39

    scene.pass_time(VISIBILITY_S * 0.55)
    scene.server.refuse = slowly
    source.extend_now()
    assert not holds(pieces[0])


@situation
def a_lease_counts_from_before_the_request(scene: Scene) -> None:
    def slowly(action: str, request: Any) -> None:
        if action == "ReceiveMessage" and scene.left():
            scene.clock.now += VISIBILITY_S * 0.8
            scene.server.refuse = lambda action, request: None

    source = scene.source()
    scene.server.refuse = slowly
    scene.send("a", "0")
    pieces = scene.take(source, 1)
    scene.pass_time(VISIBILITY_S * 0.15)
    assert not holds(pieces[0]), "SQS may have given it out at the beginning of the request"


@situation
def a_visibility_timeout_that_is_lowered_meanwhile_is_not_that_of_our_leases(scene: Scene) -> None:
    source = scene.source()
    scene.queue.attributes["VisibilityTimeout"] = "1"
    scene.send("a", "0")
    pieces = scene.take(source, 1)
    scene.pass_time(2)
    assert holds(pieces[0])
    assert scene.gives() == [], "what we hold is nobody else's"


@situation
def nothing_is_extended_past_twelve_hours(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source(visibility_s=600)
    pieces, began = scene.take(source, 1), scene.clock.now
    while holds(pieces[0]):
        scene.pass_time(600 * 0.6)
        source.extend_now()
    assert 11.8 < (scene.clock.now - began) / 3600 < 12.2


@situation
def what_lapsed_is_not_extended_any_more(scene: Scene) -> None:
    scene.send("a", *"01")
    source = scene.source()
    pieces = scene.take(source, 2)
    source.forget([piece.next_offset for piece in pieces])
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert scene.requests("ChangeMessageVisibilityBatch") == []


# Receiving.


@situation
def a_receive_whose_answer_is_lost_is_repeated_under_its_attempt_id(scene: Scene) -> None:
    scene.fail("ReceiveMessage", ANSWER_LOST, obeyed=True)
    scene.send("a", *"01")
    source = scene.source()
    assert bodies(scene.take(source, 2)) == list("01"), "although their visibility has not passed"
    first, second, *_ = [request["ReceiveRequestAttemptId"] for request in scene.requests("ReceiveMessage")]
    assert first == second


@situation
def every_receive_has_an_attempt_id_of_its_own(scene: Scene) -> None:
    source = scene.source()
    scene.send("a", "0")
    scene.settle(source, scene.take(source, 1))
    source.resume([Partition(scene.name, 0)])
    scene.send("a", "1")
    scene.take(source, 1)
    attempts = [request["ReceiveRequestAttemptId"] for request in scene.requests("ReceiveMessage")]
    assert len(set(attempts)) == len(attempts)


@situation
def a_throttled_receive_is_made_again(scene: Scene) -> None:
    scene.fail("ReceiveMessage", ITS_FAULT, times=2)
    scene.send("a", "0")
    assert bodies(scene.take(scene.source(), 1)) == ["0"]


@situation
def a_lost_answer_that_is_never_repeated_costs_one_visibility(scene: Scene) -> None:
    dead = scene.source()
    scene.send("a", *"01")
    scene.take(dead, 2)
    dead.die()
    assert scene.gives() == []
    scene.pass_time(VISIBILITY_S + 1)
    assert scene.gives() == list("01")


@situation
def a_queue_that_is_deleted_ends_the_worker_in_one_line(scene: Scene) -> None:
    source = scene.source()
    with scene.server.changed:
        del scene.server.queues[scene.name]
    until("it is noticed", lambda: source._failure is not None)
    with pytest.raises(UsageError, match=f"{scene.name} is not there"):
        source.poll(1, 0)


# Deleting.


@situation
def a_deletion_after_expiry_is_counted_and_the_message_comes_again(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)
    scene.pass_time(VISIBILITY_S + 1)
    scene.settle(source, pieces)
    assert source.lost == 1
    assert scene.gives() == ["0"]


@situation
def a_deletion_after_redelivery_takes_nothing_from_the_other(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)
    scene.pass_time(VISIBILITY_S + 1)
    (theirs,) = scene.others_turn()
    scene.settle(source, pieces)
    assert source.lost == 1
    with scene.server.changed:
        scene.queue.delete(theirs.handle)
    assert scene.left() == []


@situation
def one_refused_deletion_of_a_batch_does_not_touch_the_others(scene: Scene) -> None:
    scene.send("a", *"01234")
    source = scene.source()
    pieces = scene.take(source, 5)
    scene.fail("DeleteMessageBatch entry", OUR_FAULT, entry=2)
    scene.settle(source, pieces)
    assert source.lost == 1
    assert scene.left() == ["2"]


@situation
def a_deletion_that_sqs_fails_at_is_made_again(scene: Scene) -> None:
    scene.send("a", *"01234")
    source = scene.source()
    pieces = scene.take(source, 5)
    scene.fail("DeleteMessageBatch entry", ITS_FAULT, entry=2)
    scene.settle(source, pieces)
    assert (source.lost, scene.left()) == (0, [])
    again = scene.requests("DeleteMessageBatch")[-1]["Entries"]
    assert [int(entry["Id"]) for entry in again] == [pieces[2].next_offset]


@situation
def a_deletion_whose_answer_is_lost_is_made_again(scene: Scene) -> None:
    scene.send("a", "0")
    source = scene.source()
    pieces = scene.take(source, 1)
    scene.fail("DeleteMessageBatch", ANSWER_LOST, obeyed=True)
    scene.settle(source, pieces)
    assert (source.lost, scene.left()) == (0, [])


@situation
def ten_are_deleted_with_one_request(scene: Scene) -> None:
    scene.send("a", *map(str, range(10)))
    source = scene.source()
    scene.settle(source, scene.take(source, 10))
    assert [len(request["Entries"]) for request in scene.requests("DeleteMessageBatch")] == [10]


# Deduplication.


@situation
def a_second_sending_within_five_minutes_is_swallowed(scene: Scene) -> None:
    scene.send("a", "0", id="d")
    scene.send("a", "0", id="d")
    assert bodies(scene.take(scene.source(), 1)) == ["0"]
    assert len(scene.left()) == 1


@situation
def it_is_swallowed_although_the_first_was_deleted(scene: Scene) -> None:
    scene.send("a", "0", id="d")
    source = scene.source()
    scene.settle(source, scene.take(source, 1))
    scene.send("a", "0", id="d")
    assert scene.left() == []


@situation
def a_second_sending_after_five_minutes_is_a_duplicate_to_the_guard(scene: Scene) -> None:
    bench = scene.bench("fold")
    working, _ = scene.start(bench)
    scene.send("k", e("k", 1), id="d")
    until("it took effect", lambda: bench.count("applied") == 1 and scene.left() == [])
    scene.pass_time(301)
    scene.send("k", e("k", 1), id="d")
    until("the second one is known", lambda: bench.count("duplicate") == 1)
    until("it is deleted", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"k": [1]}


# Leaving.


@situation
def who_leaves_gives_back_the_tail_first_and_the_head_last(scene: Scene) -> None:
    scene.send("a", *"0123")
    source = scene.source()
    pieces = scene.take(source, 4)
    source.close()
    (request,) = scene.requests("ChangeMessageVisibilityBatch")
    assert {entry["VisibilityTimeout"] for entry in request["Entries"]} == {0}
    assert [int(entry["Id"]) for entry in request["Entries"]] == [piece.next_offset for piece in reversed(pieces)]
    assert scene.gives() == list("0123")


@situation
def who_leaves_deletes_the_successes_first(scene: Scene) -> None:
    scene.send("a", *"0123")
    source = scene.source()
    pieces = scene.take(source, 4)
    source.settle([piece.next_offset for piece in pieces[:2]])
    source.close()
    actions = [name for name, _ in scene.server.calls if name.endswith("Batch")]
    assert actions == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
    assert scene.gives() == list("23")


@situation
def what_a_request_under_way_brings_is_given_back_too(scene: Scene) -> None:
    source, under_way, go_on = scene.source(), threading.Event(), threading.Event()

    def hold(action: str, request: Any) -> None:
        if action == "ReceiveMessage" and scene.queue.messages and not under_way.is_set():
            under_way.set()
            scene.server.changed.wait_for(go_on.is_set, PATIENCE_S)

    scene.server.refuse = hold
    scene.send("a", *"01")
    assert under_way.wait(PATIENCE_S)
    closing = threading.Thread(target=source.close)
    closing.start()
    until("it is closing", lambda: source._stopping)
    go_on.set()
    with scene.server.changed:
        scene.server.changed.notify_all()
    closing.join(PATIENCE_S)
    assert scene.gives() == list("01")


@situation
def what_is_somebody_elses_by_then_is_not_given_back(scene: Scene) -> None:
    scene.send("a", *"01")
    source = scene.source()
    scene.take(source, 2)
    scene.pass_time(VISIBILITY_S + 1)
    scene.others_turn()
    source.close()
    assert scene.requests("ChangeMessageVisibilityBatch") == []
    assert scene.gives() == []


# A worker.


def parked_in_turn(scene: Scene, kind: str) -> None:
    bench = scene.bench(kind)

    def act(entry: Entry) -> None:
        if (entry.key, entry.version) == ("bad", 2):
            raise inorder.Poison("never")

    scene.send("g", *(e(key, version) for version in (1, 2, 3) for key in ("bad", "good")))
    working, _ = scene.start(bench, act)
    until("the group is through", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"bad": [1], "good": [1, 2, 3]}
    assert bench.dead() == [("bad", 2, "failed")]
    assert bench.waiting("bad") == [3]


@situation
def a_failed_key_is_parked_and_its_group_goes_on(scene: Scene) -> None:
    parked_in_turn(scene, "fold")


@situation
def a_failed_key_is_parked_and_its_group_goes_on_tx(scene: Scene) -> None:
    parked_in_turn(scene, "tx")


@situation
def a_failed_key_is_parked_and_its_group_goes_on_call(scene: Scene) -> None:
    parked_in_turn(scene, "call")


def tried_again(scene: Scene, kind: str) -> None:
    bench, failed = scene.bench(kind), threading.Event()

    def act(entry: Entry) -> None:
        if entry.version == 2 and not failed.is_set():
            failed.set()
            raise RuntimeError("once")

    scene.send("g", *(e("k", version) for version in (1, 2, 3)))
    working, _ = scene.start(bench, act)
    until("all took effect", lambda: bench.count("applied") == 3)
    until("all is deleted", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"k": [1, 2, 3]}
    assert bench.count("retries") == 1


@situation
def a_failed_event_is_tried_again_from_the_store(scene: Scene) -> None:
    tried_again(scene, "fold")


@situation
def a_failed_event_is_tried_again_from_the_store_call(scene: Scene) -> None:
    tried_again(scene, "call")


@situation
def an_early_event_is_held_and_deleted_and_its_predecessor_frees_it(scene: Scene) -> None:
    bench = scene.bench("fold")
    working, _ = scene.start(bench)
    scene.send("g", e("k", 2), e("k", 3))
    until("they are held", lambda: bench.waiting("k") == [2, 3])
    until("they are deleted", lambda: scene.left() == [])
    scene.send("another group", e("k", 1))
    until("all took effect", lambda: bench.count("applied") == 3)
    assert working.stop()
    assert bench.effects() == {"k": [1, 2, 3]}


@situation
def a_message_that_is_no_event_is_a_dead_letter_and_its_group_goes_on(scene: Scene) -> None:
    bench = scene.bench("fold")
    scene.send("g", "{not json", e("k", 1))
    working, _ = scene.start(bench)
    until("the group is through", lambda: scene.left() == [])
    assert working.stop()
    (letter,) = bench.letters()
    assert (letter.letter.reason.value, letter.letter.record.value) == ("malformed", b"{not json")
    assert dict(letter.letter.record.headers)["sqs-group"] == b"g"
    assert bench.effects() == {"k": [1]}


@situation
def what_was_committed_and_not_deleted_is_a_duplicate(scene: Scene) -> None:
    bench = scene.bench("tx")
    scene.send("g", e("k", 1), e("k", 2))
    scene.fail("DeleteMessageBatch entry", OUR_FAULT, times=2)
    working, source = scene.start(bench)
    until("it took effect", lambda: bench.count("applied") == 2)
    until("it could not be deleted", lambda: source.lost == 2)
    scene.pass_time(VISIBILITY_S + 1)
    until("it came again, and is deleted", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"k": [1, 2]}
    assert bench.count("duplicate") == 2


def after_another(scene: Scene, kind: str) -> None:
    """A worker is slow, its visibility passes, and another one does its work meanwhile."""
    bench, inside, go_on = scene.bench(kind), threading.Event(), threading.Event()
    stuck = threading.local()

    def slow(entry: Entry) -> None:
        if entry.version == 1 and not getattr(stuck, "seen", False):
            stuck.seen = True
            inside.set()
            assert go_on.wait(PATIENCE_S)

    scene.send("g", *(e("k", version) for version in (1, 2, 3)))
    zombie, its_source = scene.start(bench, slow)
    assert inside.wait(PATIENCE_S)
    its_source.pause([Partition(scene.name, 0)])
    until("it asks for nothing", lambda: not its_source._asking)
    scene.pass_time(VISIBILITY_S + 1)
    if kind == "call":
        heir, _ = scene.start(bench, worker="2")
        until("another one did it all", lambda: bench.count("applied") == 3)
        go_on.set()
    else:
        # One transaction at a time: the other one waits for the store until the slow one is through.
        go_on.set()
        heir, _ = scene.start(bench, worker="2")
    until("all is deleted", lambda: scene.left() == [])
    assert zombie.stop()
    assert heir.stop()
    assert bench.count("applied") == 3
    found = bench.effects()["k"]
    assert list(dict.fromkeys(found)) == [1, 2, 3]
    assert found == [1, 2, 3] or (kind == "call" and sorted(found) == [1, 1, 2, 3] and found.index(3) >= 2)


@situation
def a_slow_fold_past_its_visibility_changes_nothing(scene: Scene) -> None:
    after_another(scene, "fold")


@situation
def a_slow_handler_past_its_visibility_begins_nothing_more(scene: Scene) -> None:
    after_another(scene, "call")


@situation
def an_event_whose_lease_ended_in_the_queue_of_its_lane_is_left_to_the_next(scene: Scene) -> None:
    bench, inside, go_on = scene.bench("call"), threading.Event(), threading.Event()

    def act(entry: Entry) -> None:
        if entry.version == 1:
            inside.set()
            assert go_on.wait(PATIENCE_S)

    scene.send("g", *(e("k", version) for version in (1, 2)))
    working, source = scene.start(bench, act)
    assert inside.wait(PATIENCE_S)
    source.pause([Partition(scene.name, 0)])
    until("it asks for nothing", lambda: not source._asking)
    scene.pass_time(VISIBILITY_S + 1)
    go_on.set()
    until("the first is applied", lambda: bench.count("applied") == 1)
    until("the second was left", lambda: len(source._leases) == 0)
    assert bench.entered == [("k", 1)]
    source.resume([Partition(scene.name, 0)])
    until("it came again", lambda: bench.count("applied") == 2)
    assert working.stop()
    assert bench.effects() == {"k": [1, 2]}


@situation
def a_handler_that_takes_long_keeps_its_message(scene: Scene) -> None:
    bench, inside, go_on = scene.bench("call"), threading.Event(), threading.Event()

    def act(entry: Entry) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    scene.send("g", e("k", 1))
    working, source = scene.start(bench, act)
    assert inside.wait(PATIENCE_S)
    for _ in range(5):
        scene.pass_time(VISIBILITY_S * 0.6)
        source.extend_now()
        assert scene.gives() == []
    go_on.set()
    until("it is deleted", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"k": [1]}
    assert source.lost == 0


@situation
def an_outage_keeps_the_messages_and_gives_up_on_none(scene: Scene) -> None:
    bench, down = scene.bench("fold"), threading.Event()
    down.set()
    tried = threading.Event()

    def act(entry: Entry) -> None:
        tried.set()
        if down.is_set():
            raise inorder.Unavailable("the ledger")

    scene.send("g", e("k", 1), e("k", 2))
    working, source = scene.start(bench, act)
    assert tried.wait(PATIENCE_S)
    scene.pass_time(VISIBILITY_S * 0.6)
    source.extend_now()
    assert scene.gives() == []
    down.clear()
    until("all took effect", lambda: scene.left() == [])
    assert working.stop()
    assert bench.effects() == {"k": [1, 2]}


@situation
def a_worker_that_stops_in_the_middle_of_a_run_deletes_what_is_done(scene: Scene) -> None:
    bench, inside, go_on = scene.bench("call"), threading.Event(), threading.Event()

    def act(entry: Entry) -> None:
        if entry.version == 2:
            inside.set()
            assert go_on.wait(PATIENCE_S)

    scene.send("g", *(e("k", version) for version in (1, 2, 3, 4)))
    working, _ = scene.start(bench, act)
    assert inside.wait(PATIENCE_S)
    working.ask_to_stop()
    runner: Any = working.parts.loop._runner
    until("it starts nothing more", lambda: runner._work._deciding.stopping)
    go_on.set()
    assert working.wait(PATIENCE_S)
    assert bench.effects() == {"k": [1, 2]}
    assert len(scene.gives()) == 2, "the rest is given back at once"


@situation
def a_key_that_waits_for_a_retry_is_woken_by_another_when_its_worker_is_gone(scene: Scene) -> None:
    bench, failing = scene.bench("call"), threading.Event()
    failing.set()

    def act(entry: Entry) -> None:
        if entry.version == 2 and failing.is_set():
            raise RuntimeError("not yet")

    scene.send("g", *(e("k", version) for version in (1, 2, 3)))
    patient = inorder.Retry(attempts=9, delay_s=0.3, factor=1)
    working, _ = scene.start(bench, act, retry=patient)
    until("it waits for its retry", lambda: bench.count("retries") == 1 and scene.left() == [])
    assert working.stop()
    failing.clear()
    heir, _ = scene.start(bench, act, retry=patient, worker="2")
    until("it was woken", lambda: bench.count("applied") == 3)
    assert heir.stop()
    assert bench.effects() == {"k": [1, 2, 3]}


@situation
def a_message_received_too_often_ends_in_the_dead_letter_queue_with_its_whole_run(scene: Scene) -> None:
    """What a low maxReceiveCount does to events that were never tried; the doctor warns of it."""
    dead = f"dead-{scene.name}"
    scene.server.create_fifo(dead)
    scene.name = f"low-{scene.name}"
    scene.queue = scene.server.create_fifo(scene.name, VISIBILITY_S, dlq=dead, max_receives=2)
    scene.send("g", *"012")
    for _ in range(2):
        assert [message.body for message in scene.others_turn()] == list("012")
        scene.pass_time(VISIBILITY_S + 1)
    assert scene.others_turn() == []
    assert [message.body for message in scene.server.queues[dead].messages] == list("012")


@pytest.mark.parametrize("given", SITUATIONS, ids=[one.__name__ for one in SITUATIONS])
def test_situation(scene: Scene, given: Situation) -> None:
    given(scene)
