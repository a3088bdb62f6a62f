#!/usr/bin/env node
// Opens the dashboard of a nats-server in headless Chromium and does with it what a person does.
//
// Usage: dashboard.mjs SERVER_BINARY [--shots DIR]
//        dashboard.mjs --url URL [--shots DIR]
//
// With --url it looks at a server that runs already, which is to take clients without a password at
// the port that its /varz names, and to have few others. What needs accounts or a server of its own
// is left out then, and a check that is nothing without is said to be skipped.
// With --shots it leaves screenshots in DIR: both themes, idle and under load, large and small.
//
// Prints `ok NAME` or `skipped NAME` for each check; ends with a non-zero status at the first that
// fails.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const HOST = "127.0.0.1";
const CHECK_MS = 90_000;
const WAIT_MS = 20_000;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const VIEWS = ["overview", "connections", "subscriptions", "accounts", "cluster", "jetstream"];
const HOSTILE = `<img src=x onerror="window.owned=1">`;
const HOSTILE_SUBJECT = "<script>window.owned=2</script>.>";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { url: { type: "string" }, shots: { type: "string" } },
});

async function until(condition, what) {
  const late = Date.now() + WAIT_MS;
  let last;
  while (Date.now() < late) {
    last = await condition();
    if (last) return last;
    await delay(50);
  }
  assert.fail(`waited in vain: ${what}`);
}

// ---- the server ---------------------------------------------------------------------------------

/** The server under test, on ports of its own, which it keeps when it is started again. */
class Server {
  log = "";

  constructor(binary, dir, base = "", streams = false) {
    Object.assign(this, { binary, dir, base, streams });
  }

  async pickPorts() {
    const probes = [net.createServer().listen(0, HOST), net.createServer().listen(0, HOST)];
    await Promise.all(probes.map((probe) => once(probe, "listening")));
    [this.port, this.http] = probes.map((probe) => probe.address().port);
    await Promise.all(probes.map((probe) => (probe.close(), once(probe, "close"))));
    this.url = `http://${HOST}:${this.http}${this.base || "/"}`;
    this.config = path.join(this.dir, `server-${this.http}.conf`);
    await writeFile(
      this.config,
      `
      server_name: "dashboard-test"
      listen: "${HOST}:${this.port}"
      http: "${HOST}:${this.http}"
      ${this.base && `http_base_path: "${this.base}"`}
      ${this.streams ? `jetstream { store_dir: "${path.join(this.dir, `store-${this.http}`)}" }` : ""}
      accounts {
        SHOP { users: [{ user: shop, password: shop }], jetstream: ${this.streams ? "enabled" : "disabled"} }
        BILLING { users: [{ user: billing, password: billing }] }
      }
      no_auth_user: shop
    `,
    );
  }

  async start() {
    const child = spawn(this.binary, ["-c", this.config]);
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
    await until(async () => {
      const ended = await Promise.race([this.ended, delay(0)]);
      assert(!ended, `the server ended: ${JSON.stringify(ended)}`);
      return fetch(this.url).then(
        (answer) => answer.ok,
        () => false,
      );
    }, "the page of the server");
  }

  async kill() {
    this.child?.kill("SIGKILL");
    await this.ended;
  }
}

/** A client of the server, with the plain protocol. */
class Peer {
  constructor(port, user) {
    Object.assign(this, { port, user, subscriptions: 0 });
  }

  async connect(name) {
    this.socket = net.connect(this.port, HOST);
    this.socket.on("error", () => {});
    let text = "";
    this.socket.on("data", (data) => {
      if (data.includes("PING\r\n")) this.socket.write("PONG\r\n");
      if (text.length < 65536) text += data;
    });
    const user = this.user && { user: this.user, pass: this.user };
    const connect = {
      name,
      lang: "test",
      version: "1.0",
      verbose: false,
      pedantic: false,
      ...user,
    };
    this.socket.write(`CONNECT ${JSON.stringify(connect)}\r\nPING\r\n`);
    await until(() => text.includes("PONG\r\n"), `the server's answer to ${name}: ${text}`);
    return this;
  }

  subscribe(subject) {
    this.subscriptions += 1;
    this.socket.write(`SUB ${subject} ${this.subscriptions}\r\n`);
    return this;
  }

  publish(subject, count, size) {
    this.socket.write(`PUB ${subject} ${size}\r\n${"x".repeat(size)}\r\n`.repeat(count));
  }

  /** Sends a request, here JSON, and gives the answer. */
  async ask(subject, request) {
    const inbox = `answers.${(this.subscriptions += 1)}`;
    let text = "";
    const hear = (data) => (text += data);
    this.socket.on("data", hear);
    const body = typeof request === "string" ? request : JSON.stringify(request);
    this.socket.write(
      `SUB ${inbox} ${this.subscriptions}\r\nPUB ${subject} ${inbox} ${body.length}\r\n${body}\r\n`,
    );
    const answer = await until(
      () => new RegExp(`MSG ${inbox} \\d+ \\d+\\r\\n(.*)\\r\\n`).exec(text)?.[1],
      `the answer to ${subject}: ${text}`,
    );
    this.socket.off("data", hear);
    const { error, ...rest } = JSON.parse(answer);
    assert(!error, `${subject}: ${answer}`);
    return rest;
  }

