// The page as a whole: when what is asked, what its head says, and its start.

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
    if (state.failures === 1) {
      showHealth({ status: "unknown" });
      run();
    }
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
  state.failures
    ? Math.min(RETRY_MAX_MS, 1000 * 2 ** (state.failures - 1))
    : Math.max(50, state.interval - took),
);
// A server that takes long to answer is asked less often.
const viewLoop = new Loop(
  (signal) => watched().refresh(signal),
  (took) => {
    if (hurry) {
      hurry = false;
      return 20;
    }
    return state.paused ? undefined : Math.max(VIEW_MS, state.interval, 10 * took);
  },
);
const healthLoop = new Loop(askHealth, () => Math.max(HEALTH_MS, state.interval));
let hurry = false;

/** Has the view asked for again as soon as what is asked now is shown. */
function soon() {
  hurry = true;
}

/** Asks for the view at once, while paused for once: the user did something to see it. */
function wake() {
  if (!document.hidden && !state.lostSince && state.lastContact) viewLoop.start();
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
  const badges = {
    connections: varz.connections,
    subscriptions: varz.subscriptions,
    cluster: links || undefined,
  };
  for (const [id, value] of Object.entries(badges)) {
    setText(views[id].badge, isNumber(value) ? scaled(value, 1000, ["", "k", "M"]) : "");
  }
}

function showHealth(health) {
  const pill = byId("health");
  const well = health.status === "ok";
  pill.dataset.state = well ? "ok" : health.status === "unknown" ? "unknown" : "bad";
  setText(
    pill,
    well
      ? "Healthy"
      : health.status === "unknown"
        ? "Health unknown"
        : `Not healthy: ${shown(words(health.status))}`,
  );
  const texts = list(health.errors).map((error) => {
    const place = [error.account, error.stream, error.consumer].filter(Boolean).join(" / ");
    return `${words(error.type)}${place && ` (${place})`}: ${words(error.error)}`;
  });
  if (texts.length === 0 && health.error) texts.push(health.error);
  const trouble = byId("trouble");
  trouble.hidden = well || texts.length === 0;
  const more = texts.length > 10 ? [`and ${texts.length - 10} more`] : [];
  const lines = [...texts.slice(0, 10).map(shown), ...more];
  // Whoever has the page read out hears the same errors once.
  if (state.trouble !== lines.join("\n")) {
    state.trouble = lines.join("\n");
    trouble.replaceChildren(...lines.map((line) => el("div", {}, line)));
  }
}

function show() {
  const wanted = location.hash.slice(1);
  current = Object.hasOwn(views, wanted) ? views[wanted] : overview;
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
  const all = [
    overview,
    new Connections(),
    new Subscriptions(),
    new Accounts(),
    new Cluster(),
    new JetStream(),
  ];
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
