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

const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat());
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

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
  const text = n
    .toFixed(digits)
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
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
  const units = [
    [86400e9, "d"],
    [3600e9, "h"],
    [60e9, "min"],
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
  ];
  const [size, unit] = units.find(([size]) => Math.abs(value) >= size) ?? [1, "ns"];
  return `${Number((value / size).toPrecision(3))} ${unit}`;
}

/** Nanoseconds of a duration as Go writes it, such as `1m2.5s`. */
function parseDuration(text) {
  const sizes = { y: 31536000e9, d: 86400e9, h: 3600e9, m: 60e9, s: 1e9, ms: 1e6, µs: 1e3, us: 1e3, ns: 1 };
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
