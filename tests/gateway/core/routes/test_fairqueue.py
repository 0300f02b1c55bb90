"""The fair queue: turns, bounds, and a machine with the rules as sentences."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.routes.fairqueue import WAITING_MAX, WAITING_PER_USER_MAX, FairQueue, Ticket


def asked(queue: FairQueue, user: str) -> Ticket:
    ticket = queue.ask(user)
    assert ticket is not None
    return ticket


def served(queue: FairQueue) -> str | None:
    ticket = queue.release()
    return None if ticket is None else ticket.user


def test_places_are_granted_at_once_until_they_are_taken() -> None:
    queue = FairQueue(2)
    assert [asked(queue, "alice").standing for _ in range(3)] == ["granted", "granted", "waiting"]
    assert (queue.in_use, queue.waiting) == (2, 1)


def test_user_with_one_ticket_is_not_behind_a_hundred_of_another() -> None:
    queue = FairQueue(1)
    for user in ("alice", *["alice"] * 100, "bob"):
        asked(queue, user)
    assert [served(queue) for _ in range(3)] == ["alice", "bob", "alice"]


def test_tickets_of_a_user_are_served_in_their_order() -> None:
    queue = FairQueue(1)
    asked(queue, "alice")
    tickets = [asked(queue, "alice") for _ in range(3)]
    assert [queue.release() for _ in range(4)] == [*tickets, None]
    assert queue.in_use == 0


def test_user_who_comes_back_stands_at_the_end() -> None:
    queue = FairQueue(1)
    for user in ("alice", "alice", "bob", "carol"):
        asked(queue, user)
    assert served(queue) == "alice"
    asked(queue, "alice")
    assert [served(queue) for _ in range(3)] == ["bob", "carol", "alice"]


def test_user_alone_cannot_fill_the_queue() -> None:
    queue = FairQueue(1)
    asked(queue, "alice")
    alice = [queue.ask("alice") for _ in range(WAITING_PER_USER_MAX + 1)]
    assert alice[-1] is None and None not in alice[:-1]
    assert asked(queue, "bob").standing == "waiting"


def test_full_queue_takes_nobody_and_one_again_when_one_has_left() -> None:
    queue = FairQueue(1)
    asked(queue, "first")
    tickets = [asked(queue, f"user-{number}") for number in range(WAITING_MAX)]
    assert queue.ask("late") is None
    queue.cancel(tickets[500])
    assert asked(queue, "late").standing == "waiting" and queue.ask("later") is None


def test_ticket_that_left_is_not_served() -> None:
    queue = FairQueue(1)
    asked(queue, "alice")
    left = asked(queue, "bob")
    assert queue.cancel(left) is None and left.standing == "left"
    assert queue.release() is None and queue.waiting == 0


def test_granted_ticket_that_leaves_hands_its_place_on_once() -> None:
    queue = FairQueue(1)
    first, second = asked(queue, "alice"), asked(queue, "bob")
    assert queue.cancel(first) is second and second.standing == "granted"
    assert queue.cancel(first) is None and queue.in_use == 1


def test_place_that_nobody_took_cannot_be_given_back() -> None:
    queue = FairQueue(1)
    with pytest.raises(ValueError, match="nobody had taken"):
        queue.release()
    assert asked(queue, "alice").standing == "granted"


PLACES = 3
USERS = ("alice", "bob", "carol", "dave")


class Places(RuleBasedStateMachine):
    """Users ask, are served, give back and leave in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(PLACES)
        self.holding: list[Ticket] = []
        self.waiting: list[Ticket] = []
        self.overtaken: dict[Ticket, list[str]] = {}
        """Who was served since a ticket came to the front of its user's."""

    def granted(self, ticket: Ticket | None) -> None:
        if ticket is None:
            assert not self.waiting, "somebody waits while a place is free"
            return
        mine = [each for each in self.waiting if each.user == ticket.user]
        assert mine[0] is ticket, "a user's tickets are served in their order"
        self.waiting.remove(ticket)
        self.overtaken.pop(ticket, None)
        self.holding.append(ticket)
        for other in self.overtaken.values():
            other.append(ticket.user)

    def note_fronts(self) -> None:
        for user in USERS:
            front = next((each for each in self.waiting if each.user == user), None)
            if front is not None:
                self.overtaken.setdefault(front, [])

    @rule(user=st.sampled_from(USERS))
    def ask(self, user: str) -> None:
        free = len(self.holding) < PLACES
        ticket = asked(self.queue, user)
        assert (ticket.standing == "granted") == free, "a free place is granted at once, a taken one never"
        (self.holding if free else self.waiting).append(ticket)
        self.note_fronts()

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.holding.remove(data.draw(st.sampled_from(self.holding)))
        self.granted(self.queue.release())
        self.note_fronts()

    @precondition(lambda self: self.holding or self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.holding + self.waiting))
        if ticket in self.holding:
            self.holding.remove(ticket)
            self.granted(self.queue.cancel(ticket))
        else:
            self.waiting.remove(ticket)
            self.overtaken.pop(ticket, None)
            assert self.queue.cancel(ticket) is None, "who only waited has no place to hand on"
        self.note_fronts()

    @invariant()
    def as_many_places_are_in_use_as_were_granted_and_never_more_than_there_are(self) -> None:
        assert self.queue.in_use == len(self.holding) <= PLACES
        assert all(ticket.standing == "granted" for ticket in self.holding)

    @invariant()
    def nobody_who_waits_is_lost_and_nobody_waits_while_a_place_is_free(self) -> None:
        assert self.queue.waiting == len(self.waiting)
        assert not self.waiting or len(self.holding) == PLACES

    @invariant()
    def nobody_is_served_twice_while_another_user_waits(self) -> None:
        for served_since in self.overtaken.values():
            assert len(served_since) == len(set(served_since))


TestFairQueueMachine = Places.TestCase
TestFairQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
