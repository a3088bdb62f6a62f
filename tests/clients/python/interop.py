#!/usr/bin/env python3
"""Drives a nats-server with the official Python client.

Usage: interop.py SERVER_BINARY

Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.
"""

import asyncio
import sys

import nats
from nats.errors import MaxPayloadError, NoRespondersError

from frame import quiet, receive, run

async def connects(session):
    nc = await session.connect(name="interop")
    assert nc.is_connected
    assert nc.max_payload == 1 << 20, nc.max_payload
    assert nc.client_id > 0
    await nc.flush()


async def publishes_and_subscribes(session):
    nc = await session.connect()
    sub = await nc.subscribe("greet.joe")
    await nc.publish("greet.joe", b"hello", reply="answers.here")
    await nc.publish("greet.joe", b"")
    first, second = await receive(sub, 2)
    assert (first.subject, first.data, first.reply) == ("greet.joe", b"hello", "answers.here")
    assert second.data == b""
    await sub.unsubscribe()
    await nc.publish("greet.joe", b"late")
    await nc.flush()

    limited = await nc.subscribe("limited")
    await limited.unsubscribe(limit=3)
    for i in range(5):
        await nc.publish("limited", str(i).encode())
    await nc.flush()
    assert [m.data for m in await receive(limited, 3)] == [b"0", b"1", b"2"]
    assert limited.delivered == 3, limited.delivered


async def wildcards(session):
    nc = await session.connect()
    star = await nc.subscribe("w.*.c")
    rest = await nc.subscribe("w.>")
    exact = await nc.subscribe("w.b.c")
    for subject in ["w.b.c", "w.x.c", "w.b", "w.b.c.d", "v.b.c", "w"]:
        await nc.publish(subject, b"")
    await nc.flush()
    assert [m.subject for m in await receive(star, 2)] == ["w.b.c", "w.x.c"]
    expected = ["w.b.c", "w.x.c", "w.b", "w.b.c.d"]
    assert [m.subject for m in await receive(rest, 4)] == expected
    assert [m.subject for m in await receive(exact)] == ["w.b.c"]
    for sub in (star, rest, exact):
        await quiet(sub)


async def requests_and_replies(session):
    service, client = await session.connect(), await session.connect()

    async def answer(message):
        await message.respond(b"re: " + message.data)

    await service.subscribe("help", cb=answer)
    await service.flush()
    reply = await client.request("help", b"please", timeout=10)
    assert reply.data == b"re: please"
    many = [client.request("help", str(i).encode(), timeout=10) for i in range(100)]
    replies = await asyncio.gather(*many)
    assert [r.data for r in replies] == [b"re: %d" % i for i in range(100)]
    old = await client.request("help", b"old", timeout=10, old_style=True)
    assert old.data == b"re: old"


async def queue_groups_share(session):
    got = {name: [] for name in ("a", "b", "c", "other", "plain")}

    def keep(name):
        async def callback(message):
            got[name].append(int(message.data))

        return callback

    members = []
    for name, queue in [("a", "q"), ("b", "q"), ("c", "q"), ("other", "p"), ("plain", "")]:
        nc = await session.connect()
        await nc.subscribe("jobs.*", queue=queue, cb=keep(name))
        await nc.flush()
        members.append(nc)
    publisher = await session.connect()
    for i in range(600):
        await publisher.publish(f"jobs.{i % 7}", str(i).encode())
    await publisher.flush()
    for _ in range(500):
        if len(got["a"] + got["b"] + got["c"]) >= 600 and len(got["other"]) >= 600:
            break
        await asyncio.sleep(0.02)
    for nc in members:
        await nc.flush()
    await asyncio.sleep(0.1)
    everything = list(range(600))
    assert sorted(got["a"] + got["b"] + got["c"]) == everything
    assert all(len(got[name]) > 100 for name in "abc"), {n: len(g) for n, g in got.items()}
    assert got["other"] == everything and got["plain"] == everything