  async close() {
    this.socket.end();
    await Promise.race([once(this.socket, "close"), delay(1000)]);
    this.socket.destroy();
  }
}

/** Two thousand messages a second to two of three subscribers, until it is stopped. */
class Load {
  async start(port, user) {
    this.peers = await Promise.all(
      ["publisher", "reader-1", "reader-2", "idler"].map((name) =>
        new Peer(port, user).connect(name),
      ),
    );
    this.peers[1].subscribe("load.>");
    this.peers[2].subscribe("load.>").subscribe("load.other");
    this.peers[3].subscribe("nothing");
    this.timer = setInterval(() => this.peers[0].publish("load.data", 100, 200), 50);
  }

  async stop() {
    clearInterval(this.timer);
    await Promise.all((this.peers ?? []).map((peer) => peer.close()));
  }
}

// ---- the page -----------------------------------------------------------------------------------

/** A page in a browser, and what is noticed of it. */
class Tab {
  errors = [];
  requests = [];

  constructor(page, url) {
    Object.assign(this, { page, url });
    this.origin = new URL(url).origin;
    page.setDefaultTimeout(WAIT_MS);
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.errors.push(error.stack ?? String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()))
        this.errors.push(`${message.text()} (${message.location().url})`);
    });
    page.on("dialog", (dialog) => {
      this.errors.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }

  async open(view = "overview") {
    await this.page.goto(`${this.url}#${view}`);
    await this.live();
  }

  async live() {
    await this.page.locator('#contact[data-state="live"]').waitFor();
  }

  async view(name) {
    await this.page.locator(`#nav a[href="#${name}"]`).click();
    await this.page.locator(`#view-${name}`).waitFor();
  }

  /** The requests for an endpoint since the `from`-th. */
  asked(endpoint, from = 0) {
    const paths = this.requests.slice(from).map((url) => new URL(url));
    return paths.filter((url) => url.pathname.endsWith(`/${endpoint}`));
  }

  /** Lets the page ask for an endpoint `count` more times. */
  async rounds(endpoint, count) {
    const from = this.requests.length;
    await until(() => this.asked(endpoint, from).length >= count, `requests for /${endpoint}`);
  }

  /** The texts of a column in the table with this label, read at one moment. */
  column(label, title) {
    return this.page
      .getByRole("region", { name: label, exact: true })
      .locator("visible=true")
      .first()
      .evaluate((region, title) => {
        const heads = [...region.querySelectorAll("thead th")];
        const at = heads.findIndex((head) => head.textContent === title);
        const rows = [...region.querySelectorAll("tbody tr")].filter((row) => row.cells.length > 1);
        return rows.map((row) => row.cells[at].textContent);
      }, title);
  }

  async sort(title) {
    await this.page
      .getByRole("button", { name: title, exact: true })
      .locator("visible=true")
      .click();
  }

  ariaSort(title) {
    return this.page
      .locator("th:visible", { has: this.page.getByRole("button", { name: title, exact: true }) })
      .getAttribute("aria-sort");
  }

  /** The `i`-th value that stands above a plot, as a number. */
  async reading(title, i = 0) {
    const plot = this.page.locator("figure", { hasText: title }).first();
    return Number((await plot.locator(".value").nth(i).textContent()).replace(/[^\d.]/g, ""));
  }

  /** How high and how wide the `i`-th line of a plot is, in pixels, and its path. */
  line(title, i = 0) {
    return this.page
      .locator("figure", { hasText: title })
      .first()
      .locator(".line")
      .nth(i)
      .evaluate((line) => {
        const { width, height } = line.getBBox();
        return { width, height, path: line.getAttribute("d") ?? "" };
      });
  }

  filter(title) {
    return this.page.getByRole("search").locator("visible=true").getByLabel(title);
  }

  /** Waits for rows for which `fits` holds. */
  async rows(label, title, fits, what) {
    let got;
    try {
      await until(async () => fits((got = await this.column(label, title))), what);
    } catch (error) {
      error.message += `; the column ${title} has ${JSON.stringify(got)}`;
      throw error;
    }
    return got;
  }

  async shot(name) {
    if (!options.shots) return;
    for (const colorScheme of ["light", "dark"]) {
      await this.page.emulateMedia({ colorScheme });
      await this.page.screenshot({
        path: path.join(options.shots, `${name}-${colorScheme}.png`),
        fullPage: true,
      });
    }
    await this.page.emulateMedia({ colorScheme: null });
  }

  /** Forgets errors that a check causes on purpose; others stay. */
  forgive(pattern) {
    this.errors = this.errors.filter((error) => !pattern.test(error));
  }
}

// ---- the checks ---------------------------------------------------------------------------------

