#!/usr/bin/env node
// Drives a nats-server with the official JavaScript client.
//
// Usage: interop.mjs SERVER_BINARY
//
// Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { connect, errors, headers } from "@nats-io/transport-node";

const HOST = "127.0.0.1";
const CHECK_MS = 60_000;

/** The server under test, on a port of its own. */
class Server {
  constructor(binary) {
    this.binary = binary;
    this.log = "";
  }

  async pickPort() {
    const probe = net.createServer().listen(0, HOST);
    await once(probe, "listening");
    this.port = probe.address().port;
    probe.close();
    await once(probe, "close");
  }

  async start() {
    const child = spawn(this.binary, ["-a", HOST, "-p", String(this.port)]);
    this.child = child;
    this.ended = new Promise((resolve, reject) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
      child.once("error", reject);
    });
    // Whoever waits for the end hears of a failure to start; this only keeps it from being loose.
    this.ended.catch(() => {});
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => (this.log += data));
    }
    for (let i = 0; i < 500; i++) {
      if (await this.listens()) return;
      const ended = await Promise.race([this.ended, delay(20)]);
      assert(!ended, `the server ended: ${JSON.stringify(ended)}`);
    }
    assert.fail("the server does not listen");
  }

  listens() {
    return new Promise((resolve) => {
      const socket = net.connect(this.port, HOST);
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  }

  async kill() {
    this.child?.kill("SIGKILL");
    await this.ended;
  }

  /** Ends the server as an operator does. */
  async stop() {
    this.child.kill("SIGTERM");
    const ended = await Promise.race([this.ended, delay(20_000, "no end", { ref: false })]);
    assert.deepEqual(ended, { code: 0, signal: null });
  }
}

/** One check's connections, closed at its end. */
class Session {
  constructor(server) {
    this.server = server;
    this.connections = [];
  }

  async connect(options = {}) {
    const nc = await connect({ servers: `${HOST}:${this.server.port}`, ...options });
    this.connections.push(nc);
    return nc;
  }

  async close() {
    await Promise.all(this.connections.map((nc) => nc.close()));
  }
}

async function receive(subscription, count) {
  const messages = [];
  if (count === 0) return messages;
  for await (const message of subscription) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

/** Collects what a subscription gets. */
function collect(nc, subject, queue) {
  const got = [];
  nc.subscribe(subject, { queue, callback: (error, m) => got.push(error ?? m) });
  return got;
}

async function until(condition, what) {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await delay(20);
  }
  assert.fail(`waited in vain: ${what}`);
}

const numbers = (messages) => messages.map((m) => Number(m.string()));
const upTo = (n) => Array.from({ length: n }, (_, i) => i);
const ascending = (list) => list.toSorted((a, b) => a - b);

const checks = {
  async connects(session) {
    const nc = await session.connect({ name: "interop" });
    assert.equal(nc.info.max_payload, 1 << 20);
    assert.equal(nc.info.headers, true);
    await nc.flush();
    assert((await nc.rtt()) >= 0);
  },

  async publishes_and_subscribes(session) {
    const nc = await session.connect();
    const sub = nc.subscribe("greet.joe", { max: 2 });
    nc.publish("greet.joe", "hello", { reply: "answers.here" });
    nc.publish("greet.joe");
    nc.publish("greet.joe", "late");
    const [first, second] = await receive(sub, 3);
    assert.deepEqual([first.string(), first.reply], ["hello", "answers.here"]);
    assert.equal(second.data.length, 0);
    assert.equal(sub.getReceived(), 2);
    const gone = collect(nc, "gone");
    const ended = nc.subscribe("gone");
    ended.unsubscribe();
    nc.publish("gone", "x");
    await nc.flush();
    assert.equal(gone.length, 1);
    assert.equal(ended.getReceived(), 0);
  },

  async wildcards(session) {
    const nc = await session.connect();
    const star = collect(nc, "w.*.c");
    const rest = collect(nc, "w.>");
    const exact = collect(nc, "w.b.c");
    for (const subject of ["w.b.c", "w.x.c", "w.b", "w.b.c.d", "v.b.c", "w"]) {
      nc.publish(subject);
    }
    await nc.flush();
    const subjects = (messages) => messages.map((m) => m.subject);
    assert.deepEqual(subjects(star), ["w.b.c", "w.x.c"]);
    assert.deepEqual(subjects(rest), ["w.b.c", "w.x.c", "w.b", "w.b.c.d"]);
    assert.deepEqual(subjects(exact), ["w.b.c"]);
  },

  async requests_and_replies(session) {
    const [service, client] = [await session.connect(), await session.connect()];
    service.subscribe("help", { callback: (_, m) => m.respond(`re: ${m.string()}`) });
    await service.flush();
    const many = upTo(100).map((i) => client.request("help", `${i}`, { timeout: 10_000 }));
    const replies = (await Promise.all(many)).map((m) => m.string());
    assert.deepEqual(replies, upTo(100).map((i) => `re: ${i}`));
    const own = await client.request("help", "own", { noMux: true, timeout: 10_000 });
    assert.equal(own.string(), "re: own");
  },

  async queue_groups_share(session) {
    const members = [];
    const join = async (queue) => {
      const nc = await session.connect();
      members.push(nc);
      const got = collect(nc, "jobs.*", queue);
      await nc.flush();
      return got;
    };
    const [a, b, c] = [await join("q"), await join("q"), await join("q")];
    const [other, plain] = [await join("p"), await join()];
    const publisher = await session.connect();
    for (let i = 0; i < 600; i++) publisher.publish(`jobs.${i % 7}`, `${i}`);
    await publisher.flush();
    await until(() => a.length + b.length + c.length >= 600, "the queue group's messages");
    await Promise.all(members.map((nc) => nc.flush()));
    await delay(100);
    assert.deepEqual(ascending(numbers([...a, ...b, ...c])), upTo(600));
    for (const got of [a, b, c]) assert(got.length > 100, `one got only ${got.length}`);
    assert.deepEqual(numbers(other), upTo(600));
    assert.deepEqual(numbers(plain), upTo(600));
  },

  async headers_travel(session) {
    const [nc, other] = [await session.connect(), await session.connect()];
    const sub = nc.subscribe("with.headers");
    await nc.flush();
    const sent = headers();
    sent.append("A", "1");
    sent.append("A", "2");
    sent.append("Long-Name", "x y z");
    other.publish("with.headers", "body", { headers: sent });
    other.publish("with.headers", "", { headers: sent });
    other.publish("with.headers", "bare");
    const [first, second, third] = await receive(sub, 3);
    assert.deepEqual(first.headers.values("A"), ["1", "2"]);
    assert.equal(first.headers.get("Long-Name"), "x y z");
    assert.equal(first.string(), "body");
    assert.equal(second.headers.get("Long-Name"), "x y z");
    assert.equal(second.data.length, 0);
    assert.deepEqual([third.headers, third.string()], [undefined, "bare"]);
  },

  async draining_loses_nothing(session) {
    const [nc, publisher] = [await session.connect(), await session.connect()];
    const sub = nc.subscribe("drain");
    await nc.flush();
    const got = [];
    const reading = (async () => {
      for await (const message of sub) {
        if (got.length % 10 === 0) await delay(1);
        got.push(message);
      }
    })();
    for (let i = 0; i < 200; i++) publisher.publish("drain", `${i}`);
    await publisher.flush();
    await nc.drain();
    await reading;
    assert(nc.isClosed());
    assert.deepEqual(numbers(got), upTo(200));
  },

  async reconnects_after_a_restart(session) {
    const options = { reconnectTimeWait: 50, reconnectJitter: 0, maxReconnectAttempts: -1 };
    const nc = await session.connect(options);
    const seen = new Set();
    (async () => {
      for await (const status of nc.status()) seen.add(status.type);
    })();
    const got = collect(nc, "again.*");
    nc.publish("again.before");
    await nc.flush();
    assert.equal(got.length, 1);
    await session.server.kill();
    await until(() => seen.has("disconnect"), "the disconnection");
    await session.server.start();
    await until(() => seen.has("reconnect"), "the reconnection");
    nc.publish("again.after");
    await nc.flush();
    assert.deepEqual(got.map((m) => m.subject), ["again.before", "again.after"]);
  },

  async nobody_answers(session) {
    const nc = await session.connect();
    const asked = nc.request("nobody.home", "", { timeout: 10_000 });
    await assert.rejects(asked, (error) => {
      const reason = error instanceof errors.RequestError ? error.cause : error;
      return reason instanceof errors.NoRespondersError;
    });
  },

  async a_mebibyte_passes(session) {
    const [nc, other] = [await session.connect(), await session.connect()];
    const sub = nc.subscribe("large");
    await nc.flush();
    const payload = Uint8Array.from({ length: 1 << 20 }, (_, i) => i % 251);
    for (let i = 0; i < 4; i++) other.publish("large", payload);
    await other.flush();
    for (const message of await receive(sub, 4)) {
      assert.equal(Buffer.compare(message.data, payload), 0);
    }
    assert.throws(() => other.publish("large", new Uint8Array((1 << 20) + 1)));
  },

  async many_messages_stay_in_order(session) {
    const [nc, publisher] = [await session.connect(), await session.connect()];
    const sub = nc.subscribe("order");
    await nc.flush();
    for (let i = 0; i < 10_000; i++) publisher.publish("order", `${i}`);
    await publisher.flush();
    assert.deepEqual(numbers(await receive(sub, 10_000)), upTo(10_000));
  },

  async two_connections_talk(session) {
    const [one, two] = [await session.connect(), await session.connect()];
    assert.notEqual(one.info.client_id, two.info.client_id);
    const [atOne, atTwo] = [one.subscribe("to.one"), two.subscribe("to.two")];
    await Promise.all([one.flush(), two.flush()]);
    one.publish("to.two", "a");
    two.publish("to.one", "b");
    assert.equal((await receive(atTwo, 1))[0].string(), "a");
    assert.equal((await receive(atOne, 1))[0].string(), "b");
    const silent = await session.connect({ noEcho: true });
    const own = collect(silent, "echo");
    silent.publish("echo");
    await silent.flush();
    assert.equal(own.length, 0);
  },
};

async function run(binary) {
  const server = new Server(binary);
  let name = "the server starts";
  try {
    await server.pickPort();
    await server.start();
    for (const [check, body] of Object.entries(checks)) {
      name = check;
      const session = new Session(server);
      const late = delay(CHECK_MS, null, { ref: false }).then(() => assert.fail("took too long"));
      await Promise.race([body(session), late]);
      await session.close();
      console.log(`ok ${name}`);
    }
    name = "stops_when_told";
    await server.stop();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.error(error);
    console.error(`the server's log:\n${server.log}`);
    server.child?.kill("SIGKILL");
    return 1;
  }
  return 0;
}

if (process.argv.length !== 3) {
  console.error("Usage: interop.mjs SERVER_BINARY");
  process.exit(2);
}
// A run that comes to a standstill ends without a word; this status tells.
process.exitCode = 3;
process.exit(await run(process.argv[2]));
