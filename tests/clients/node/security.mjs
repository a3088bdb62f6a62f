// Drives a nats-server that asks who is there, with the official client for Node.
//
// Usage: security.mjs SERVER_BINARY
//
// Prints `ok NAME` for each check; ends with a non-zero status at the first that fails.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";

const HOST = "127.0.0.1";
// A user's key pair, made for this check.
const SEED = "SUACUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKTGMM";
const PUBLIC = "UAMX62ZD4FWIKMWGVPEDR6WNL2TYTPQMO2ZJEAZUAON7VCZ5G2GWCXLM";

async function freePort() {
  const probe = net.createServer().listen(0, HOST);
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** Runs `body` with a way to connect to a server with this configuration. */
async function withServer(binary, dir, conf, body) {
  const port = await freePort();
  const file = path.join(dir, "server.conf");
  fs.writeFileSync(file, conf);
  const child = spawn(binary, ["-a", HOST, "-p", String(port), "-c", file]);
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log += data));
  try {
    for (let i = 0; i < 500 && !log.includes("Server is ready"); i++) await delay(20);
    const reach = (options, host = HOST) =>
      connect({ servers: `${host}:${port}`, reconnect: false, timeout: 10_000, ...options });
    await body(reach);
  } catch (error) {
    console.error(`the server's log:\n${log}`);
    throw error;
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

/** Whether what one client publishes comes to the other. */
async function hears(publisher, subscriber) {
  let heard = false;
  const sub = subscriber.subscribe("ok.talk", { callback: () => (heard = true) });
  await subscriber.flush();
  publisher.publish("ok.talk", "hi");
  await publisher.flush();
  await subscriber.flush();
  for (let i = 0; i < 15 && !heard; i++) await delay(20);
  sub.unsubscribe();
  return heard;
}

const checks = {
  async users_and_keys(binary, dir) {
    const conf = `accounts {
      A { users: [{user: a, password: a}] }
      B { users: [{nkey: ${PUBLIC}}] }
    }`;
    await withServer(binary, dir, conf, async (reach) => {
      const a = await reach({ user: "a", pass: "a" });
      const authenticator = nkeyAuthenticator(new TextEncoder().encode(SEED));
      const b = await reach({ authenticator });
      assert.ok((await hears(a, a)) && (await hears(b, b)));
      assert.ok(!(await hears(a, b)) && !(await hears(b, a)));
      await assert.rejects(reach({ user: "a", pass: "b" }), /Authorization/i);
      await assert.rejects(reach({}), /Authorization/i);
      await Promise.all([a.close(), b.close()]);
    });
  },

  async tokens(binary, dir) {
    await withServer(binary, dir, "authorization { token: s3cret }", async (reach) => {
      await (await reach({ token: "s3cret" })).close();
      await assert.rejects(reach({ token: "other" }), /Authorization/i);
    });
  },

  async certificates(binary, dir) {
    const openssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=CA");
    for (const [name, alternative] of [
      ["server", `IP:${HOST},DNS:localhost`],
      ["client", "DNS:client.example"],
    ]) {
      const extensions = `subjectAltName=${alternative}\nbasicConstraints=CA:FALSE\n`;
      fs.writeFileSync(path.join(dir, `${name}.ext`), extensions);
      const files = ["-keyout", `${name}-key.pem`, "-out", `${name}.csr`];
      openssl("req", ...key, ...files, "-subj", `/CN=${name}`);
      const issuer = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial"];
      const made = ["-in", `${name}.csr`, "-out", `${name}.pem`, "-extfile", `${name}.ext`];
      openssl("x509", "-req", ...issuer, ...made, "-days", "2");
    }
    const conf = `tls { cert_file: "${dir}/server.pem", key_file: "${dir}/server-key.pem"
      ca_file: "${dir}/ca.pem", verify: true }`;
    const read = (name) => fs.readFileSync(path.join(dir, name), "utf8");
    await withServer(binary, dir, conf, async (reach) => {
      const ca = read("ca.pem");
      const tls = { ca, cert: read("client.pem"), key: read("client-key.pem") };
      const client = await reach({ tls }, "localhost");
      assert.ok(await hears(client, client));
      await client.close();
      await assert.rejects(reach({ tls: { ca } }, "localhost"));
      await assert.rejects(reach({ tls: {} }, "localhost"));
    });
  },
};

if (process.argv.length !== 3) {
  console.error("Usage: security.mjs SERVER_BINARY");
  process.exit(2);
}
for (const [name, check] of Object.entries(checks)) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "interop-"));
  try {
    await check(process.argv[2], dir);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.error(error);
    process.exit(1);
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}
process.exit(0);
