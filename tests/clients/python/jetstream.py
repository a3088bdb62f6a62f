#!/usr/bin/env python3
"""Drives streams, consumers, key-value buckets and object stores with the official Python client.

Usage: jetstream.py SERVER_BINARY

Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.
"""

import asyncio
import io
import random
import sys
import tempfile

from nats.errors import TimeoutError as NoMessage
from nats.js import api
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
    ObjectDeletedError,
    ObjectNotFoundError,
)

from frame import run


async def context(session):
    nc = await session.connect()
    return nc.jetstream(timeout=10)


async def fill(js, subject, count):
    for i in range(count):
        await js.publish(subject, str(i).encode())


async def streams_are_made_changed_and_removed(session):
    js = await context(session)
    info = await js.add_stream(name="ORDERS", subjects=["orders.*"], max_msgs=100)
    assert info.config.name == "ORDERS" and info.config.max_msgs == 100
    again = await js.add_stream(name="ORDERS", subjects=["orders.*"], max_msgs=100)
    assert again.config.name == "ORDERS"
    try:
        await js.add_stream(name="OTHER", subjects=["orders.>"])
        raise AssertionError("two streams with one subject")
    except APIError as error:
        assert error.err_code == 10065, error
    info = await js.update_stream(name="ORDERS", subjects=["orders.>"], max_msgs=5)
    assert info.config.subjects == ["orders.>"]
    ack = await js.publish("orders.new", b"first", headers={"Nats-Msg-Id": "1"})
    assert (ack.stream, ack.seq) == ("ORDERS", 1)
    ack = await js.publish("orders.new", b"first", headers={"Nats-Msg-Id": "1"})
    assert ack.duplicate and ack.seq == 1
    try:
        await js.publish("orders.new", b"", headers={"Nats-Expected-Last-Sequence": "7"})
        raise AssertionError("a wrong sequence was taken")
    except APIError as error:
        assert error.err_code == 10071, error
    await fill(js, "orders.old.x", 6)
    info = await js.stream_info("ORDERS")
    assert (info.state.messages, info.state.last_seq) == (5, 7), info.state
    message = await js.get_msg("ORDERS", 7)
    assert (message.subject, message.data) == ("orders.old.x", b"5")
    last = await js.get_last_msg("ORDERS", "orders.old.x")
    assert last.seq == 7
    assert await js.delete_msg("ORDERS", 7)
    assert [s.config.name for s in await js.streams_info()] == ["ORDERS"]
    assert await js.find_stream_name_by_subject("orders.new") == "ORDERS"
    assert await js.purge_stream("ORDERS")
    assert (await js.stream_info("ORDERS")).state.messages == 0
    assert await js.delete_stream("ORDERS")
    try:
        await js.stream_info("ORDERS")
        raise AssertionError("it is still there")
    except NotFoundError:
        pass


async def pull_consumers_get_what_they_ask_for(session):
    js = await context(session)
    await js.add_stream(name="PULL", subjects=["pull.>"])
    await fill(js, "pull.a", 50)
    await fill(js, "pull.b", 50)
    # With no more than ten that wait, those that come next are known.
    config = api.ConsumerConfig(filter_subject="pull.b", ack_wait=1, max_ack_pending=10)
    sub = await js.pull_subscribe("pull.b", durable="worker", stream="PULL", config=config)
    got = await sub.fetch(10, timeout=10)
    assert [int(m.data) for m in got] == list(range(10))
    for message in got:
        await message.ack_sync()
    got = await sub.fetch(10, timeout=10)
    for message in got:
        await message.nak()
    again = await sub.fetch(10, timeout=10)
    assert sorted(int(m.data) for m in again) == list(range(10, 20))
    assert all(m.metadata.num_delivered == 2 for m in again)
    assert min(m.metadata.sequence.stream for m in again) == 61
    for message in again:
        await message.ack_sync()
    await (await sub.fetch(1, timeout=10))[0].term()
    late = (await sub.fetch(1, timeout=10))[0]
    await late.in_progress()
    # It is not acknowledged in time, and so comes once more.
    rest = []
    while len(rest) < 29:
        for message in await sub.fetch(5, timeout=10):
            rest.append(int(message.data))
            await message.ack_sync()
    assert sorted(rest) == list(range(21, 50))
    assert int(late.data) == 21
    info = await sub.consumer_info()
    assert (info.num_pending, info.num_ack_pending) == (0, 0), info
    assert info.ack_floor.stream_seq == 100, info
    try:
        await sub.fetch(1, timeout=0.3)
        raise AssertionError("more than there was")
    except NoMessage:
        pass
    assert [c.name for c in await js.consumers_info("PULL")] == ["worker"]
    assert await js.delete_consumer("PULL", "worker")