const descending = (list) => list.every((value, i) => i === 0 || list[i - 1] >= value);
const ascending = (list) => descending(list.toReversed());
const number = (text) => {
  const units = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, k: 1e3, M: 1e6, G: 1e9 };
  const [, digits, unit] = /^([\d.,]+) ?(\w*)/.exec(text) ?? assert.fail(`not a number: ${text}`);
  return Number(digits.replaceAll(",", "")) * (units[unit] ?? 1);
};
const numbers = (texts) => texts.map(number);

const checks = {
  async opens({ tab, varz }) {
    await tab.open("__proto__");
    await tab.page.locator("#view-overview").waitFor();
    await tab.open();
    const text = (id) => tab.page.locator(id).textContent();
    assert.equal(await text("#name"), varz.server_name);
    assert.equal(await text("#version"), `Version ${varz.version}`);
    assert.equal(await text("#id"), varz.server_id);
    assert.match(await text("#uptime"), /^up \d/);
    assert.equal(await tab.page.title(), varz.server_name);
    await tab.page.locator('#health[data-state="ok"]').waitFor();
    assert.equal(await text("#health"), "Healthy");
  },

  async is_one_document({ tab }) {
    const paths = new Set(tab.requests.map((url) => new URL(url).pathname.split("/").pop()));
    const own = new URL(tab.url).pathname.split("/").pop();
    assert.deepEqual([...paths].sort(), [own, "healthz", "varz"].sort());
    const answer = await fetch(tab.url);
    assert.match(answer.headers.get("content-type"), /^text\/html; charset=utf-8$/i);
    assert.match(answer.headers.get("content-security-policy"), /default-src 'none'/);
  },

  async shows_an_idle_server({ tab }) {
    await tab.rounds("varz", 4);
    assert.match((await tab.line("Connections")).path, /L/);
    await tab.shot("overview-idle");
  },

  async plots_move_under_load({ tab, load, port, user }) {
    await load.start(port, user);
    await until(async () => (await tab.reading("Messages", 0)) > 500, "messages in");
    await until(async () => (await tab.reading("Messages", 1)) > 1000, "messages out");
    await until(async () => (await tab.line("Messages", 1)).height > 20, "the line of messages");
    await until(async () => (await tab.line("Bytes", 1)).height > 20, "the line of bytes");
    const before = await tab.line("Messages");
    await tab.rounds("varz", 3);
    const after = await tab.line("Messages");
    assert.notEqual(after.path, before.path);
    assert(after.width > before.width, `${after.width} after ${before.width}`);
    assert((await tab.reading("Connections")) >= 4);
    for (const plot of ["CPU", "Memory"]) assert((await tab.reading(plot)) >= 0);
    await tab.shot("overview-load");
  },

  async the_overview_asks_for_little({ tab }) {
    const from = tab.requests.length;
    await tab.rounds("varz", 4);
    for (const endpoint of ["connz", "subsz", "accstatz", "routez", "jsz"]) {
      assert.deepEqual(tab.asked(endpoint, from), []);
    }
  },

  async a_plot_tells_what_was({ tab }) {
    const plot = tab.page.locator("figure", { hasText: "Messages" }).first();
    await plot.locator("svg").focus();
    await tab.page.keyboard.press("ArrowLeft");
    await until(
      async () => /^\d\d:\d\d:\d\d$/.test(await plot.locator(".note").textContent()),
      "the time",
    );
    assert((await plot.locator(".cross").getAttribute("d")).length > 0);
    await tab.page.keyboard.press("Escape");
    await until(async () => !(await plot.locator(".cross").getAttribute("d")), "the end of it");
    const box = await plot.locator("svg").boundingBox();
    await tab.page.mouse.move(box.x + box.width - 4, box.y + box.height / 2);
    await until(
      async () => /^\d\d:\d\d:\d\d$/.test(await plot.locator(".note").textContent()),
      "the time",
    );
    await tab.page.mouse.move(2, 2);
  },

  async sorts_connections_by_the_servers_orders({ tab }) {
    await tab.view("connections");
    const idsFirst = (ids) => ids.length >= 4 && ascending(numbers(ids));
    await tab.rows("Connections", "ID", idsFirst, "connections by ID");
    assert.equal(await tab.ariaSort("ID"), "ascending");
    let from = tab.requests.length;
    await tab.sort("Bytes to");
    await tab.rows(
      "Connections",
      "Bytes to",
      (texts) => number(texts[0]) > 0 && descending(numbers(texts)),
      "most bytes first",
    );
    assert.equal(await tab.ariaSort("Bytes to"), "descending");
    assert.equal(await tab.ariaSort("ID"), null);
    assert(tab.asked("connz", from).some((url) => url.searchParams.get("sort") === "bytes_to"));
    await tab.sort("Bytes to");
    await tab.rows(
      "Connections",
      "Bytes to",
      (texts) => texts.length >= 4 && ascending(numbers(texts)) && number(texts.at(-1)) > 0,
      "fewest bytes first",
    );
    assert.equal(await tab.ariaSort("Bytes to"), "ascending");
    from = tab.requests.length;
    await tab.sort("Name");
    await tab.rows(
      "Connections",
      "Name",
      (names) => names.length >= 4 && names.indexOf("idler") < names.indexOf("reader-2"),
      "names in order",
    );
    await tab.rounds("connz", 1);
    assert(tab.asked("connz", from).every((url) => !url.searchParams.has("sort")));
    await tab.shot("connections-load");
  },

  async shows_rates_of_connections({ tab }) {
    await tab.filter("Figures").selectOption("rate");
    const publisher = async () => {
      const [names, rates] = [
        await tab.column("Connections", "Name"),
        await tab.column("Connections", "Msgs from"),
      ];
      return rates[names.indexOf("publisher")] ?? "";
    };
    await until(
      async () => /\/s$/.test(await publisher()) && number(await publisher()) > 500,
      "the publisher's rate",
    );
    await tab.filter("Figures").selectOption("total");
  },

  async does_not_shift_while_polling({ tab }) {
    await tab.rounds("connz", 1);
    await tab.page.evaluate(() => {
      window.shifts = [];
      new PerformanceObserver((found) => window.shifts.push(...found.getEntries())).observe({
        type: "layout-shift",
      });
    });
    await tab.rounds("connz", 2);
    await tab.view("overview");
    await tab.rounds("varz", 3);
    const shifts = await tab.page.evaluate(() =>
      window.shifts.filter((s) => !s.hadRecentInput).map((s) => s.value),
    );
    assert.deepEqual(
      shifts.filter((value) => value > 0.001),
      [],
    );
    await tab.view("connections");
  },

  async filters_connections({ tab, owned }) {
    await tab.filter("Name contains").fill("READER");
    await tab.rows(
      "Connections",
      "Name",
      (names) => names.length === 2 && names.every((name) => name.startsWith("reader-")),
      "the readers",
    );
    await tab.filter("Name contains").fill("nobody is called that");
    await tab.page.getByText("No connection fits these filters.").locator("visible=true").waitFor();
    await tab.filter("Name contains").fill("");
    const ids = await tab.rows("Connections", "ID", (ids) => ids.length >= 4, "all");
    await tab.filter("Connection ID").fill(ids[1]);
    await tab.rows(
      "Connections",
      "ID",
      (found) => found.length === 1 && found[0] === ids[1],
      "the one",
    );
    await tab.filter("Connection ID").fill("");
    if (!owned) return;
    const other = await new Peer(owned.port, "billing").connect("accountant");
    await tab.filter("Account").fill("BILLING");
    await tab.rows(
      "Connections",
      "Name",
      (names) => names.length === 1 && names[0] === "accountant",
      "the account's",
    );
    await tab.filter("Account").fill("");
    await tab.filter("User").fill("shop");
    await tab.rows(
      "Connections",
      "User",
      (users) => users.length >= 4 && users.every((user) => user === "shop"),
      "the user's",
    );
    await tab.filter("User").fill("");
    await other.close();
  },

  async shows_closed_connections({ tab, port, user }) {
    await (await new Peer(port, user).connect("gone")).close();
    await tab.filter("State").selectOption("closed");
    await tab.sort("Closed");
    const names = await tab.rows(
      "Connections",
      "Name",
      (names) => names.includes("gone"),
      "the closed one",
    );
    const reasons = await tab.column("Connections", "Reason");
    assert.equal(reasons[names.indexOf("gone")], "Client Closed");
    await tab.filter("State").selectOption("open");
    await tab.rows(
      "Connections",
      "Name",
      (names) => names.includes("publisher") && !names.includes("gone"),
      "the open ones",
    );
  },

  async pages({ tab, port, user }) {
    const many = await Promise.all(
      Array.from({ length: 30 }, (_, i) => new Peer(port, user).connect(`many-${i}`)),
    );
    await tab.sort("ID");
    if ((await tab.ariaSort("ID")) !== "ascending") await tab.sort("ID");
    const region = tab.page.locator("#view-connections");
    await region.getByLabel("Rows on a page").selectOption("25");
    const first = await tab.rows(
      "Connections",
      "ID",
      (ids) => ids.length === 25 && ascending(numbers(ids)),
      "the first page",
    );
    await region.getByRole("button", { name: "Next" }).click();
    const second = await tab.rows(
      "Connections",
      "ID",
      (ids) => ids.length > 0 && number(ids[0]) > number(first.at(-1)),
      "the second page",
    );
    // Turned around, the first page is the end of the last one.
    await tab.sort("ID");
    const turned = await tab.rows(
      "Connections",
      "ID",
      (ids) => ids.length === 25 && descending(numbers(ids)),
      "the other direction",
    );
    assert(
      number(turned[0]) >= number(second.at(-1)),
      `${turned[0]} comes before ${second.at(-1)}`,
    );
    await tab.sort("ID");
    await region.getByLabel("Rows on a page").selectOption("50");
    await Promise.all(many.map((peer) => peer.close()));
  },

  async shows_hostile_names_as_text({ tab, port, user }) {
    const hostile = await new Peer(port, user).connect(HOSTILE);
    hostile.subscribe(HOSTILE_SUBJECT);
    await tab.filter("Name contains").fill("<img");
    await tab.rows(
      "Connections",
      "Name",
      (names) => names.length === 1 && names[0] === HOSTILE,
      "the hostile client",
    );
    const [id] = await tab.column("Connections", "ID");
    await tab.page.getByRole("button", { name: id, exact: true }).click();
    const dialog = tab.page.getByRole("dialog");
    await dialog.getByText(HOSTILE, { exact: true }).waitFor();
    await dialog.getByText(HOSTILE_SUBJECT, { exact: true }).waitFor();
    await tab.shot("details");
    await tab.page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await tab.view("subscriptions");
    await tab.filter("Get messages on subject").fill(HOSTILE_SUBJECT.replace(/>$/, "x"));
    await tab.rows(
      "Subscriptions",
      "Subject",
      (subjects) => subjects.length === 1 && subjects[0] === HOSTILE_SUBJECT,
      "its subscription",
    );
    const made = await tab.page.evaluate(() => ({
      owned: window.owned,
      images: document.images.length,
      scripts: document.scripts.length,
    }));
    assert.deepEqual(made, { owned: undefined, images: 0, scripts: 1 });
    await tab.filter("Get messages on subject").fill("");
    await hostile.close();
    await tab.view("connections");
    await tab.filter("Name contains").fill("");
  },

  async details_of_a_closed_connection({ tab, port, user }) {
    const peer = await new Peer(port, user).connect("leaving");
    await tab.filter("Name contains").fill("leaving");
    await tab.rows("Connections", "Name", (names) => names.length === 1, "the one that leaves");
    await tab.page.locator("#view-connections tbody td").first().click();
    const dialog = tab.page.getByRole("dialog");
    await dialog.getByText("open", { exact: true }).waitFor();
    await peer.close();
    await dialog.getByText("Client Closed", { exact: true }).waitFor();
    await dialog.getByRole("button", { name: "Close", exact: true }).click();
    await dialog.waitFor({ state: "hidden" });
    await tab.filter("Name contains").fill("");
  },

  async finds_who_gets_a_subject({ tab }) {
    await tab.view("subscriptions");
    await tab.filter("Get messages on subject").fill("load.data");
    await tab.rows(
      "Subscriptions",
      "Subject",
      (subjects) => subjects.length === 2 && subjects.every((s) => s === "load.>"),
      "the readers' subscriptions",
    );
    await tab.filter("Get messages on subject").fill("load.*");
    const trouble = tab.page.locator("#view-subscriptions .trouble");
    await trouble.getByText("invalid test subject").waitFor();
    await tab.filter("Get messages on subject").fill("");
    await trouble.waitFor({ state: "hidden" });
    await tab.rows(
      "Subscriptions",
      "Subject",
      (subjects) => subjects.length >= 4,
      "all subscriptions",
    );
    tab.forgive(/status of 400/);
    await tab.shot("subscriptions-load");
  },

  async shows_accounts({ tab, owned }) {
    await tab.view("accounts");
    const names = await tab.rows("Accounts", "Account", (names) => names.length > 0, "accounts");
    await tab.shot("accounts-load");
    if (!owned) return;
    assert(names.includes("SHOP") && names.includes("BILLING"), names.join());
    await tab.sort("Msgs from");
    await tab.rows("Accounts", "Account", (names) => names[0] === "SHOP", "the busy one first");
    await tab.page.getByRole("button", { name: "SHOP", exact: true }).click();
    await tab.page
      .getByRole("dialog")
      .getByRole("button", { name: "Show its connections" })
      .click();
    await tab.rows(
      "Connections",
      "Account",
      (all) => all.length >= 4 && all.every((name) => name === "SHOP"),
      "its connections",
    );
    await tab.filter("Account").fill("");
  },

  async shows_links_to_other_servers({ tab, varz }) {
    await tab.view("cluster");
    if (varz.routes > 0) await tab.rows("Routes", "Server", (names) => names.length > 0, "routes");
    else await tab.page.getByText("No routes: this server is in touch").waitFor();
    if (!varz.gateway?.name)
      await tab.page.getByText("No gateways: this server is in touch").waitFor();
    if (!varz.leafnodes) await tab.page.getByText("No leaf nodes are connected.").waitFor();
    await tab.shot("cluster");
  },

  async shows_jetstream({ tab, varz }) {
    await tab.view("jetstream");
    if (varz.jetstream?.config) {
      await tab.page.locator("#view-jetstream .tile").first().getByText("B").first().waitFor();
    } else {
      await tab.page.getByText("JetStream is not enabled on this server.").waitFor();
      tab.forgive(/status of 404/);
    }
    await tab.shot("jetstream");
  },

  async shows_a_stream({ browser, owned, dir }) {
    if (!owned) return "skipped";
    const server = new Server(owned.binary, dir, "", true);
    await server.pickPorts();
    const peer = new Peer(server.port, "shop");
    try {
      await server.start();
      await peer.connect("shop");
      const config = { subjects: ["orders.*"], max_msgs: 1000, description: HOSTILE };
      for (const name of ["ORDERS", "OTHER"]) {
        const own = name === "ORDERS" ? config : { storage: "memory" };
        await peer.ask(`$JS.API.STREAM.CREATE.${name}`, { name, ...own });
      }
      for (const item of ["one", "two", "three"]) await peer.ask(`orders.${item}`, item);
      await peer.ask("$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.worker", {
        stream_name: "ORDERS",
        config: { durable_name: "worker", ack_policy: "explicit" },
      });
      const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
      const tab = new Tab(await context.newPage(), server.url);
      await tab.open("jetstream");
      const both = (names) => names.join() === "ORDERS,OTHER";
      await tab.rows("Streams", "Stream", both, "two streams");
      assert.deepEqual(await tab.column("Streams", "Messages"), ["3", "0"]);
      assert.deepEqual(await tab.column("Streams", "Subjects"), ["orders.*", "OTHER"]);
      assert.deepEqual(await tab.column("Consumers", "Consumer"), ["worker"]);
      await tab.filter("Name or subject contains").fill("orders");
      await tab.rows("Streams", "Stream", (names) => names.join() === "ORDERS", "one stream");
      await tab.shot("jetstream-streams");
      await tab.page.getByRole("button", { name: "ORDERS", exact: true }).first().click();
      const dialog = tab.page.getByRole("dialog");
      await dialog.getByText("Stream ORDERS").waitFor();
      const fact = (title) =>
        dialog
          .locator("dt", { hasText: new RegExp(`^${title}$`) })
          .locator("xpath=following-sibling::dd[1]")
          .first()
          .textContent();
      await until(async () => (await fact("Messages")) === "3", "the messages of the stream");
      assert.equal(await fact("Last sequence"), "3");
      assert.equal(await fact("Subjects"), "3");
      assert.equal(await fact("Messages at most"), "1,000");
      assert.equal(await fact("Description"), HOSTILE);
      await dialog.getByText("worker").waitFor();
      await tab.shot("stream");
      // It goes on while it is looked at.
      await peer.ask("orders.four", "four");
      await until(async () => (await fact("Messages")) === "4", "one more message");
      await peer.ask("$JS.API.STREAM.DELETE.ORDERS", "");
      await dialog.getByText("This stream does not exist any more.").waitFor();
      assert.equal(await tab.page.evaluate(() => window.owned), undefined);
      assert.deepEqual(tab.errors, []);
      await context.close();
    } finally {
      await peer.close();
      await server.kill();
    }
  },

  async links_to_the_endpoints({ tab, owned, varz }) {
    const links = tab.page.locator(".endpoints a");
    const found = await links.evaluateAll((all) =>
      all.map((link) => [link.firstChild.textContent, link.href]),
    );
    const names = [
      "General",
      "JetStream",
      "Connections",
      "Accounts",
      "Account Stats",
      "Subscriptions",
      "Routes",
      "LeafNodes",
      "Gateways",
      "Raft Groups",
      "Health Probe",
      "Expvar",
      "Help",
    ];
    for (const name of names)
      assert(
        found.some(([text]) => text === name),
        `no link to ${name}`,
      );
    for (const [name, href] of found.filter(([name]) => name !== "Help")) {
      assert(href.startsWith(tab.origin), href);
      const { status } = await fetch(href);
      // Without groups /raftz answers that it has none.
      const may = name === "Raft Groups" || (!owned && name === "Metrics") ? [200, 404] : [200];
      assert(may.includes(status), `${href} answers ${status}`);
    }
    // A tab of its own: a browser asks for an icon where the JSON is.
    const other = await tab.page.context().newPage();
    await other.goto(tab.url);
    await other.getByRole("link", { name: "General" }).click();
    await other.waitForURL(/\/varz$/);
    assert.equal(JSON.parse(await other.locator("body").innerText()).server_id, varz.server_id);
    await other.close();
  },

  async pauses_and_rests_while_hidden({ tab }) {
    const quiet = async (what) => {
      // What was asked for before may still be noted.
      await delay(100);
      const from = tab.requests.length;
      await delay(2500);
      assert.deepEqual(tab.requests.slice(from), [], what);
    };
    await tab.page.getByRole("button", { name: "Pause" }).click();
    await tab.page.locator('#contact[data-state="paused"]').waitFor();
    await quiet("while paused");
    // To look at something else is to ask for it.
    await tab.view("subscriptions");
    await tab.rows(
      "Subscriptions",
      "Subject",
      (subjects) => subjects.length > 0,
      "subscriptions in spite of the pause",
    );
    await quiet("while paused again");
    await tab.view("overview");
    await tab.page.getByRole("button", { name: "Resume" }).click();
    await tab.rounds("varz", 2);
    await tab.live();
    const hide = (hidden) =>
      tab.page.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    await quiet("while hidden");
    await hide(false);
    await tab.rounds("varz", 2);
    await tab.page.getByLabel("Polling interval").selectOption("5000");
    await tab.rounds("varz", 1);
    const from = tab.requests.length;
    await delay(2500);
    assert(tab.asked("varz", from).length <= 1, "asked more often than chosen");
    await tab.page.getByLabel("Polling interval").selectOption("1000");
    await tab.rounds("varz", 2);
  },

  async remembers_the_theme({ tab }) {
    await tab.page.emulateMedia({ colorScheme: "light" });
    const ground = () => tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await tab.page.getByRole("button", { name: "Dark theme" }).click();
    const dark = await ground();
    assert.notEqual(dark, light);
    await tab.page.reload();
    await tab.live();
    assert.equal(await ground(), dark);
    assert.equal(
      await tab.page.getByRole("button", { name: "Dark theme" }).getAttribute("aria-pressed"),
      "true",
    );
    await tab.page.evaluate(() => localStorage.clear());
    await tab.page.emulateMedia({ colorScheme: null });
    await tab.page.reload();
    await tab.live();
  },

  async can_be_used_with_keys({ tab }) {
    await tab.open("connections");
    await tab.rows("Connections", "ID", (ids) => ids.length >= 4, "connections");
    await tab.page.evaluate(() => document.activeElement.blur());
    await tab.page.keyboard.press("Tab");
    const focused = () =>
      tab.page.evaluate(() => document.activeElement.textContent || document.activeElement.id);
    assert.equal(await focused(), "Skip to the content");
    await tab.page.keyboard.press("Enter");
    assert.equal(await tab.page.evaluate(() => document.activeElement.id), "main");
    const seen = [];
    for (let i = 0; i < 60 && seen.at(-1) !== "Subs"; i++) {
      await tab.page.keyboard.press("Tab");
      seen.push(await focused());
    }
    assert.equal(seen.at(-1), "Subs", seen.join(", "));
    await tab.page.keyboard.press("Enter");
    await tab.rows(
      "Connections",
      "Subs",
      (subs) => number(subs[0]) >= 2 && descending(numbers(subs)),
      "most subscriptions first",
    );
    assert.equal(await tab.ariaSort("Subs"), "descending");
    const first = tab.page.locator("#view-connections tbody .link").first();
    await first.focus();
    await tab.page.keyboard.press("Enter");
    await tab.page.getByRole("dialog").waitFor();
    await tab.page.keyboard.press("Escape");
    await tab.page.getByRole("dialog").waitFor({ state: "hidden" });
    assert(
      await first.evaluate((node) => node === document.activeElement),
      "the focus is where it was",
    );
  },

  async fits_a_phone({ tab, browser }) {
    const context = await browser.newContext({
      viewport: { width: 375, height: 812 },
      hasTouch: true,
      isMobile: true,
      deviceScaleFactor: 2,
    });
    const phone = new Tab(await context.newPage(), tab.url);
    await phone.open();
    await phone.rounds("varz", 3);
    for (const view of VIEWS) {
      await phone.view(view);
      if (view === "connections")
        await phone.rows("Connections", "ID", (ids) => ids.length >= 4, "connections");
      const width = await phone.page.evaluate(() => document.documentElement.scrollWidth);
      assert(width <= 375, `${view} is ${width} pixels wide`);
      await phone.shot(`phone-${view}`);
    }
    await phone.view("connections");
    await phone.page.locator("#view-connections tbody .link").first().tap();
    const dialog = phone.page.getByRole("dialog");
    await dialog.getByText("Traffic").waitFor();
    const wide = await dialog.evaluate(
      (node) => node.scrollWidth > node.clientWidth || node.clientWidth > 375,
    );
    assert(!wide, "the details are too wide");
    phone.forgive(/status of 404/);
    assert.deepEqual(phone.errors, []);
    await context.close();
  },

  async works_below_a_base_path({ browser, owned, dir }) {
    if (!owned) return "skipped";
    const server = new Server(owned.binary, dir, "/some/where");
    await server.pickPorts();
    try {
      await server.start();
      const context = await browser.newContext();
      const tab = new Tab(await context.newPage(), server.url);
      await tab.open();
      await tab.rounds("varz", 2);
      assert(tab.asked("varz").every((url) => url.pathname === "/some/where/varz"));
      assert.deepEqual(tab.errors, []);
      await tab.page.getByRole("link", { name: "General" }).click();
      await tab.page.waitForURL(/\/some\/where\/varz$/);
      await context.close();
    } finally {
      await server.kill();
    }
  },

  async says_that_the_server_is_gone({ tab, owned, load, port, user }) {
    await tab.open();
    await tab.rounds("varz", 3);
    if (owned) await owned.kill();
    else await tab.page.context().setOffline(true);
    await tab.page.getByText(/^Lost contact since \d\d:\d\d:\d\d/).waitFor();
    assert.match(await tab.page.title(), /no contact/);
    const from = tab.requests.length;
    await tab.rounds("varz", 2);
    assert.deepEqual(tab.asked("healthz", from), [], "only one endpoint is tried");
    await tab.shot("lost");
    await load.stop();
    if (owned) await owned.start();
    else await tab.page.context().setOffline(false);
    await tab.live();
    await load.start(port, user);
    await until(async () => (await tab.reading("Messages", 0)) > 500, "messages again");
    await tab.page.locator("#lost").waitFor({ state: "hidden" });
    assert.doesNotMatch(await tab.page.title(), /no contact/);
    if (owned) {
      const mark = tab.page.locator("figure", { hasText: "Messages" }).first().locator(".restart");
      assert.match(await mark.getAttribute("d"), /^M/);
    }
    tab.forgive(/net::ERR_/);
  },

  async tells_why_a_server_is_not_healthy({ tab }) {
    const errors = [
      { type: "STREAM", account: "SHOP", stream: HOSTILE, error: "stream is not current" },
    ];
    const body = JSON.stringify({ status: "unavailable", status_code: 503, errors });
    await tab.page.route("**/healthz*", (route) =>
      route.fulfill({ status: 503, contentType: "application/json", body }),
    );
    await tab.page.reload();
    await tab.page.locator('#health[data-state="bad"]').waitFor();
    assert.equal(await tab.page.locator("#health").textContent(), "Not healthy: unavailable");
    await tab.page.getByText(`STREAM (SHOP / ${HOSTILE}): stream is not current`).waitFor();
    await tab.rounds("varz", 3);
    await tab.shot("not-healthy");
    await tab.page.unroute("**/healthz*");
    await tab.page.reload();
    await tab.page.locator('#health[data-state="ok"]').waitFor();
    tab.forgive(/status of 503/);
  },

  async remembers_no_more_than_it_shows({ tab }) {
    await tab.page.getByRole("button", { name: "Pause" }).click();
    const grown = await tab.page.evaluate(() => {
      /* global state, remember, overview */
      const nodes = () => document.getElementsByTagName("*").length;
      const before = nodes();
      for (let i = 0; i < 5000; i++) {
        remember(
          { ...state.varz, start: i % 10 ? state.varz.start : String(i), in_msgs: i * i },
          Date.now() + i * 1000,
        );
        if (i % 100 === 0) overview.draw();
      }
      return {
        samples: state.history.length,
        restarts: state.history.restarts.length,
        nodes: nodes() - before,
      };
    });
    assert.deepEqual(grown, { samples: 900, restarts: 10, nodes: 0 });
  },

  async stays_with_its_server_and_without_errors({ tab }) {
    const elsewhere = tab.requests.filter(
      (url) => !url.startsWith(`${tab.origin}/`) && !url.startsWith("data:"),
    );
    assert.deepEqual(elsewhere, []);
    assert(tab.requests.length > 50, "requests were noted");
    assert.deepEqual(tab.errors, []);
  },
};

