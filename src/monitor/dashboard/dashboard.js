// The dashboard of a nats-server: plots, tables and details, drawn from the JSON endpoints that the
// same server offers beside this page.
//
// Three loops ask the server: one for /varz, which feeds the plots; a slower one for what the view
// in sight shows; a still slower one for /healthz. They rest while the page is hidden or paused.
//
// Whatever comes from the server may have been chosen by a stranger (names of clients, subjects,
// reasons), so it reaches the page as text only: textContent, values of title, encoded parameters.

"use strict";

const HISTORY = 900; // samples that the plots remember
const REQUEST_MS = 10_000; // after which an answer is given up
const VIEW_MS = 3_000; // between two looks at the endpoints of a view
const HEALTH_MS = 10_000;
const RETRY_MAX_MS = 10_000;
const SEARCHED = 1024; // connections that are looked through for a name
const TEXT_MAX = 300; // characters of a name or a subject that a cell shows
const NONE = "–";
const SPANS = [60, 120, 300, 900]; // seconds that the plots can show
const SVG = "http://www.w3.org/2000/svg";

// ---- elements -----------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat());
  return node;
}

const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Touches the page only if something changes, so that a selection survives a refresh. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (value === undefined || value === "") node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// ---- text ---------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three digits that count, in units of powers of `base`. */
function scaled(value, base, units) {
  let n = Math.abs(value);
  let unit = 0;
  // 999.5 would be rounded to a fourth digit.
  while (n >= 999.5 && unit < units.length - 1) {
    n /= base;
    unit += 1;
  }
  const digits = unit === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  const text = n.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  return `${value < 0 ? "-" : ""}${text}${units[unit] && " "}${units[unit]}`;
}

function count(value) {
  if (!isNumber(value)) return NONE;
  return Math.abs(value) < 1e6 ? grouped.format(value) : scaled(value, 1000, ["", "k", "M", "G", "T", "P"]);
}

function bytes(value) {
  if (!isNumber(value)) return NONE;
  return scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
}

function rate(value) {
  if (!isNumber(value)) return NONE;
  if (value > 0 && value < 9.95) return `${value.toFixed(1)}/s`;
  return `${value < 1e5 ? grouped.format(value) : count(Math.round(value))}/s`;
}

const byteRate = (value) => (isNumber(value) ? `${bytes(value)}/s` : NONE);
const percent = (value) => (isNumber(value) ? `${value.toFixed(value < 99.95 ? 1 : 0)} %` : NONE);

/** A limit: negative numbers, and those next to 2^64, stand for none. */
function limit(value, form = count) {
  if (!isNumber(value)) return NONE;
  return value < 0 || value >= 2 ** 62 ? "unlimited" : form(value);
}