async def push_consumers_are_sent_messages(session):
    js, other = await context(session), await context(session)
    await js.add_stream(name="PUSH", subjects=["push.>"], storage="memory")
    got, done = [], asyncio.Event()

    async def take(message):
        got.append(int(message.data))
        await message.ack()
        if len(got) == 200:
            done.set()

    sub = await js.subscribe("push.x", durable="pushed", cb=take, manual_ack=True)
    await fill(other, "push.x", 200)
    await asyncio.wait_for(done.wait(), 20)
    assert got == list(range(200))
    for _ in range(200):
        info = await js.consumer_info("PUSH", "pushed")
        if info.num_ack_pending == 0:
            break
        await asyncio.sleep(0.02)
    assert info.ack_floor.stream_seq == 200, info
    await sub.unsubscribe()
    # A group shares what there is.
    shared = [await js.subscribe("push.y", queue="group", stream="PUSH") for _ in range(2)]
    await fill(other, "push.y", 100)
    count = 0
    while count < 100:
        takes = [asyncio.ensure_future(s.next_msg(timeout=0.5)) for s in shared]
        for result in await asyncio.gather(*takes, return_exceptions=True):
            if not isinstance(result, Exception):
                await result.ack()
                count += 1
    assert count == 100


async def ordered_consumers_see_everything_in_order(session):
    js = await context(session)
    await js.add_stream(name="ORDERED", subjects=["ordered"])
    for i in range(500):
        await js.publish("ordered", b"%d " % i + b"x" * 1000)
    sub = await js.subscribe("ordered", ordered_consumer=True)
    for i in range(500):
        message = await sub.next_msg(timeout=10)
        assert message.data.split()[0] == b"%d" % i
    await sub.unsubscribe()


async def buckets_keep_values_and_their_history(session):
    js = await context(session)
    kv = await js.create_key_value(bucket="config", history=5)
    assert await kv.put("a.b", b"1") == 1
    assert await kv.put("a.b", b"2") == 2
    entry = await kv.get("a.b")
    assert (entry.value, entry.revision) == (b"2", 2)
    assert (await kv.get("a.b", revision=1)).value == b"1"
    assert await kv.update("a.b", b"3", last=2) == 3
    try:
        await kv.update("a.b", b"4", last=2)
        raise AssertionError("an old revision was taken")
    except KeyWrongLastSequenceError:
        pass
    assert await kv.create("new", b"x") == 4
    try:
        await kv.create("new", b"y")
        raise AssertionError("it was made twice")
    except KeyWrongLastSequenceError:
        pass
    assert [e.value for e in await kv.history("a.b")] == [b"1", b"2", b"3"]
    assert sorted(await kv.keys()) == ["a.b", "new"]
    await kv.delete("new")
    try:
        await kv.get("new")
        raise AssertionError("it is still there")
    except KeyNotFoundError:
        pass
    assert await kv.create("new", b"again") > 4
    await kv.purge("a.b")
    history = await kv.history("a.b")
    assert [e.operation for e in history] == ["PURGE"], history
    try:
        await kv.get("never")
        raise AssertionError("it never was")
    except KeyNotFoundError:
        pass
    status = await kv.status()
    assert (status.bucket, status.history) == ("config", 5)
    await kv.purge_deletes(olderthan=-1)
    assert await kv.keys() == ["new"]
    await js.delete_key_value("config")
    try:
        await js.key_value("config")
        raise AssertionError("it is still there")
    except BucketNotFoundError:
        pass


async def buckets_are_watched(session):
    js = await context(session)
    kv = await js.create_key_value(bucket="watched")
    await kv.put("t.one", b"1")
    await kv.put("u.two", b"2")
    watcher = await kv.watch("t.*")
    first = await watcher.updates(timeout=10)
    assert (first.key, first.value) == ("t.one", b"1")
    assert await watcher.updates(timeout=10) is None, "the end of what there was"
    await kv.put("u.two", b"3")
    await kv.put("t.three", b"3")
    await kv.delete("t.one")
    update = await watcher.updates(timeout=10)
    assert (update.key, update.value) == ("t.three", b"3")
    update = await watcher.updates(timeout=10)
    assert (update.key, update.operation) == ("t.one", "DEL")
    await watcher.stop()


async def keys_go_when_their_time_is_over(session):
    js = await context(session)
    kv = await js.create_key_value(bucket="shortlived", ttl=1)
    await kv.put("k", b"v")
    assert (await kv.get("k")).value == b"v"
    for _ in range(200):
        try:
            await kv.get("k")
        except KeyNotFoundError:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it stays for ever")


