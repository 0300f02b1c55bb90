"""Places at an upstream: waiting for one, and that none is lost when somebody leaves."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.core.routes.fairqueue import WAITING_PER_USER_MAX
from gateway.slots import Slots

LONG_SECONDS = 30.0


def taking(slots: Slots, user: str = "alice") -> asyncio.Task[bool]:
    return asyncio.create_task(slots.take(user, timeout_seconds=LONG_SECONDS))


async def waits(slots: Slots, count: int) -> None:
    while slots.waiting != count:
        await asyncio.sleep(0)


async def full(places: int = 1) -> Slots:
    slots = Slots(places)
    for _ in range(places):
        assert await slots.take("first", timeout_seconds=0)
    return slots


async def test_places_are_taken_at_once_while_there_are_any() -> None:
    slots = await full(3)
    assert (slots.in_use, slots.waiting) == (3, 0)


async def test_place_given_back_goes_to_whoever_waits() -> None:
    slots = await full()
    waiter = taking(slots)
    await waits(slots, 1)
    slots.release()
    assert await waiter and (slots.in_use, slots.waiting) == (1, 0)


async def test_users_are_served_in_turn() -> None:
    slots, served = await full(), list[str]()

    async def use(user: str) -> None:
        assert await slots.take(user, timeout_seconds=LONG_SECONDS)
        served.append(user)
        slots.release()

    async with asyncio.TaskGroup() as group:
        for number, user in enumerate(["alice", "alice", "alice", "bob"], 1):
            group.create_task(use(user))
            await waits(slots, number)
        slots.release()
    assert served == ["alice", "bob", "alice", "alice"]
    assert slots.in_use == 0


async def test_wait_that_takes_too_long_ends_without_a_place() -> None:
    slots = await full()
    assert not await slots.take("alice", timeout_seconds=0.01)
    slots.release()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_queue_that_is_full_refuses_at_once() -> None:
    slots = await full()
    waiters = [taking(slots) for _ in range(WAITING_PER_USER_MAX)]
    await waits(slots, WAITING_PER_USER_MAX)
    assert not await slots.take("alice", timeout_seconds=LONG_SECONDS)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert (slots.in_use, slots.waiting) == (1, 0)


async def test_waiter_who_leaves_is_not_served() -> None:
    slots = await full()
    leaver, stayer = taking(slots), taking(slots)
    await waits(slots, 2)
    leaver.cancel()
    await waits(slots, 1)
    slots.release()
    assert await stayer and leaver.cancelled()


def release_then_cancel(slots: Slots, waiter: asyncio.Task[bool]) -> None:
    slots.release()
    waiter.cancel()


def cancel_then_release(slots: Slots, waiter: asyncio.Task[bool]) -> None:
    waiter.cancel()
    slots.release()


@pytest.mark.parametrize("race", [release_then_cancel, cancel_then_release])
async def test_place_granted_to_one_who_leaves_at_that_moment_is_handed_on(
    race: Callable[[Slots, asyncio.Task[bool]], None],
) -> None:
    slots = await full()
    leaver, next_one = taking(slots), taking(slots, "bob")
    await waits(slots, 2)
    race(slots, leaver)
    assert await next_one and leaver.cancelled()
    assert (slots.in_use, slots.waiting) == (1, 0)


@pytest.mark.parametrize("race", [release_then_cancel, cancel_then_release])
async def test_place_granted_to_one_who_leaves_is_free_when_nobody_waits(
    race: Callable[[Slots, asyncio.Task[bool]], None],
) -> None:
    slots = await full()
    leaver = taking(slots)
    await waits(slots, 1)
    race(slots, leaver)
    await asyncio.wait([leaver])
    assert leaver.cancelled() and slots.in_use == 0


async def test_place_granted_as_the_wait_ends_is_kept_or_free_but_never_lost() -> None:
    for _ in range(50):
        slots = await full()
        waiter = asyncio.create_task(slots.take("alice", timeout_seconds=0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        slots.release()
        assert slots.in_use == int(await waiter)


async def test_without_a_maximum_places_are_only_counted() -> None:
    slots = Slots(None)
    assert all([await slots.take("alice", timeout_seconds=0) for _ in range(5000)])
    slots.release()
    assert (slots.in_use, slots.waiting) == (4999, 0)


@pytest.mark.parametrize("concurrent_max", [None, 2])
def test_place_that_nobody_took_cannot_be_given_back(concurrent_max: int | None) -> None:
    slots = Slots(concurrent_max)
    with pytest.raises(ValueError, match="nobody had taken"):
        slots.release()
    assert slots.in_use == 0


async def test_many_users_with_two_places_never_hold_more_and_all_are_served() -> None:
    slots, held, served = Slots(2), list[int](), list[str]()

    async def use(user: str, work: Awaitable[None]) -> None:
        assert await slots.take(user, timeout_seconds=LONG_SECONDS)
        held.append(slots.in_use)
        await work
        served.append(user)
        slots.release()

    await asyncio.gather(*(use(f"user-{number % 7}", asyncio.sleep(0)) for number in range(200)))
    assert len(served) == 200 and max(held) == 2
    assert (slots.in_use, slots.waiting) == (0, 0)