async function run(binary) {
  assert(existsSync(CHROMIUM), `${CHROMIUM} is missing`);
  const dir = await mkdtemp(path.join(tmpdir(), "dashboard-"));
  if (options.shots) await mkdir(options.shots, { recursive: true });
  const owned = binary ? new Server(binary, dir) : undefined;
  const load = new Load();
  let [name, browser, tab] = ["the server starts"];
  try {
    if (owned) {
      await owned.pickPorts();
      await owned.start();
    }
    const url = owned?.url ?? options.url;
    const varz = await (await fetch(`${url.replace(/\/$/, "")}/varz`)).json();
    browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
    const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
    tab = new Tab(await context.newPage(), url);
    const session = {
      tab,
      browser,
      varz,
      owned,
      load,
      dir,
      port: varz.port,
      user: owned && "shop",
    };
    for (const [check, body] of Object.entries(checks)) {
      name = check;
      const late = delay(CHECK_MS, null, { ref: false }).then(() => assert.fail("took too long"));
      const outcome = await Promise.race([body(session), late]);
      console.log(`${outcome ?? "ok"} ${name}`);
    }
    return 0;
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.error(error);
    if (tab?.errors.length) console.error(`the page's errors:\n${tab.errors.join("\n")}`);
    if (options.shots)
      await tab?.page.screenshot({ path: path.join(options.shots, "failed.png") }).catch(() => {});
    if (owned) console.error(`the server's log:\n${owned.log}`);
    return 1;
  } finally {
    await load.stop();
    await browser?.close();
    await owned?.kill();
    await rm(dir, { recursive: true, force: true });
  }
}

if (positionals.length + (options.url ? 1 : 0) !== 1) {
  console.error(
    "Usage: dashboard.mjs SERVER_BINARY [--shots DIR]\n       dashboard.mjs --url URL [--shots DIR]",
  );
  process.exit(2);
}
// A run that comes to a standstill ends without a word; this status tells.
process.exitCode = 3;
process.exit(await run(positionals[0]));
