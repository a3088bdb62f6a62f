// Asking the server, and remembering what it said.

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

/**
 * Repeats a task until it is stopped. `pace` gets what the last run took, and tells after what time
 * the next one starts, both in milliseconds; or nothing, if there is to be none.
 */
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
    const pause = this.pace(performance.now() - began);
    if (turn === this.turn && pause !== undefined) this.timer = setTimeout(() => this.run(turn), pause);
  }
}

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
  "inMsgs",
  "outMsgs",
  "inBytes",
  "outBytes",
  "cpu",
  "mem",
  "connections",
  "subscriptions",
  "slow",
  "stalled",
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
  inMsgs: "in_msgs",
  outMsgs: "out_msgs",
  inBytes: "in_bytes",
  outBytes: "out_bytes",
  slow: "slow_consumers",
  stalled: "stalled_clients",
};

/** Adds a sample: rates from what the counters gained since the last one, by the server's clock. */
function remember(varz, now) {
  const before = state.varz;
  const sample = {
    cpu: varz.cpu,
    mem: varz.mem,
    connections: varz.connections,
    subscriptions: varz.subscriptions,
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