async def keys_with_a_time_of_their_own_leave_a_marker(session):
    js = await context(session)
    kv = await js.create_key_value(bucket="marked", history=5, limit_marker_ttl=1)
    assert (await kv.status()).marker_ttl == 1
    await kv.put("stays", b"v")
    watcher = await kv.watch("*", include_history=True)
    await kv.create("goes", b"v", msg_ttl=1)
    seen = []
    while True:
        entry = await watcher.updates(timeout=10)
        if entry is not None:
            seen.append((entry.key, entry.value, entry.operation))
            if entry.operation is not None:
                break
    await watcher.stop()
    # A time shorter than that of markers would become that one. Its end is told as a purge.
    assert seen[:2] == [("stays", b"v", None), ("goes", b"v", None)], seen
    assert seen[2][0] == "goes" and seen[2][2] == "PURGE", seen
    # The marker goes after the same time.
    state = None
    for _ in range(200):
        state = (await js.stream_info("KV_marked", subjects_filter="$KV.marked.goes")).state
        if not state.subjects:
            break
        await asyncio.sleep(0.05)
    assert not state.subjects, state
    # What was purged with a time is gone with it, marker and all.
    await kv.put("other", b"1")
    await kv.put("other", b"2")
    assert [entry.value for entry in await kv.history("other")] == [b"1", b"2"]
    await kv.purge("other", msg_ttl=1)
    assert len(await kv.history("other")) == 1
    for _ in range(200):
        state = (await js.stream_info("KV_marked", subjects_filter="$KV.marked.other")).state
        if not state.subjects:
            break
        await asyncio.sleep(0.05)
    assert not state.subjects, state
    await kv.delete("stays")
    assert [entry.operation for entry in await kv.history("stays")] == [None, "DEL"]
    await js.delete_key_value("marked")


async def large_objects_are_stored_in_pieces(session):
    js = await context(session)
    store = await js.create_object_store(bucket="large")
    piece = random.Random(8).randbytes(1 << 20)
    data = piece * 64
    info = await store.put("all", data)
    assert (info.size, info.chunks) == (64 << 20, 512), info
    result = await store.get("all")
    assert result.data == data
    await store.delete("all")
    assert (await js.stream_info("OBJ_large")).state.messages == 1
    await js.delete_object_store("large")


async def objects_are_stored_in_pieces(session):
    js = await context(session)
    store = await js.create_object_store(bucket="files")
    data = random.Random(7).randbytes(1_500_000)
    meta = api.ObjectMeta(description="noise", headers={"kind": "random"})
    info = await store.put("big.bin", data, meta=meta)
    assert (info.size, info.chunks) == (len(data), 12), info
    result = await store.get("big.bin")
    assert result.data == data and result.info.description == "noise"
    target = io.BytesIO()
    await store.get("big.bin", writeinto=target)
    assert target.getvalue() == data
    await store.put("small", b"tiny")
    assert sorted(o.name for o in await store.list()) == ["big.bin", "small"]
    await store.put("small", b"tiny, too")
    assert (await store.get("small")).data == b"tiny, too"
    await store.update_meta("small", api.ObjectMeta(name="small", description="not large"))
    info = await store.get_info("small")
    assert (info.size, info.description) == (9, "not large")
    await store.delete("big.bin")
    try:
        await store.get("big.bin")
        raise AssertionError("it is still there")
    except (ObjectDeletedError, ObjectNotFoundError):
        pass
    assert (await js.stream_info("OBJ_files")).state.messages == 3
    await store.seal()
    assert (await store.status()).sealed
    await js.delete_object_store("files")


async def everything_is_there_after_a_restart(session):
    js = await context(session)
    await js.add_stream(name="KEPT", subjects=["kept"])
    sub = await js.pull_subscribe("kept", durable="d", stream="KEPT")
    await fill(js, "kept", 100)
    for message in await sub.fetch(40, timeout=10):
        await message.ack_sync()
    session.server.kill()
    await session.server.start()
    js = await context(session)
    info = await js.stream_info("KEPT")
    assert (info.state.messages, info.state.last_seq) == (100, 100), info.state
    sub = await js.pull_subscribe_bind("d", stream="KEPT")
    assert int((await sub.fetch(1, timeout=10))[0].data) == 40


CHECKS = [
    streams_are_made_changed_and_removed,
    pull_consumers_get_what_they_ask_for,
    push_consumers_are_sent_messages,
    ordered_consumers_see_everything_in_order,
    buckets_keep_values_and_their_history,
    buckets_are_watched,
    keys_go_when_their_time_is_over,
    keys_with_a_time_of_their_own_leave_a_marker,
    large_objects_are_stored_in_pieces,
    objects_are_stored_in_pieces,
    everything_is_there_after_a_restart,
]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(asyncio.run(run(CHECKS, sys.argv[1], "-js", "-sd", directory)))