async def headers_travel(session):
    nc, other = await session.connect(), await session.connect()
    sub = await nc.subscribe("with.headers")
    await nc.flush()
    await other.publish("with.headers", b"body", headers={"A": "1", "Long-Name": "x y z"})
    await other.publish("with.headers", b"", headers={"Only": "header"})
    await other.publish("with.headers", b"bare")
    first, second, third = await receive(sub, 3)
    assert (first.headers, first.data) == ({"A": "1", "Long-Name": "x y z"}, b"body")
    assert (second.headers, second.data) == ({"Only": "header"}, b"")
    assert (third.headers, third.data) == (None, b"bare")


async def draining_loses_nothing(session):
    nc, publisher = await session.connect(), await session.connect()
    got = []

    async def slowly(message):
        await asyncio.sleep(0.001)
        got.append(int(message.data))

    await nc.subscribe("drain", cb=slowly)
    await nc.flush()
    for i in range(200):
        await publisher.publish("drain", str(i).encode())
    await publisher.flush()
    await nc.drain()
    assert nc.is_closed
    assert got == list(range(200)), len(got)


async def reconnects_after_a_restart(session):
    server = session.server
    down, up = asyncio.Event(), asyncio.Event()

    async def disconnected():
        down.set()

    async def reconnected():
        up.set()

    async def ignore(_error):
        pass

    nc = await session.connect(
        reconnect_time_wait=0.05,
        max_reconnect_attempts=-1,
        disconnected_cb=disconnected,
        reconnected_cb=reconnected,
        error_cb=ignore,
    )
    sub = await nc.subscribe("again.*")
    await nc.publish("again.before", b"")
    assert (await receive(sub))[0].subject == "again.before"
    server.kill()
    await asyncio.wait_for(down.wait(), 10)
    await server.start()
    await asyncio.wait_for(up.wait(), 20)
    await nc.publish("again.after", b"")
    assert (await receive(sub))[0].subject == "again.after"


async def nobody_answers(session):
    nc = await session.connect()
    try:
        await nc.request("nobody.home", b"", timeout=10)
    except NoRespondersError:
        return
    raise AssertionError("no error")


async def a_mebibyte_passes(session):
    nc, other = await session.connect(), await session.connect()
    sub = await nc.subscribe("large")
    await nc.flush()
    payload = bytes(range(256)) * 4096
    assert len(payload) == 1 << 20
    for _ in range(4):
        await other.publish("large", payload)
    await other.flush()
    assert all(m.data == payload for m in await receive(sub, 4))
    try:
        await other.publish("large", payload + b"x")
    except MaxPayloadError:
        return
    raise AssertionError("no error for a payload over the limit")


async def many_messages_stay_in_order(session):
    nc, publisher = await session.connect(), await session.connect()
    sub = await nc.subscribe("order")
    await nc.flush()
    for i in range(10_000):
        await publisher.publish("order", str(i).encode())
    await publisher.flush()
    got = [int(m.data) for m in await receive(sub, 10_000)]
    assert got == list(range(10_000))


async def two_connections_talk(session):
    one, two = await session.connect(), await session.connect()
    assert one.client_id != two.client_id
    at_one, at_two = await one.subscribe("to.one"), await two.subscribe("to.two")
    await one.flush()
    await two.flush()
    await one.publish("to.two", b"a")
    await two.publish("to.one", b"b")
    assert (await receive(at_two))[0].data == b"a"
    assert (await receive(at_one))[0].data == b"b"
    silent = await session.connect(no_echo=True)
    own = await silent.subscribe("echo")
    await silent.publish("echo", b"")
    await silent.flush()
    await quiet(own)


CHECKS = [
    connects,
    publishes_and_subscribes,
    wildcards,
    requests_and_replies,
    queue_groups_share,
    headers_travel,
    draining_loses_nothing,
    reconnects_after_a_restart,
    nobody_answers,
    a_mebibyte_passes,
    many_messages_stay_in_order,
    two_connections_talk,
]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(asyncio.run(run(CHECKS, sys.argv[1])))