/** A duration in nanoseconds. */
function nanos(value) {
  if (!isNumber(value)) return NONE;
  const units = [[86400e9, "d"], [3600e9, "h"], [60e9, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"]];
  const [size, unit] = units.find(([size]) => Math.abs(value) >= size) ?? [1, "ns"];
  return `${Number((value / size).toPrecision(3))} ${unit}`;
}

/** Nanoseconds of a duration as Go writes it, such as `1m2.5s`. */
function parseDuration(text) {
  const sizes = { y: 31536000e9, d: 86400e9, h: 3600e9, m: 60e9, s: 1e9, ms: 1e6, "µs": 1e3, us: 1e3, ns: 1 };
  let sum = 0;
  for (const [, n, unit] of String(text ?? "").matchAll(/([\d.]+)(ms|µs|us|ns|[ydhms])/g)) {
    sum += Number(n) * sizes[unit];
  }
  return sum;
}

const rtt = (text) => (text ? nanos(parseDuration(text)) : NONE);
const pad = (n) => String(n).padStart(2, "0");

function clock(ms) {
  const date = new Date(ms);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

function moment(text) {
  const ms = Date.parse(text ?? "");
  // Year 1 is how the server writes "never".
  if (!isNumber(ms) || ms < 0) return NONE;
  const date = new Date(ms);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(ms)}`;
}

const yesNo = (value) => (value ? "yes" : "no");
const words = (value) => (value === undefined || value === null || value === "" ? NONE : String(value));
const list = (value) => (Array.isArray(value) ? value : []);
const listed = (value) => words(list(value).join(", "));
const shown = (text) => (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text);
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// ---- asking the server --------------------------------------------------------------------------

/** Where the endpoints are: this page may stand at `/`, at `/base`, or at `/base/`. */
const ROOT = location.pathname.endsWith("/") ? "./" : `./${location.pathname.split("/").pop()}/`;

function query(path, parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  return set.length === 0 ? path : `${path}?${new URLSearchParams(set)}`;
}

/** The server answered, and that it will not. */
class Refusal extends Error {
  constructor(status, text) {
    super(`The server answered ${status}${text && `: ${text}`}`);
    this.status = status;
  }
}

async function getJson(path, signal, anyStatus = false) {
  const late = AbortSignal.timeout(REQUEST_MS);
  const options = { signal: AbortSignal.any([signal, late]), cache: "no-store", redirect: "error" };
  let response, text;
  try {
    response = await fetch(ROOT + path, options);
    text = await response.text();
  } catch {
    if (signal.aborted) throw new DOMException("not wanted any more", "AbortError");
    throw new Error(late.aborted ? `no answer within ${REQUEST_MS / 1000} s` : "no connection");
  }
  if (!response.ok && !anyStatus) throw new Refusal(response.status, text.trim().slice(0, 200));
  try {
    return JSON.parse(text);
  } catch {
    throw response.ok ? new Error("the answer is not JSON") : new Refusal(response.status, "");
  }
}

/** Repeats a task until it is stopped. `pace` gets what the last run took, in milliseconds. */
class Loop {
  constructor(task, pace) {
    Object.assign(this, { task, pace, turn: 0 });
  }

  start() {
    this.stop();
    this.run(this.turn);
  }

  stop() {
    this.turn += 1;
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  async run(turn) {
    this.abort = new AbortController();
    const began = performance.now();
    await this.task(this.abort.signal);
    if (turn !== this.turn) return;
    this.timer = setTimeout(() => this.run(turn), this.pace(performance.now() - began));
  }
}

// ---- what is remembered -------------------------------------------------------------------------

/** What the user chose, kept by the browser if it keeps anything. */
const settings = {
  get(key, among) {
    let value;
    try {
      value = localStorage.getItem(`nats-dashboard-${key}`);
    } catch {
      // Storage is turned off.
    }
    return among.includes(value) ? value : undefined;
  },
  set(key, value) {
    try {
      localStorage.setItem(`nats-dashboard-${key}`, value);
    } catch {
      // It lasts as long as the page, then.
    }
  },
};

const SERIES = [
  "inMsgs", "outMsgs", "inBytes", "outBytes", "cpu", "mem", "connections", "subscriptions", "slow", "stalled",
];

/** The last samples, in rings. A sample is NaN where nothing is known. */
class History {
  length = 0;
  next = 0;
  restarts = [];

  constructor() {
    this.time = new Float64Array(HISTORY);
    this.series = Object.fromEntries(SERIES.map((name) => [name, new Float64Array(HISTORY)]));
  }

  push(time, values) {
    this.time[this.next] = time;
    for (const name of SERIES) this.series[name][this.next] = values[name] ?? NaN;
    this.next = (this.next + 1) % HISTORY;
    this.length = Math.min(this.length + 1, HISTORY);
  }

  restarted(time) {
    this.restarts = [...this.restarts.slice(-9), time];
  }

  /** The slot of the i-th sample, from the oldest. */
  slot(i) {
    return (this.next - this.length + i + HISTORY) % HISTORY;
  }

  /** The sample nearest to a time, of those that are at most `reach` away from it. */
  nearest(time, reach) {
    let best = -1;
    for (let i = 0; i < this.length; i++) {
      const away = Math.abs(this.time[this.slot(i)] - time);
      if (away <= reach) [best, reach] = [this.slot(i), away];
    }
    return best;
  }
}

const state = {
  interval: Number(settings.get("interval", ["1000", "2000", "5000", "15000"]) ?? 1000),
  span: Number(settings.get("span", SPANS.map(String)) ?? 300) * 1000,
  paused: false,
  pausedAt: 0,
  lostSince: 0,
  lastContact: 0,
  failures: 0,
  varz: undefined,
  history: new History(),
  /** The time that the pointer is at, in all plots. */
  cursor: undefined,
};

const COUNTERS = {
  inMsgs: "in_msgs", outMsgs: "out_msgs", inBytes: "in_bytes", outBytes: "out_bytes",
  slow: "slow_consumers", stalled: "stalled_clients",
};

/** Adds a sample: rates from what the counters gained since the last one, by the server's clock. */
function remember(varz, now) {
  const before = state.varz;
  const sample = {
    cpu: varz.cpu, mem: varz.mem, connections: varz.connections, subscriptions: varz.subscriptions,
  };
  if (before) {
    const gains = Object.entries(COUNTERS).map(([name, key]) => [name, varz[key] - before[key]]);
    const again = varz.start !== before.start || varz.server_id !== before.server_id;
    if (again || gains.some(([, gain]) => gain < 0)) {
      state.history.restarted(now);
    } else {
      const seconds = (Date.parse(varz.now) - Date.parse(before.now)) / 1000;
      for (const [name, gain] of gains) {
        const single = name === "slow" || name === "stalled";
        if (seconds > 0) sample[name] = single ? gain : gain / seconds;
      }
    }
  }
  state.varz = varz;
  state.history.push(now, sample);
}

// ---- plots --------------------------------------------------------------------------------------

/** The distance of the lines in a plot that reaches up to `top`: 1, 2 or 5 times a round number. */
function lineStep(top, base, whole) {
  const least = top / 4;
  const unit = base === 1024 ? 1024 ** Math.max(0, Math.floor(Math.log(least) / Math.log(1024))) : 1;
  const ten = 10 ** Math.floor(Math.log10(least / unit));
  const step = [1, 2, 5, 10].map((n) => n * ten * unit).find((n) => n >= least * 0.999);
  return whole ? Math.max(1, step) : step;
}

class Plot {
  static LINES = 6;
  static LEFT = 58;
  static TOP = 8;
  static BOTTOM = 20;

  /** `series` are [name, label]; `form` writes a value, `axis` one at a line. */
  constructor({ title, series, form, axis = form, base = 1000, whole = false, least, headline, note, wide }) {
    Object.assign(this, { series, form, axis, base, whole, least, headline, note, width: 0 });
    this.values = series.map(() => el("span", { class: "value" }, NONE));
    const legend = series.map(([, label], i) =>
      el("span", { class: `reading s${i}` }, el("span", { class: "label" }, label), this.values[i]));
    this.noteNode = el("span", { class: "note" });
    this.lines = Array.from({ length: Plot.LINES }, () => svg("line", { class: "grid" }));
    this.labels = this.lines.map(() => svg("text", { class: "tick", x: Plot.LEFT - 8, dy: "0.32em", "text-anchor": "end" }));
    this.areas = series.map((_, i) => svg("path", { class: `area s${i}` }));
    this.paths = series.map((_, i) => svg("path", { class: `line s${i}` }));
    this.marks = svg("path", { class: "restart" }, svg("title", {}, "The server was restarted"));
    this.cross = svg("path", { class: "cross" });
    this.ends = ["start", "middle", "end"].map((anchor) => svg("text", { class: "tick", "text-anchor": anchor }));
    this.canvas = svg("svg", { class: "plot", role: "img", tabindex: "0", "aria-label": title },
      this.lines, this.labels, this.ends, this.areas, this.marks, this.paths, this.cross);
    this.root = el("figure", { class: wide ? "card wide" : "card" },
      el("figcaption", {}, el("span", { class: "title" }, title), this.noteNode),
      el("div", { class: "readings" }, legend),
      this.canvas);
    this.title = title;
    new ResizeObserver(([entry]) => {
      [this.width, this.height] = [entry.contentRect.width, entry.contentRect.height];
      this.draw();
    }).observe(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => setCursor(undefined));
    this.canvas.addEventListener("blur", () => setCursor(undefined));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  point(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const share = (x - Plot.LEFT) / (this.width - Plot.LEFT);
    if (share >= 0 && share <= 1) setCursor(plotEnd() - (1 - share) * plotSpan());
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") setCursor(undefined);
    if (!step) return;
    event.preventDefault();
    const [end, span] = [plotEnd(), plotSpan()];
    const at = (state.cursor ?? end) + (step * span) / 60;
    setCursor(Math.min(end, Math.max(end - span, at)));
  }

  draw() {
    const { history } = state;
    const [end, span] = [plotEnd(), plotSpan()];
    const reach = state.cursor === undefined ? 0 : Math.max(span / 60, state.interval);
    const at = state.cursor === undefined ? history.slot(history.length - 1) : history.nearest(state.cursor, reach);
    this.read(at);
    if (!(this.width > Plot.LEFT)) return;
    const shownSlots = [];
    for (let i = 0; i < history.length; i++) {
      if (history.time[history.slot(i)] >= end - span) shownSlots.push(history.slot(i));
    }
    const [right, floor] = [this.width - 1, this.height - Plot.BOTTOM];
    let highest = this.least;
    for (const [name] of this.series) {
      for (const slot of shownSlots) highest = Math.max(highest, history.series[name][slot] || 0);
    }
    const step = lineStep(highest, this.base, this.whole);
    const top = Math.ceil((highest * 0.999) / step) * step;
    const x = (time) => Plot.LEFT + (1 - (end - time) / span) * (right - Plot.LEFT);
    const y = (value) => floor - (value / top) * (floor - Plot.TOP);
    this.drawGrid(step, top, y, right, span / 60_000);
    this.series.forEach(([name], i) => {
      const [line, area] = outline(shownSlots, history.series[name], x, y, floor);
      setAttribute(this.paths[i], "d", line);
      setAttribute(this.areas[i], "d", area);
    });
    const bars = history.restarts.filter((time) => time >= end - span);
    setAttribute(this.marks, "d", bars.map((time) => `M${x(time).toFixed(1)} ${Plot.TOP}V${floor}`).join(""));
    this.drawCursor(at, x, y, floor);
  }

  drawGrid(step, top, y, right, minutes) {
    this.lines.forEach((line, i) => {
      const there = i * step <= top * 1.001;
      const height = there ? y(i * step).toFixed(1) : "0";
      line.style.display = this.labels[i].style.display = there ? "" : "none";
      for (const [name, value] of [["x1", Plot.LEFT], ["x2", right], ["y1", height], ["y2", height]]) {
        setAttribute(line, name, String(value));
      }
      setAttribute(this.labels[i], "y", height);
      setText(this.labels[i], this.axis(i * step));
    });
    const texts = [`−${minutes} min`, `−${minutes * 30} s`, state.paused ? clock(plotEnd()) : "now"];
    if (minutes > 1) texts[1] = `−${minutes / 2} min`;
    this.ends.forEach((node, i) => {
      setAttribute(node, "x", String(Plot.LEFT + ((right - Plot.LEFT) * i) / 2));
      setAttribute(node, "y", String(this.height - 4));
      setText(node, texts[i]);
    });
  }

  drawCursor(slot, x, y, floor) {
    if (state.cursor === undefined || slot < 0) return setAttribute(this.cross, "d", "");
    const { time, series } = state.history;
    let d = `M${x(time[slot]).toFixed(1)} ${Plot.TOP}V${floor}`;
    for (const [name] of this.series) {
      const value = series[name][slot];
      if (!Number.isNaN(value)) d += `M${(x(time[slot]) - 3).toFixed(1)} ${y(value).toFixed(1)}h6`;
    }
    setAttribute(this.cross, "d", d);
  }

  /** Writes the values of the last sample, or of the one at the cursor. */
  read(slot) {
    const { history, varz } = state;
    const live = state.cursor === undefined;
    const texts = this.series.map(([name], i) => {
      if (live && this.headline) return this.headline[i](varz ?? {});
      return slot < 0 || history.length === 0 ? NONE : this.form(history.series[name][slot]);
    });
    texts.forEach((text, i) => setText(this.values[i], text));
    const note = live ? this.note?.(varz ?? {}) : slot < 0 ? "no sample" : clock(history.time[slot]);
    setText(this.noteNode, note ?? "");
    const readings = this.series.map(([, label], i) => `${label} ${texts[i]}`);
    setAttribute(this.canvas, "aria-label", `${this.title}: ${readings.join(", ")}`);
  }
}

/** The paths of a series: its line, and the area below. Both have gaps where samples are missing. */
function outline(slots, values, x, y, floor) {
  const { time } = state.history;
  const gap = Math.max(2.5 * state.interval, 3500);
  let [line, area, from, last, lastTime] = ["", "", "", "", 0];
  const close = () => {
    if (from) area += `L${last} ${floor}L${from} ${floor}Z`;
    from = "";
  };
  for (const slot of slots) {
    if (Number.isNaN(values[slot]) || time[slot] - lastTime > gap) close();
    if (Number.isNaN(values[slot])) continue;
    const [px, py] = [x(time[slot]).toFixed(1), y(values[slot]).toFixed(1)];
    // A line of no length shows as a dot.
    line += from ? `L${px} ${py}` : `M${px} ${py}h0`;
    area += from ? `L${px} ${py}` : `M${px} ${floor}L${px} ${py}`;
    [from, last, lastTime] = [from || px, px, time[slot]];
  }
  close();
  return [line, area];
}

/** The time that the plots show: as much as is chosen, and as long as there is little, less. */
function plotSpan() {
  const { history, span } = state;
  const known = history.length > 0 ? plotEnd() - history.time[history.slot(0)] : 0;
  return SPANS.map((seconds) => seconds * 1000).find((part) => part >= known || part >= span);
}

/** The time at the right edge of all plots. */
function plotEnd() {
  if (state.paused) return state.pausedAt;
  return state.lostSince ? Date.now() : state.lastContact || Date.now();
}

function setCursor(time) {
  if (time === state.cursor) return;
  state.cursor = time;
  overview.draw();
}

// ---- tables -------------------------------------------------------------------------------------

/**
 * A table whose rows stay where they are and change what they say.
 *
 * A column has `id`, `title`, `text(row)`, and maybe `value(row)` to sort by, `server` (the name of
 * the server's order), `up` (that order is ascending), `number`, `minor` (left out on phones),
 * `open(row)` (what a press on its cell does) and `hint`.
 */
class Table {
  constructor({ label, columns, empty, sort, onSort, onRow, paged = false, mark }) {
    Object.assign(this, { label, columns, empty, sort, onSort, onRow, mark, rows: [], pool: [] });
    this.heads = columns.map((column) => {
      const press = el("button", { type: "button", click: () => this.press(column) }, column.title);
      if (column.hint) press.title = column.hint;
      return el("th", { scope: "col", class: this.kind(column) }, press);
    });
    this.body = el("tbody");
    this.message = el("td", { colspan: columns.length, class: "empty" }, "Loading …");
    this.messageRow = el("tr", {}, this.message);
    this.body.append(this.messageRow);
    this.table = el("table", {},
      el("caption", { class: "hidden" }, label),
      el("thead", {}, el("tr", {}, this.heads)),
      this.body);
    this.scroll = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, this.table);
    this.pager = paged ? new Pager(() => this.show()) : undefined;
    this.root = el("div", { class: "table" }, this.scroll, paged ? this.pager.root : []);
    this.showSort();
  }

  kind(column) {
    return [column.number && "number", column.minor && "minor", column.wide && "text"].filter(Boolean).join(" ");
  }

  press(column) {
    const same = this.sort?.id === column.id;
    const up = same ? !this.sort.up : column.server ? Boolean(column.up) : !column.number;
    this.sort = { id: column.id, up };
    this.showSort();
    if (this.pager) this.pager.offset = 0;
    if (this.onSort) this.onSort(this.sort);
    else this.show();
  }

  column() {
    return this.columns.find((column) => column.id === this.sort?.id);
  }

  showSort() {
    this.heads.forEach((head, i) => {
      const on = this.columns[i].id === this.sort?.id;
      setAttribute(head, "aria-sort", on ? (this.sort.up ? "ascending" : "descending") : undefined);
    });
  }

  set(rows, empty = this.empty) {
    this.rows = rows;
    this.empty = empty;
    this.show();
  }

  sorted() {
    const column = this.column();
    if (!column || (this.onSort && column.server)) return this.rows;
    const value = column.value ?? column.text;
    const order = this.sort.up ? 1 : -1;
    return this.rows.toSorted((a, b) => order * compare(value(a), value(b)));
  }

  show() {
    let rows = this.sorted();
    if (this.pager) {
      this.pager.set(rows.length);
      rows = rows.slice(this.pager.offset, this.pager.offset + this.pager.limit);
    }
    setText(this.message, this.empty);
    if (rows.length > 0) this.messageRow.remove();
    else if (!this.messageRow.isConnected) this.body.prepend(this.messageRow);
    while (this.pool.length > rows.length) this.pool.pop().row.remove();
    rows.forEach((row, i) => {
      const line = (this.pool[i] ??= this.addRow());
      line.data = row;
      line.row.classList.toggle("marked", Boolean(this.mark?.(row)));
      this.columns.forEach((column, c) => {
        const text = words(column.text(row));
        const title = text.length > 24 || column.number ? (column.full?.(row) ?? text) : undefined;
        setText(line.cells[c], shown(text));
        setAttribute(line.cells[c], "title", title === text && column.number ? undefined : title?.slice(0, 4096));
        if (column.press) line.cells[c].disabled = text === NONE;
      });
    });
  }

  addRow() {
    const line = { data: undefined };
    line.cells = this.columns.map((column) =>
      column.press ? el("button", { type: "button", class: "link", click: () => column.press(line.data) }) : el("span"));
    const cells = line.cells.map((cell, c) =>
      el(c === 0 ? "th" : "td", { class: this.kind(this.columns[c]), ...(c === 0 && { scope: "row" }) }, cell));
    line.row = el("tr", {}, cells);
    if (this.onRow) {
      line.row.classList.add("opens");
      line.row.addEventListener("click", (event) => {
        const elsewhere = event.target.closest("button") || String(getSelection());
        if (!elsewhere) this.onRow(line.data);
      });
    }
    this.body.append(line.row);
    return line;
  }
}

function compare(a, b) {
  if (isNumber(a) && isNumber(b)) return a - b;
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? 1 : -1;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Which part of a long list is shown. */
class Pager {
  offset = 0;
  limit = 50;
  total = 0;

  constructor(onMove) {
    const button = (text, move) =>
      el("button", { type: "button", click: () => (move(), onMove()) }, text);
    this.back = button("Previous", () => (this.offset = Math.max(0, this.offset - this.limit)));
    this.on = button("Next", () => (this.offset += this.limit));
    this.text = el("span", { class: "note" });
    const sizes = [25, 50, 100, 500].map((n) => el("option", { value: n }, `${n} rows`));
    this.size = el("select", { "aria-label": "Rows on a page", change: () => {
      this.limit = Number(this.size.value);
      this.offset -= this.offset % this.limit;
      onMove();
    } }, sizes);
    this.size.value = String(this.limit);
    this.root = el("div", { class: "pager" }, this.text, this.size, this.back, this.on);
    this.set(0);
  }

  set(total, note = "") {
    this.total = total;
    if (this.offset >= total) this.offset = Math.max(0, Math.ceil(total / this.limit) - 1) * this.limit;
    const last = Math.min(total, this.offset + this.limit);
    setText(this.text, `${total ? `${count(this.offset + 1)}–${count(last)} of ${count(total)}` : "0 of 0"}${note}`);
    // The shortest page holds it all: there is nothing to choose.
    for (const node of [this.size, this.back, this.on]) node.hidden = total <= 25;
    this.back.disabled = this.offset === 0;
    this.on.disabled = last >= total;
  }
}

/** A list of names and values. Pairs whose value is undefined are left out. */
class Facts {
  constructor(title) {
    this.list = el("dl", { class: "facts" });
    this.root = el("section", { class: "card" }, title ? el("h3", {}, title) : [], this.list);
    this.names = "";
  }

  set(pairs) {
    const known = pairs.filter(([, value]) => value !== undefined);
    const names = known.map(([name]) => name).join("\n");
    this.root.hidden = known.length === 0;
    if (names !== this.names) {
      this.names = names;
      this.values = known.map(() => el("dd"));
      this.list.replaceChildren(
        ...known.map(([name], i) => el("div", {}, el("dt", {}, name), this.values[i])));
    }
    known.forEach(([, value], i) => setText(this.values[i], shown(words(value))));
  }
}

/** A figure with a name, and maybe how much of a limit it takes. */
class Tiles {
  constructor(names) {
    this.tiles = names.map((name) => {
      const [value, note, bar] = [el("span", { class: "value" }, NONE), el("span", { class: "note" }), el("span", { class: "fill" })];
      const root = el("div", { class: "card tile" },
        el("span", { class: "title" }, name), value, el("span", { class: "track" }, bar), note);
      return { root, value, note, bar };
    });
    this.root = el("div", { class: "tiles" }, this.tiles.map((tile) => tile.root));
  }

  /** `values` are [text, note, share of the limit]. */
  set(values) {
    values.forEach(([text, note = "", share], i) => {
      const tile = this.tiles[i];
      setText(tile.value, text);
      setText(tile.note, note);
      tile.bar.parentNode.classList.toggle("used", share !== undefined);
      tile.bar.style.width = `${Math.min(100, (share ?? 0) * 100)}%`;
    });
  }
}

// ---- forms --------------------------------------------------------------------------------------

/** Text fields and lists of choices, by name. Tells when the user is done or rests. */
class Filters {
  constructor(label, fields, onChange) {
    this.inputs = {};
    let timer;
    const changed = (wait) => {
      clearTimeout(timer);
      timer = setTimeout(onChange, wait);
    };
    const parts = fields.map(({ name, title, options, ...attributes }) => {
      const input = options
        ? el("select", { name }, Object.entries(options).map(([value, text]) => el("option", { value }, text)))
        : el("input", { name, type: "search", autocomplete: "off", spellcheck: "false", ...attributes });
      input.addEventListener("input", () => changed(options ? 0 : 400));
      this.inputs[name] = input;
      return el("label", { class: "field" }, el("span", {}, title), input);
    });
    this.root = el("form", { class: "filters", role: "search", "aria-label": label, submit: (event) => {
      event.preventDefault();
      changed(0);
    } }, parts);
  }

  get(name) {
    return this.inputs[name].value.trim();
  }

  set(values) {
    for (const [name, input] of Object.entries(this.inputs)) {
      input.value = values[name] ?? (input.options ? input.options[0].value : "");
    }
  }
}

const contains = (text, part) => String(text ?? "").toLowerCase().includes(part.toLowerCase());

/** What all views have: a heading, the links to what they show, and a place for errors. */
class View {
  constructor(id, title, ...tools) {
    Object.assign(this, { id, title, linked: "" });
    this.raw = el("span", { class: "raw" });
    this.error = el("p", { class: "trouble", role: "status", hidden: "" });
    this.root = el("section", { id: `view-${id}`, "aria-label": title, hidden: "" },
      el("div", { class: "view-head" }, el("h2", {}, title), this.raw), ...tools, this.error);
  }

  /** The endpoints to ask, by the name under which `show` gets the answer. */
  urls() {
    return {};
  }

  show() {}

  /** Asks the endpoints, and shows what they say. */
  async refresh(signal) {
    const urls = this.urls();
    this.link(Object.values(urls));
    const asked = Object.entries(urls).map(async ([name, url]) => [name, await getJson(url, signal)]);
    const answers = await Promise.allSettled(asked);
    if (signal.aborted) return;
    const failure = answers.find((answer) => answer.status === "rejected")?.reason;
    this.error.hidden = !failure;
    setText(this.error, failure?.message ?? "");
    this.show(Object.fromEntries(answers.filter((a) => a.value).map((a) => a.value)), failure);
  }

  link(urls) {
    const text = urls.join("\n");
    if (this.linked === text) return;
    this.linked = text;
    this.raw.replaceChildren(...urls.map((url) => el("a", { href: ROOT + url }, `/${url.split("?")[0]}`)));
  }
}

// ---- the views ----------------------------------------------------------------------------------

class Overview extends View {
  constructor() {
    super("overview", "Overview");
    this.span = el("select", { "aria-label": "Time that the plots show", change: () => {
      state.span = Number(this.span.value) * 1000;
      settings.set("span", this.span.value);
      this.draw();
    } }, SPANS.map((value) => el("option", { value }, value > 60 ? `last ${value / 60} minutes` : "last minute")));
    this.span.value = String(state.span / 1000);
    this.raw.append(this.span);
    const flow = [["in", "out"], ["Msgs", "Bytes"]];
    const pair = (what) => flow[0].map((way) => [`${way}${what}`, way]);
    this.plots = [
      new Plot({ title: "Messages", series: pair("Msgs"), form: rate, axis: (v) => scaled(v, 1000, ["", "k", "M", "G"]), least: 10, wide: true,
        note: (v) => (v.in_msgs === undefined ? "" : `${count(v.in_msgs)} in, ${count(v.out_msgs)} out in all`) }),
      new Plot({ title: "Bytes", series: pair("Bytes"), form: byteRate, axis: bytes, base: 1024, least: 1024, wide: true,
        note: (v) => (v.in_bytes === undefined ? "" : `${bytes(v.in_bytes)} in, ${bytes(v.out_bytes)} out in all`) }),
      new Plot({ title: "Connections", series: [["connections", "open"]], form: count, whole: true, least: 4,
        note: (v) => (isNumber(v.total_connections) ? `${count(v.total_connections)} since start` : "") }),
      new Plot({ title: "Subscriptions", series: [["subscriptions", "held"]], form: count, whole: true, least: 4 }),
      new Plot({ title: "Slow consumers", series: [["slow", "closed"], ["stalled", "held back"]], form: count, whole: true, least: 4,
        headline: [(v) => count(v.slow_consumers), (v) => count(v.stalled_clients)], note: () => "plot: new ones" }),
      new Plot({ title: "CPU", series: [["cpu", "in use"]], form: percent, axis: (v) => `${v} %`, least: 4, wide: true,
        note: (v) => (isNumber(v.cores) ? `100 % is one of ${plural(v.cores, "core")}` : "") }),
      new Plot({ title: "Memory", series: [["mem", "resident"]], form: bytes, base: 1024, least: 4 * 1024 ** 2, wide: true }),
    ];
    this.facts = new Facts("Server");
    this.limits = new Facts("Limits");
    this.root.append(
      el("div", { class: "plots" }, this.plots.map((plot) => plot.root)),
      el("div", { class: "pairs" }, this.facts.root, this.limits.root));
  }

  draw() {
    if (this.root.hidden) return;
    for (const plot of this.plots) plot.draw();
  }

  showVarz(v) {
    this.draw();
    const some = (value, form = words) => (value === undefined ? undefined : form(value));
    const address = (host, port) => (port ? `${host ?? ""}:${port}` : undefined);
    this.facts.set([
      ["Clients", address(v.host, v.port)],
      ["Monitoring", address(v.http_host, v.http_port || v.https_port)],
      ["Cluster", some(v.cluster?.name)],
      ["Gateway", some(v.gateway?.name)],
      ["Started", moment(v.start)],
      ["Configuration loaded", some(v.config_load_time, moment)],
      ["Routes", some(v.routes, count)],
      ["Leaf nodes", some(v.leafnodes, count)],
      ["Stale connections so far", some(v.stale_connections, count)],
      ["Cores", some(v.cores, count)],
      ["Built with", some(v.go)],
      ["Commit", some(v.git_commit)],
      ["System account", some(v.system_account)],
      ["Authentication", v.auth_required ? "required" : "not required"],
      ["TLS", v.tls_required ? (v.tls_verify ? "required, with a certificate" : "required") : "not required"],
      ["Tags", v.tags?.length ? listed(v.tags) : undefined],
    ]);
    this.limits.set([
      ["Connections", some(v.max_connections, limit)],
      ["Subscriptions", some(v.max_subscriptions, limit)],
      ["Payload", some(v.max_payload, bytes)],
      ["Control line", some(v.max_control_line, bytes)],
      ["Pending of a client", some(v.max_pending, bytes)],
      ["Write deadline", some(v.write_deadline, nanos)],
      ["Ping interval", some(v.ping_interval, nanos)],
    ]);
  }
}

const flowColumns = (value, form) => [
  { id: "in_msgs", title: "Msgs from", server: "msgs_from", hint: "Messages that it sent", ...value("in_msgs", count) },
  { id: "out_msgs", title: "Msgs to", server: "msgs_to", hint: "Messages that it got", ...value("out_msgs", count) },
  { id: "in_bytes", title: "Bytes from", server: "bytes_from", hint: "Bytes of the messages that it sent", ...value("in_bytes", bytes) },
  { id: "out_bytes", title: "Bytes to", server: "bytes_to", hint: "Bytes of the messages that it got", ...value("out_bytes", bytes) },
].map((column) => ({ ...column, number: true, ...form?.(column) }));

const total = (key, form) => ({
  text: (row) => form(row[key]), value: (row) => row[key], full: (row) => isNumber(row[key]) ? grouped.format(row[key]) : NONE,
});

const number = (id, title, form = count, more = {}) => ({ id, title, number: true, ...total(id, form), ...more });
/** What it is, left out if it is a client with the plain protocol, and what it calls itself. */
const client = ({ kind, type, lang, version }) =>
  [kind !== "Client" && kind, type !== "nats" && type, lang, version].filter(Boolean).join(" ");
const address = (row) => (row.ip ? `${row.ip.includes(":") ? `[${row.ip}]` : row.ip}:${row.port ?? ""}` : NONE);

class Connections extends View {
  constructor() {
    const filters = new Filters("Connections to show", [
      { name: "state", title: "State", options: { open: "open", closed: "closed", all: "open and closed" } },
      { name: "acc", title: "Account" },
      { name: "user", title: "User" },
      { name: "cid", title: "Connection ID", inputmode: "numeric" },
      { name: "name", title: "Name contains" },
      { name: "figures", title: "Figures", options: { total: "in all", rate: "per second" } },
    ], () => this.changed());
    super("connections", "Connections", filters.root);
    this.filters = filters;
    this.before = new Map();
    this.place = el("div");
    this.root.append(this.place);
    this.pager = new Pager(() => wake());
    this.sort = { id: "cid", up: true };
    this.build();
  }

  /** What is typed may ask for other columns, and starts from the first page. */
  changed() {
    this.pager.offset = 0;
    this.build();
    wake();
  }

  build() {
    const kind = this.filters.get("state");
    if (kind !== "closed" && (this.sort.id === "stop" || this.sort.id === "reason")) this.sort = { id: "cid", up: true };
    const columns = this.columns(kind);
    if (kind === this.kind) return this.table.show();
    this.kind = kind;
    this.table = new Table({
      label: "Connections", columns, empty: "Loading …", sort: this.sort,
      onSort: (sort) => {
        this.sort = sort;
        this.pager.offset = 0;
        this.table.show();
        wake();
      },
      onRow: (row) => openConnection(row.cid),
      mark: (row) => kind === "all" && row.stop,
    });
    this.table.root.append(this.pager.root);
    this.place.replaceChildren(this.table.root);
  }

  columns(kind) {
    const ended = [
      { id: "stop", title: "Closed", server: kind === "closed" && "stop", text: (c) => moment(c.stop) },
      { id: "reason", title: "Reason", server: kind === "closed" && "reason", up: true, text: (c) => c.reason, wide: true },
    ];
    const alive = [
      { id: "idle", title: "Idle", server: "idle", number: true, text: (c) => c.idle },
      { id: "rtt", title: "RTT", server: "rtt", number: true, text: (c) => rtt(c.rtt), minor: true },
      number("pending_bytes", "Pending", bytes, { server: "pending", hint: "Bytes that wait for it" }),
    ];
    const figure = (key, form) => ({
      text: (row) => this.perSecond(row, key, form), value: (row) => row[key], full: total(key, form).full,
    });
    return [
      { id: "cid", title: "ID", server: "cid", up: true, number: true, text: (c) => c.cid, press: (c) => openConnection(c.cid) },
      { id: "name", title: "Name", text: (c) => c.name, wide: true },
      { id: "account", title: "Account", text: (c) => c.account, wide: true },
      { id: "user", title: "User", text: (c) => c.authorized_user, wide: true, minor: true },
      { id: "ip", title: "Address", text: address },
      { id: "lang", title: "Client", text: client, minor: true, wide: true },
      { id: "uptime", title: "Uptime", server: "uptime", up: true, number: true, text: (c) => c.uptime },
      ...(kind === "closed" ? ended : kind === "all" ? [...alive.slice(0, 1), ended[1]] : alive),
      number("subscriptions", "Subs", count, { server: "subs" }),
      ...flowColumns(figure),
    ];
  }

  perSecond(row, key, form) {
    if (this.filters.get("figures") === "total") return form(row[key]);
    const before = this.before.get(row.cid);
    if (row.stop || !before || !(this.seconds > 0)) return NONE;
    return (form === bytes ? byteRate : rate)((row[key] - before[key]) / this.seconds);
  }

  urls() {
    const column = this.table.column();
    const server = column?.server ? column : undefined;
    const shared = {
      auth: 1, state: this.filters.get("state"), acc: this.filters.get("acc"), user: this.filters.get("user"),
      sort: server?.server,
    };
    const cid = this.filters.get("cid");
    if (cid) return { connz: query("connz", { ...shared, sort: undefined, cid, limit: 1 }) };
    if (this.filters.get("name")) return { connz: query("connz", { ...shared, offset: 0, limit: SEARCHED }) };
    // The server knows one direction for each order; the other is read from the end.
    let { offset, limit: size } = this.pager;
    this.backwards = Boolean(server && this.pager.total > 0 && this.sort.up !== Boolean(server.up));
    this.expected = this.pager.total;
    if (this.backwards) {
      size = Math.min(size, this.expected - offset);
      offset = this.expected - offset - size;
    }
    return { connz: query("connz", { ...shared, offset, limit: size }) };
  }

  show({ connz }) {
    if (!connz) return this.table.rows.length > 0 || this.table.set([], "Nothing to show.");
    let rows = list(connz.connections);
    const name = this.filters.get("name");
    const now = Date.parse(connz.now);
    this.seconds = (now - this.now) / 1000;
    const searched = rows.length;
    let note = "";
    if (this.filters.get("cid")) {
      this.pager.set(rows.length);
    } else if (name) {
      rows = rows.filter((row) => contains(row.name, name));
      note = connz.total > searched ? ` (among the first ${count(searched)})` : "";
      this.pager.set(rows.length, note);
      rows = rows.slice(this.pager.offset, this.pager.offset + this.pager.limit);
    } else {
      if (this.backwards) rows = rows.toReversed();
      this.pager.set(connz.total ?? rows.length);
      const column = this.table.column();
      const turned = column?.server && this.sort.up !== Boolean(column.up);
      // The end has moved, or is known only now: this page was read from the wrong place.
      if (turned && connz.total > 0 && connz.total !== this.expected) soon();
    }
    const some = ["acc", "user", "cid", "name"].some((field) => this.filters.get(field));
    const kind = this.filters.get("state") === "closed" ? "closed connection" : "connection";
    this.table.set(rows, some ? `No ${kind} fits these filters.` : `There is no ${kind}.`);
    this.before = new Map(rows.map((row) => [row.cid, row]));
    this.now = now;
  }
}

const SUBSCRIPTION = [
  { id: "subject", title: "Subject", text: (s) => s.subject, wide: true },
  { id: "qgroup", title: "Queue group", text: (s) => s.qgroup, wide: true },
  { id: "account", title: "Account", text: (s) => s.account_tag ?? s.account, wide: true },
  { id: "sid", title: "SID", text: (s) => s.sid, wide: true, minor: true },
  number("msgs", "Messages"),
  { id: "max", title: "Max", number: true, text: (s) => (s.max ? count(s.max) : undefined), value: (s) => s.max ?? 0, minor: true },
];

class Subscriptions extends View {
  constructor() {
    const filters = new Filters("Subscriptions to show", [
      { name: "test", title: "Get messages on subject", placeholder: "orders.eu.42" },
      { name: "acc", title: "Account" },
    ], () => {
      this.pager.offset = 0;
      wake();
    });
    super("subscriptions", "Subscriptions", filters.root);
    this.filters = filters;
    this.tiles = new Tiles(["Subscriptions", "Cached routes", "Cache hit rate", "Fan-out, average", "Fan-out, largest", "Matches"]);
    this.pager = new Pager(() => wake());
    const columns = [...SUBSCRIPTION,
      { id: "cid", title: "Connection", number: true, text: (s) => s.cid, press: (s) => openConnection(s.cid) }];
    this.table = new Table({ label: "Subscriptions", columns, empty: "Loading …" });
    this.table.root.append(this.pager.root);
    this.root.append(this.tiles.root, this.table.root);
  }

  urls() {
    const { offset, limit: size } = this.pager;
    const [test, acc] = [this.filters.get("test"), this.filters.get("acc")];
    return { subsz: query("subsz", { subs: 1, offset, limit: size, test, acc }) };
  }

  show({ subsz }) {
    if (!subsz) return this.table.set([], "Nothing to show.");
    const hits = isNumber(subsz.cache_hit_rate) ? percent(subsz.cache_hit_rate * 100) : NONE;
    const fanout = isNumber(subsz.avg_fanout) ? subsz.avg_fanout.toFixed(2) : NONE;
    this.tiles.set([[count(subsz.num_subscriptions)], [count(subsz.num_cache)], [hits], [fanout],
      [count(subsz.max_fanout)], [count(subsz.num_matches)]]);
    const rows = list(subsz.subscriptions_list);
    this.pager.set(subsz.total ?? rows.length);
    const some = this.filters.get("test") || this.filters.get("acc");
    this.table.set(rows, some ? "No subscription fits these filters." : "There is no subscription.");
  }
}

class Accounts extends View {
  constructor() {
    const filters = new Filters("Accounts to show", [{ name: "name", title: "Name contains" }], () => this.show(this.last));
    super("accounts", "Accounts", filters.root);
    this.filters = filters;
    this.last = {};
    this.table = new Table({
      label: "Accounts", empty: "Loading …", paged: true, sort: { id: "name", up: true },
      onRow: (row) => openAccount(row.acc),
      columns: [
        { id: "name", title: "Account", text: (a) => a.name ?? a.acc, wide: true, press: (a) => openAccount(a.acc) },
        number("conns", "Clients"),
        number("leafnodes", "Leaf nodes"),
        number("num_subscriptions", "Subs"),
        ...[["received", "from"], ["sent", "to"]].flatMap(([key, way]) => [
          { id: `${key}_msgs`, title: `Msgs ${way}`, number: true, text: (a) => count(a[key]?.msgs), value: (a) => a[key]?.msgs },
          { id: `${key}_bytes`, title: `Bytes ${way}`, number: true, text: (a) => bytes(a[key]?.bytes), value: (a) => a[key]?.bytes },
        ]),
        number("slow_consumers", "Slow consumers"),
      ],
    });
    this.root.append(this.table.root);
  }

  urls() {
    return { accstatz: "accstatz?unused=1" };
  }

  show(answers) {
    this.last = answers;
    const rows = list(answers.accstatz?.account_statz);
    const name = this.filters.get("name");
    this.table.set(rows.filter((row) => contains(row.name ?? row.acc, name)), name ? "No account has such a name." : "There is no account.");
  }
}

const linkColumns = [
  { id: "ip", title: "Address", text: address },
  { id: "uptime", title: "Uptime", number: true, text: (r) => r.uptime, value: (r) => parseDuration(r.uptime) },
  { id: "rtt", title: "RTT", number: true, text: (r) => rtt(r.rtt), value: (r) => parseDuration(r.rtt) },
  number("subscriptions", "Subs"),
  ...flowColumns(total).map((column) => ({ ...column, server: undefined })),
];

class Cluster extends View {
  constructor() {
    super("cluster", "Cluster");
    const kind = (label, columns) => {
      const table = new Table({ label, columns, empty: "Loading …", paged: true });
      this.root.append(el("h3", {}, label), table.root);
      return table;
    };
    this.routes = kind("Routes", [
      { id: "remote_name", title: "Server", text: (r) => r.remote_name ?? r.remote_id, wide: true },
      number("rid", "ID"),
      { id: "account", title: "Account", text: (r) => r.account, wide: true },
      { id: "way", title: "Opened by", text: (r) => (r.did_solicit ? "us" : "them"), minor: true },
      { id: "compression", title: "Compression", text: (r) => r.compression, minor: true },
      number("pending_size", "Pending", bytes),
      ...linkColumns,
    ]);
    this.gateways = kind("Gateways", [
      { id: "gateway", title: "Gateway", text: (r) => r.gateway, wide: true },
      { id: "way", title: "Direction", text: (r) => r.way },
      number("cid", "ID"),
      { id: "configured", title: "Configured", text: (r) => yesNo(r.configured), minor: true },
      ...linkColumns,
    ]);
    this.leafs = kind("Leaf nodes", [
      { id: "name", title: "Server", text: (r) => r.name, wide: true },
      number("id", "ID"),
      { id: "account", title: "Account", text: (r) => r.account, wide: true },
      { id: "way", title: "We are", text: (r) => (r.is_spoke ? "the spoke" : "the hub"), minor: true },
      { id: "compression", title: "Compression", text: (r) => r.compression, minor: true },
      ...linkColumns.filter((column) => column.id !== "uptime"),
    ]);
  }

  urls() {
    return { routez: "routez", gatewayz: "gatewayz", leafz: "leafz" };
  }

  show({ routez, gatewayz, leafz }) {
    const gateways = [];
    const add = (way, gateway, { configured, connection }) => gateways.push({ ...connection, way, gateway, configured });
    for (const [name, link] of Object.entries(gatewayz?.outbound_gateways ?? {})) add("out", name, link ?? {});
    for (const [name, links] of Object.entries(gatewayz?.inbound_gateways ?? {})) {
      for (const link of list(links)) add("in", name, link ?? {});
    }
    if (routez) this.routes.set(list(routez.routes), "No routes: this server is in touch with no other of its cluster.");
    if (gatewayz) this.gateways.set(gateways, "No gateways: this server is in touch with no other cluster.");
    if (leafz) this.leafs.set(list(leafz.leafs), "No leaf nodes are connected.");
    for (const table of [this.routes, this.gateways, this.leafs]) {
      if (table.empty === "Loading …") table.set([], "Nothing to show.");
    }
  }
}

const share = (used, max) => (isNumber(used) && max > 0 && max < 2 ** 62 ? used / max : undefined);

class JetStream extends View {
  constructor() {
    const filters = new Filters("Streams and consumers to show", [{ name: "name", title: "Name or subject contains" }],
      () => this.show(this.last));
    super("jetstream", "JetStream");
    this.filters = filters;
    this.last = {};
    this.off = el("div", { class: "card blank", hidden: "" });
    this.tiles = new Tiles(["Memory", "Storage", "Streams", "Consumers", "Messages", "API requests"]);
    this.meta = new Facts("Meta group");
    this.streams = new Table({
      label: "Streams", empty: "Loading …", paged: true, sort: { id: "name", up: true },
      onRow: (row) => openStream(row.account, row.name),
      columns: [
        { id: "name", title: "Stream", text: (s) => s.name, wide: true, press: (s) => openStream(s.account, s.name) },
        { id: "account", title: "Account", text: (s) => s.account, wide: true },
        { id: "subjects", title: "Subjects", text: (s) => listed(s.config?.subjects), wide: true },
        { id: "storage", title: "Storage", text: (s) => s.config?.storage, minor: true },
        { id: "replicas", title: "Replicas", number: true, text: (s) => s.config?.num_replicas, minor: true },
        { id: "leader", title: "Leader", text: (s) => s.cluster?.leader, wide: true, minor: true },
        ...[["messages", "Messages", count], ["bytes", "Bytes", bytes], ["consumer_count", "Consumers", count],
          ["first_seq", "First", count], ["last_seq", "Last", count]].map(([key, title, form]) => (
          { id: key, title, number: true, text: (s) => form(s.state?.[key]), value: (s) => s.state?.[key] })),
        { id: "last_ts", title: "Last message", text: (s) => moment(s.state?.last_ts), minor: true },
      ],
    });
    this.consumers = new Table({
      label: "Consumers", empty: "Loading …", paged: true, sort: { id: "stream_name", up: true },
      columns: [
        { id: "name", title: "Consumer", text: (c) => c.name, wide: true },
        { id: "stream_name", title: "Stream", text: (c) => c.stream_name, wide: true, press: (c) => openStream(c.account, c.stream_name) },
        ...consumerColumns,
      ],
    });
    this.on = el("div", {}, this.tiles.root, this.meta.root, filters.root,
      el("h3", {}, "Streams"), this.streams.root, el("h3", {}, "Consumers"), this.consumers.root);
    this.root.append(this.off, this.on);
  }

  urls() {
    return { jsz: query("jsz", { accounts: 1, streams: 1, consumers: 1, config: 1, limit: 1024 }) };
  }

  show(answers, failure) {
    this.last = answers;
    const { jsz } = answers;
    const missing = failure?.status === 404;
    const disabled = jsz?.disabled === true || missing;
    if (missing) this.error.hidden = true;
    [this.off.hidden, this.on.hidden] = [!disabled, disabled];
    setText(this.off, "JetStream is not enabled on this server.");
    if (!jsz || disabled) return;
    const { config = {}, api = {}, meta_cluster: meta } = jsz;
    const reserved = (value, max) =>
      `of ${limit(max, bytes)}${value > 0 && value < 2 ** 62 ? `, ${bytes(value)} reserved` : ""}`;
    this.tiles.set([
      [bytes(jsz.memory), reserved(jsz.reserved_memory, config.max_memory), share(jsz.memory, config.max_memory)],
      [bytes(jsz.storage), reserved(jsz.reserved_storage, config.max_storage), share(jsz.storage, config.max_storage)],
      [count(jsz.streams), plural(jsz.accounts, "account")],
      [count(jsz.consumers)],
      [count(jsz.messages), bytes(jsz.bytes)],
      [count(api.total), plural(api.errors, "error")],
    ]);
    this.meta.set(!meta ? [] : [
      ["Leader", meta.leader || "none"],
      ["Members", count(meta.cluster_size)],
      ["Pending", meta.pending === undefined ? undefined : count(meta.pending)],
      ...list(meta.replicas).map((peer) => [`Peer ${peer.name}`,
        `${peer.offline ? "offline" : peer.current ? "current" : "behind"}, ${peer.active ? `seen ${nanos(peer.active)} ago` : "not seen"}`]),
    ]);
    const part = this.filters.get("name");
    const fits = (...texts) => !part || texts.some((text) => contains(text, part));
    const streams = list(jsz.account_details).flatMap((account) =>
      list(account.stream_detail).map((stream) => ({ ...stream, account: account.name })));
    const consumers = streams.flatMap((stream) =>
      list(stream.consumer_detail).map((consumer) => ({ ...consumer, account: stream.account })));
    this.streams.set(streams.filter((s) => fits(s.name, ...list(s.config?.subjects))), part ? "No stream fits." : "There is no stream.");
    this.consumers.set(consumers.filter((c) => fits(c.name, c.stream_name)), part ? "No consumer fits." : "There is no consumer.");
  }
}

const consumerColumns = [
  { id: "kind", title: "Kind", text: (c) => (c.config?.deliver_subject ? "push" : "pull"), minor: true },
  number("num_pending", "Unprocessed"),
  number("num_ack_pending", "Unacknowledged"),
  number("num_redelivered", "Redelivered"),
  number("num_waiting", "Waiting pulls", count, { minor: true }),
  { id: "delivered", title: "Delivered", number: true, text: (c) => count(c.delivered?.stream_seq), value: (c) => c.delivered?.stream_seq, hint: "Sequence of the stream that was delivered last" },
  { id: "floor", title: "Ack floor", number: true, text: (c) => count(c.ack_floor?.stream_seq), value: (c) => c.ack_floor?.stream_seq, minor: true },
  { id: "active", title: "Last active", text: (c) => moment(c.delivered?.last_active), minor: true },
];

// ---- details ------------------------------------------------------------------------------------

const details = {
  dialog: undefined,
  view: undefined,

  open(view, title) {
    this.view = view;
    setText(byId("details-title"), title);
    byId("details-body").replaceChildren(view.root);
    view.root.hidden = false;
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    wake();
  },

  closed() {
    this.view = undefined;
    byId("details-body").replaceChildren();
    wake();
  },
};

function openConnection(cid) {
  const view = new View("details", "Connection");
  const facts = [new Facts("Client"), new Facts("Connection"), new Facts("Traffic")];
  const tls = new Facts("TLS");
  const table = new Table({ label: "Subscriptions", columns: SUBSCRIPTION.filter((c) => c.id !== "account"), empty: "Loading …", paged: true });
  view.root.append(...facts.map((f) => f.root), tls.root, el("h3", {}, "Subscriptions"), table.root);
  for (const one of [...facts, tls]) one.root.hidden = true;
  let closed = false;
  view.urls = () => ({ connz: query("connz", { cid, state: closed ? "closed" : "open", subs: "detail", auth: 1 }) });
  view.show = ({ connz }) => {
    const c = list(connz?.connections)[0];
    if (!c) {
      // It may have been closed meanwhile.
      if (connz && !closed) {
        closed = true;
        soon();
      } else if (connz) table.set([], "Neither an open connection nor one of the last closed ones has this ID.");
      return;
    }
    facts[0].set([
      ["Name", c.name], ["Account", c.account], ["User", c.authorized_user],
      ["Library", [c.lang, c.version].filter(Boolean).join(" ") || undefined],
      ["MQTT client", c.mqtt_client], ["Tags", c.tags && listed(c.tags)], ["Name tag", c.name_tag],
      ["Issuer", c.issuer_key], ["Proxy", c.proxy?.key],
    ]);
    facts[1].set([
      ["State", c.stop ? "closed" : "open"], ["Reason", c.reason], ["Closed", c.stop && moment(c.stop)],
      ["Kind", [c.kind, c.type].filter(Boolean).join(", ") || undefined], ["Address", address(c)],
      ["Opened", moment(c.start)], ["Last activity", moment(c.last_activity)], ["Uptime", c.uptime], ["Idle", c.idle],
      ["Round trip", c.rtt && rtt(c.rtt)],
    ]);
    facts[2].set([
      ["Messages from it", count(c.in_msgs)], ["Messages to it", count(c.out_msgs)],
      ["Bytes from it", bytes(c.in_bytes)], ["Bytes to it", bytes(c.out_bytes)],
      ["Pending", bytes(c.pending_bytes)], ["Times held back", c.stalls === undefined ? undefined : count(c.stalls)],
      ["Subscriptions", count(c.subscriptions)],
    ]);
    tls.set([
      ["Version", c.tls_version], ["Cipher suite", c.tls_cipher_suite],
      ["First", c.tls_first === undefined ? undefined : yesNo(c.tls_first)],
      ...list(c.tls_peer_certs).map((cert) => ["Certificate", cert.subject ?? cert.cert_sha256]),
    ]);
    const rows = c.subscriptions_list_detail ?? list(c.subscriptions_list).map((subject) => ({ subject }));
    table.set(rows, c.stop ? "A closed connection has none." : "It has none.");
  };
  details.open(view, `Connection ${cid}`);
}

function openAccount(name) {
  const view = new View("details", "Account");
  const facts = new Facts("Account");
  const jwt = new Facts("JWT");
  const share = (label) => new Table({ label, empty: "None.", paged: true, columns: [
    { id: "subject", title: "Subject", text: (e) => e.subject, wide: true },
    { id: "type", title: "Type", text: (e) => e.type },
    { id: "account", title: "Account", text: (e) => e.account, wide: true },
    { id: "to", title: "As", text: (e) => e.local_subject ?? e.to, wide: true },
  ] });
  const [exports, imports] = [share("Exports"), share("Imports")];
  const show = el("button", { type: "button", click: () => {
    byId("details").close();
    views.connections.filters.set({ acc: name });
    views.connections.changed();
    location.hash = "#connections";
  } }, "Show its connections");
  view.root.append(facts.root, jwt.root, el("p", {}, show), el("h3", {}, "Exports"), exports.root, el("h3", {}, "Imports"), imports.root);
  facts.root.hidden = jwt.root.hidden = true;
  view.urls = () => ({ accountz: query("accountz", { acc: name }) });
  view.show = ({ accountz }) => {
    const a = accountz?.account_detail;
    if (!a) return;
    facts.set([
      ["Name", a.account_name], ["System account", a.is_system && "yes"], ["Updated", moment(a.update_time)],
      ["Expired", yesNo(a.expired)], ["Complete", yesNo(a.complete)], ["JetStream", a.jetstream_enabled ? "enabled" : "not enabled"],
      ["Clients", count(a.client_connections)], ["Leaf nodes", count(a.leafnode_connections)], ["Subscriptions", count(a.subscriptions)],
      ["Mappings", a.mappings ? count(Object.keys(a.mappings).length) : undefined],
    ]);
    jwt.set([["Issuer", a.issuer_key], ["Name tag", a.jwt && a.name_tag], ["Tags", a.tags && listed(a.tags)]]);
    exports.set(list(a.exports));
    imports.set(list(a.imports));
  };
  details.open(view, `Account ${shown(words(name))}`);
}

function openStream(account, name) {
  const view = new View("details", "Stream");
  const [holds, config, group] = [new Facts("State"), new Facts("Configuration"), new Facts("Replicas")];
  const table = new Table({ label: "Consumers", empty: "Loading …", paged: true,
    columns: [{ id: "name", title: "Consumer", text: (c) => c.name, wide: true }, ...consumerColumns] });
  view.root.append(holds.root, config.root, group.root, el("h3", {}, "Consumers"), table.root);
  for (const one of [holds, config, group]) one.root.hidden = true;
  view.urls = () => ({ jsz: query("jsz", { acc: account, streams: 1, consumers: 1, config: 1 }) });
  view.show = ({ jsz }) => {
    if (!jsz) return;
    const found = list(jsz.account_details).flatMap((a) => list(a.stream_detail)).find((s) => s.name === name);
    if (!found) return table.set([], "This stream does not exist any more.");
    const { state: s = {}, config: c = {}, cluster } = found;
    holds.set([
      ["Messages", count(s.messages)], ["Bytes", bytes(s.bytes)], ["First sequence", count(s.first_seq)], ["Last sequence", count(s.last_seq)],
      ["First message", moment(s.first_ts)], ["Last message", moment(s.last_ts)],
      ["Subjects", s.num_subjects === undefined ? undefined : count(s.num_subjects)],
      ["Deleted", s.num_deleted === undefined ? undefined : count(s.num_deleted)], ["Created", moment(found.created)],
    ]);
    config.set(!found.config ? [] : [
      ["Description", c.description], ["Subjects", listed(c.subjects)], ["Storage", c.storage], ["Retention", c.retention], ["Discard", c.discard],
      ["Replicas", count(c.num_replicas)], ["Messages at most", limit(c.max_msgs)], ["Bytes at most", limit(c.max_bytes, bytes)],
      ["Age at most", c.max_age ? nanos(c.max_age) : "unlimited"], ["Message size at most", limit(c.max_msg_size, bytes)],
      ["Duplicate window", c.duplicate_window === undefined ? undefined : nanos(c.duplicate_window)],
      ["Mirror of", found.mirror?.name ?? c.mirror?.name], ["Sources", c.sources && listed(c.sources.map((source) => source.name))],
      ["Compression", c.compression], ["Sealed", c.sealed && "yes"],
    ]);
    group.set(!cluster ? [] : [
      ["Leader", cluster.leader || "none"], ["Group", cluster.raft_group],
      ...list(cluster.replicas).map((peer) => [`Peer ${peer.name}`, peer.offline ? "offline" : peer.current ? "current" : `behind by ${count(peer.lag ?? 0)}`]),
    ]);
    table.set(list(found.consumer_detail), "It has no consumer.");
  };
  details.open(view, `Stream ${shown(name)}`);
}

// ---- the page -----------------------------------------------------------------------------------

let views, overview, current;

async function askVarz(signal) {
  try {
    const varz = await getJson("varz", signal);
    const now = Date.now();
    const found = state.lostSince > 0 || state.lastContact === 0;
    Object.assign(state, { failures: 0, lostSince: 0, lastContact: now });
    remember(varz, now);
    showHeader(varz);
    overview.showVarz(varz);
    if (found) run();
  } catch (error) {
    if (signal.aborted) return;
    state.failures += 1;
    state.lostSince ||= Date.now();
    state.reason = error.message;
    if (state.failures === 1) run();
    overview.draw();
  }
  showContact();
}

async function askHealth(signal) {
  let health;
  try {
    health = await getJson("healthz?details=1", signal, true);
  } catch (error) {
    health = { status: "unknown", error: error.message };
  }
  if (!signal.aborted) showHealth(health);
}

/** What the view in sight asks for: details hide all else. */
const watched = () => details.view ?? current;

const varzLoop = new Loop(askVarz, (took) =>
  state.failures ? Math.min(RETRY_MAX_MS, 1000 * 2 ** (state.failures - 1)) : Math.max(50, state.interval - took));
// A server that takes long to answer is asked less often.
const viewLoop = new Loop((signal) => watched().refresh(signal), (took) => {
  if (!hurry) return Math.max(VIEW_MS, state.interval, 10 * took);
  hurry = false;
  return 20;
});
const healthLoop = new Loop(askHealth, () => Math.max(HEALTH_MS, state.interval));
let hurry = false;

/** Has the view asked for again as soon as what is asked now is shown. */
function soon() {
  hurry = true;
}

/** Asks for the view at once. */
function wake() {
  if (canAsk() && !state.lostSince && state.lastContact) viewLoop.start();
}

const canAsk = () => !state.paused && !document.hidden;

/** Starts and stops the loops to fit the state: without contact only /varz is tried. */
function run() {
  const met = state.lastContact > 0 && !state.lostSince;
  for (const loop of [viewLoop, healthLoop]) {
    if (canAsk() && met) loop.start();
    else loop.stop();
  }
  showContact();
}

function resume() {
  if (canAsk()) varzLoop.start();
  else varzLoop.stop();
  run();
}

function showContact() {
  const lost = state.lostSince > 0;
  const kind = state.paused ? "paused" : lost ? "lost" : state.lastContact ? "live" : "wait";
  const contact = byId("contact");
  contact.dataset.state = kind;
  const since = clock(state.lastContact || state.lostSince);
  setText(contact, { paused: "Paused", lost: "Lost contact", live: "Live", wait: "Connecting" }[kind]);
  const trouble = byId("lost");
  trouble.hidden = kind !== "lost";
  const tells = state.lastContact ? `Lost contact since ${since}` : `No contact since ${since}`;
  if (lost) setText(trouble, `${tells} (${state.reason}). Trying again; what is shown is old.`);
  document.body.classList.toggle("stale", kind === "lost");
  const name = state.varz ? words(state.varz.server_name ?? state.varz.server_id) : "NATS server";
  const title = lost ? `(no contact) ${name}` : name;
  if (document.title !== title) document.title = title;
}

function showHeader(varz) {
  setText(byId("name"), shown(words(varz.server_name ?? varz.server_id)));
  setText(byId("version"), `Version ${words(varz.version)}`);
  setText(byId("uptime"), `up ${words(varz.uptime)}`);
  setText(byId("id"), words(varz.server_id));
  setAttribute(byId("id"), "title", words(varz.server_id));
  const links = (varz.routes ?? 0) + (varz.leafnodes ?? 0);
  const badges = { connections: varz.connections, subscriptions: varz.subscriptions, cluster: links || undefined };
  for (const [id, value] of Object.entries(badges)) {
    setText(views[id].badge, isNumber(value) ? scaled(value, 1000, ["", "k", "M"]) : "");
  }
}

function showHealth(health) {
  const pill = byId("health");
  const well = health.status === "ok";
  pill.dataset.state = well ? "ok" : health.status === "unknown" ? "unknown" : "bad";
  setText(pill, well ? "Healthy" : health.status === "unknown" ? "Health unknown" : `Not healthy: ${shown(words(health.status))}`);
  const texts = list(health.errors).map((error) => {
    const place = [error.account, error.stream, error.consumer].filter(Boolean).join(" / ");
    return `${words(error.type)}${place && ` (${place})`}: ${words(error.error)}`;
  });
  if (texts.length === 0 && health.error) texts.push(health.error);
  const trouble = byId("trouble");
  trouble.hidden = well || texts.length === 0;
  const more = texts.length > 10 ? [`and ${texts.length - 10} more`] : [];
  const lines = [...texts.slice(0, 10).map(shown), ...more];
  if (trouble.innerText !== lines.join("\n")) {
    trouble.replaceChildren(...lines.map((line) => el("div", {}, line)));
  }
}

function show() {
  const wanted = location.hash.slice(1);
  current = views[wanted] ?? overview;
  for (const view of Object.values(views)) {
    view.root.hidden = view !== current;
    setAttribute(view.tab, "aria-current", view === current ? "page" : undefined);
  }
  // On a phone the tab may be out of sight.
  const nav = byId("nav");
  nav.scrollLeft = current.tab.offsetLeft - nav.clientWidth / 2 + current.tab.clientWidth / 2;
  if (details.dialog.open) details.dialog.close();
  overview.draw();
  wake();
}

function showTheme(theme) {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  if (theme) document.documentElement.dataset.theme = theme;
  byId("theme")?.setAttribute("aria-pressed", String((theme ?? system) === "dark"));
  return theme ?? system;
}

function start() {
  details.dialog = byId("details");
  details.dialog.addEventListener("close", () => details.closed());
  details.dialog.addEventListener("click", (event) => {
    if (event.target === details.dialog) details.dialog.close();
  });
  byId("details-close").addEventListener("click", () => details.dialog.close());

  overview = new Overview();
  const all = [overview, new Connections(), new Subscriptions(), new Accounts(), new Cluster(), new JetStream()];
  views = Object.fromEntries(all.map((view) => [view.id, view]));
  for (const view of all) {
    view.badge = el("span", { class: "badge" });
    view.tab = el("a", { href: `#${view.id}` }, view.title, view.badge);
    byId("nav").append(view.tab);
    byId("main").append(view.root);
  }
  document.body.append(el("div", { id: "lost", class: "lost", role: "alert", hidden: "" }));
  for (const link of document.querySelectorAll('.endpoints a[href^="./"]')) {
    link.setAttribute("href", ROOT + link.querySelector(".endpoint").textContent.slice(1));
  }

  const interval = byId("interval");
  interval.value = String(state.interval);
  interval.addEventListener("change", () => {
    state.interval = Number(interval.value);
    settings.set("interval", interval.value);
    resume();
  });
  byId("pause").addEventListener("click", () => {
    state.paused = !state.paused;
    state.pausedAt = state.lastContact || Date.now();
    setText(byId("pause"), state.paused ? "Resume" : "Pause");
    setAttribute(byId("pause"), "aria-pressed", String(state.paused));
    resume();
    overview.draw();
  });
  let theme = showTheme(settings.get("theme", ["light", "dark"]));
  byId("theme").addEventListener("click", () => {
    theme = showTheme(theme === "dark" ? "light" : "dark");
    settings.set("theme", theme);
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  document.addEventListener("visibilitychange", resume);
  addEventListener("hashchange", show);
  show();
  resume();
}

// The theme is set before anything is painted.
showTheme(settings.get("theme", ["light", "dark"]));
document.addEventListener("DOMContentLoaded", start);
