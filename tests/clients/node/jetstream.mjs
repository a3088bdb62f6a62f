#!/usr/bin/env node
// Drives streams, consumers, key-value buckets and object stores with the official client for Node.
//
// Usage: jetstream.mjs SERVER_BINARY
//
// Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { connect, createInbox, headers, nanos } from "@nats-io/transport-node";

const HOST = "127.0.0.1";
const CHECK_MS = 60_000;

async function freePort() {
  const probe = net.createServer().listen(0, HOST);
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** Waits until a condition holds, and gives what it gave. */
async function until(condition, what) {
  for (let i = 0; i < 500; i++) {
    const got = await condition();
    if (got) return got;
    await delay(20);
  }
  assert.fail(`waited in vain: ${what}`);
}

/** The first messages, or other things, of something that gives them one after the other. */
async function take(from, count) {
  const got = [];
  for await (const one of from) {
    got.push(one);
    if (got.length === count) break;
  }
  return got;
}

const numbers = (messages) => messages.map((m) => Number(m.string()));
const upTo = (n) => Array.from({ length: n }, (_, i) => i);

async function fill(js, subject, count) {
  for (let i = 0; i < count; i++) await js.publish(subject, `${i}`);
}

const checks = {
  async streams_are_made_changed_and_removed({ js, jsm }) {
    const config = { name: "ORDERS", subjects: ["orders.*"], max_msgs: 100 };
    const made = await jsm.streams.add(config);
    assert.equal(made.config.max_msgs, 100);
    await jsm.streams.add(config);
    await assert.rejects(jsm.streams.add({ name: "OTHER", subjects: ["orders.>"] }), (e) => {
      return e.code === 10065;
    });
    await jsm.streams.update("ORDERS", { subjects: ["orders.>"], max_msgs: 5 });
    const first = await js.publish("orders.new", "first", { msgID: "1" });
    assert.deepEqual([first.stream, first.seq, first.duplicate], ["ORDERS", 1, false]);
    assert((await js.publish("orders.new", "first", { msgID: "1" })).duplicate);
    const expect = { lastSequence: 7 };
    await assert.rejects(js.publish("orders.new", "x", { expect }), (e) => e.code === 10071);
    await fill(js, "orders.old.x", 6);
    const info = await jsm.streams.info("ORDERS", { subjects_filter: ">" });
    assert.deepEqual([info.state.messages, info.state.last_seq], [5, 7]);
    assert.deepEqual(info.state.subjects, { "orders.old.x": 5 });
    const h = headers();
    h.set("kind", "special");
    await js.publish("orders.new", "with", { headers: h });
    const message = await jsm.streams.getMessage("ORDERS", { last_by_subj: "orders.new" });
    assert.deepEqual([message.seq, message.string(), message.header.get("kind")], [8, "with", "special"]);
    assert(await jsm.streams.deleteMessage("ORDERS", 8));
    assert.deepEqual(await jsm.streams.names().next(), ["ORDERS"]);
    assert.equal(await jsm.streams.find("orders.new"), "ORDERS");
    assert.equal((await jsm.streams.purge("ORDERS", { keep: 1 })).purged, 3);
    assert(await jsm.streams.delete("ORDERS"));
    await assert.rejects(jsm.streams.info("ORDERS"), (e) => e.code === 10059);
    const account = await jsm.getAccountInfo();
    assert.equal(account.streams, 0);
  },

  async pull_consumers_get_what_they_ask_for({ js, jsm }) {
    await jsm.streams.add({ name: "PULL", subjects: ["pull.>"] });
    await fill(js, "pull.a", 50);
    await fill(js, "pull.b", 50);
    await jsm.consumers.add("PULL", {
      durable_name: "worker",
      ack_policy: AckPolicy.Explicit,
      filter_subjects: ["pull.b"],
      ack_wait: nanos(20_000),
    });
    const consumer = await js.consumers.get("PULL", "worker");
    const got = await take(await consumer.fetch({ max_messages: 20 }), 20);
    assert.deepEqual(numbers(got), upTo(20));
    for (const m of got.slice(0, 10)) assert(await m.ackAck());
    for (const m of got.slice(10)) m.nak();
    const again = await take(await consumer.fetch({ max_messages: 10 }), 10);
    assert.deepEqual(numbers(again), upTo(20).slice(10));
    assert(again.every((m) => m.info.deliveryCount === 2 && m.redelivered));
    for (const m of again) assert(await m.ackAck());
    const one = await consumer.next();
    one.term("not wanted");
    const messages = await consumer.consume({ max_messages: 7 });
    const rest = [];
    for await (const m of messages) {
      rest.push(m);
      await m.ackAck();
      if (m.info.pending === 0) break;
    }
    assert.deepEqual(numbers(rest), upTo(50).slice(21));
    const info = await consumer.info();
    assert.deepEqual([info.num_pending, info.num_ack_pending], [0, 0]);
    assert.equal(await consumer.next({ expires: 1000 }), null);
    assert(await jsm.consumers.delete("PULL", "worker"));
  },

  async push_consumers_are_sent_messages({ js, jsm }) {
    await jsm.streams.add({ name: "PUSH", subjects: ["push.>"], storage: "memory" });
    await jsm.consumers.add("PUSH", {
      durable_name: "pushed",
      ack_policy: AckPolicy.Explicit,
      deliver_subject: createInbox(),
      flow_control: true,
      idle_heartbeat: nanos(1000),
    });
    const consumer = await js.consumers.getPushConsumer("PUSH", "pushed");
    const messages = await consumer.consume();
    await fill(js, "push.x", 200);
    const got = [];
    for await (const m of messages) {
      got.push(m);
      await m.ackAck();
      if (got.length === 200) break;
    }
    assert.deepEqual(numbers(got), upTo(200));
    const info = await jsm.consumers.info("PUSH", "pushed");
    assert.deepEqual([info.num_ack_pending, info.ack_floor.stream_seq], [0, 200]);
  },

  async ordered_consumers_see_everything_in_order({ js, jsm }) {
    await jsm.streams.add({ name: "ORDERED", subjects: ["ordered.*"] });
    await fill(js, "ordered.a", 300);
    await fill(js, "ordered.b", 10);
    const consumer = await js.consumers.get("ORDERED", { filter_subjects: "ordered.a" });
    assert.deepEqual(numbers(await take(await consumer.consume(), 300)), upTo(300));
    const last = await js.consumers.get("ORDERED", { deliver_policy: DeliverPolicy.LastPerSubject, filter_subjects: "ordered.*" });
    assert.deepEqual(numbers(await take(await last.consume(), 2)), [299, 9]);
  },

  async messages_are_got_directly({ js, jsm }) {
    await jsm.streams.add({ name: "DIRECT", subjects: ["direct.>"], allow_direct: true });
    await fill(js, "direct.a", 10);
    await fill(js, "direct.b", 10);
    const direct = jsm.direct;
    assert.equal((await direct.getMessage("DIRECT", { seq: 3 })).string(), "2");
    assert.equal((await direct.getMessage("DIRECT", { last_by_subj: "direct.b" })).seq, 20);
    const batch = await direct.getBatch("DIRECT", { seq: 5, batch: 4 });
    assert.deepEqual((await take(batch, 4)).map((m) => m.seq), [5, 6, 7, 8]);
    const lasts = await direct.getLastMessagesFor("DIRECT", { multi_last: ["direct.>"] });
    assert.deepEqual((await take(lasts, 2)).map((m) => m.seq), [10, 20]);
  },

  async buckets_keep_values_and_their_history({ nc }) {
    const kvm = new Kvm(nc);
    const kv = await kvm.create("config", { history: 5 });
    assert.equal(await kv.put("a.b", "1"), 1);
    assert.equal(await kv.put("a.b", "2"), 2);
    const entry = await kv.get("a.b");
    assert.deepEqual([entry.string(), entry.revision], ["2", 2]);
    assert.equal((await kv.get("a.b", { revision: 1 })).string(), "1");
    assert.equal(await kv.update("a.b", "3", 2), 3);
    await assert.rejects(kv.update("a.b", "4", 2), (e) => e.code === 10071);
    assert.equal(await kv.create("new", "x"), 4);
    await assert.rejects(kv.create("new", "y"));
    const history = await take(await kv.history({ key: "a.b" }), 3);
    assert.deepEqual(history.map((e) => e.string()), ["1", "2", "3"]);
    assert.deepEqual((await take(await kv.keys())).sort(), ["a.b", "new"]);
    await kv.delete("new");
    assert.equal((await kv.get("new")).operation, "DEL");
    await kv.create("new", "again");
    await kv.purge("a.b");
    assert.equal((await kv.get("a.b")).operation, "PURGE");
    assert.equal(await kv.get("never"), null);
    assert.equal((await kv.status()).history, 5);
    assert(await kv.destroy());
  },

  async buckets_are_watched({ nc }) {
    const kv = await new Kvm(nc).create("watched");
    await kv.put("t.one", "1");
    await kv.put("u.two", "2");
    const watch = await kv.watch({ key: "t.*" });
    const seen = [];
    const done = (async () => {
      for await (const e of watch) {
        seen.push(`${e.operation} ${e.key} ${e.string()}`);
        if (seen.length === 3) break;
      }
    })();
    await until(() => seen.length === 1, "the first value");
    await kv.put("t.three", "3");
    await kv.delete("t.one");
    await done;
    assert.deepEqual(seen, ["PUT t.one 1", "PUT t.three 3", "DEL t.one "]);
  },

  async keys_go_when_their_time_is_over({ nc }) {
    const kv = await new Kvm(nc).create("shortlived", { ttl: 1000 });
    await kv.put("k", "v");
    assert.equal((await kv.get("k")).string(), "v");
    await until(async () => (await kv.get("k")) === null, "the end of a key");
  },

  async keys_with_a_time_of_their_own_leave_a_marker({ nc, jsm }) {
    const kvm = new Kvm(nc);
    const kv = await kvm.create("marked", { history: 5, markerTTL: 1000 });
    assert.equal((await kv.status()).markerTTL, 1000);
    await kv.put("stays", "v");
    const watch = await kv.watch({ key: "*" });
    const seen = [];
    const done = (async () => {
      for await (const e of watch) {
        seen.push(`${e.operation} ${e.key} ${e.string()}`);
        if (seen.length === 3) break;
      }
    })();
    await kv.create("goes", "v", "1s");
    await done;
    // The end of a key is told by the marker in its place.
    assert.deepEqual(seen.slice(0, 2), ["PUT stays v", "PUT goes v"]);
    assert.match(seen[2], /^(PURGE|MaxAge|DEL) goes $/);
    const isGone = async (key) => {
      const subjects_filter = `$KV.marked.${key}`;
      return !(await jsm.streams.info("KV_marked", { subjects_filter })).state.subjects;
    };
    await until(() => isGone("goes"), "the end of the marker");
    // What was purged with a time is gone with it, marker and all.
    await kv.put("other", "1");
    await kv.put("other", "2");
    await kv.purge("other", { ttl: "1s" });
    assert.equal((await kv.get("other")).operation, "PURGE");
    await until(() => isGone("other"), "the end of a purge");
    assert.equal(await kv.get("other"), null);
    assert.equal((await kv.get("stays")).string(), "v");
    // A key that is gone can be made anew.
    await kv.create("goes", "again");
    assert.equal((await kv.get("goes")).string(), "again");
    assert(await kv.destroy());
  },

  async objects_are_stored_in_pieces({ nc, jsm }) {
    const store = await new Objm(nc).create("files");
    const data = randomBytes(1_500_000);
    const info = await store.putBlob({ name: "big.bin", description: "noise" }, data);
    assert.deepEqual([info.size, info.chunks], [data.length, 12]);
    assert.deepEqual(Buffer.from(await store.getBlob("big.bin")), data);
    await store.putBlob({ name: "small" }, Buffer.from("tiny"));
    await store.putBlob({ name: "small" }, Buffer.from("tiny, too"));
    assert.equal(Buffer.from(await store.getBlob("small")).toString(), "tiny, too");
    assert.deepEqual((await store.list()).map((o) => o.name).sort(), ["big.bin", "small"]);
    await store.update("small", { name: "renamed" });
    assert.equal((await store.info("renamed")).size, 9);
    await store.delete("big.bin");
    assert.equal((await store.info("big.bin")).deleted, true);
    assert.equal((await jsm.streams.info("OBJ_files")).state.messages, 3);
    assert((await store.seal()).sealed);
    assert(await store.destroy());
  },
};

async function run(binary) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "jetstream-"));
  const port = await freePort();
  const child = spawn(binary, ["-a", HOST, "-p", String(port), "-js", "-sd", dir]);
  const ended = once(child, "exit");
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log += data));
  let name = "the server starts";
  try {
    await until(() => log.includes("Server is ready"), "the server");
    for (const [check, body] of Object.entries(checks)) {
      name = check;
      const nc = await connect({ servers: `${HOST}:${port}` });
      const parts = { nc, js: jetstream(nc), jsm: await jetstreamManager(nc) };
      const late = delay(CHECK_MS, null, { ref: false }).then(() => assert.fail("took too long"));
      await Promise.race([body(parts), late]);
      await nc.close();
      console.log(`ok ${name}`);
    }
    name = "stops_when_told";
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.error(error);
    console.error(`the server's log:\n${log}`);
    child.kill("SIGKILL");
    await ended;
    return 1;
  } finally {
    fs.rmSync(dir, { recursive: true, force: true });
  }
  return 0;
}

if (process.argv.length !== 3) {
  console.error("Usage: jetstream.mjs SERVER_BINARY");
  process.exit(2);
}
// A run that comes to a standstill ends without a word; this status tells.
process.exitCode = 3;
process.exit(await run(process.argv[2]));
