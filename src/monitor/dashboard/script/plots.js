// Lines over the last minutes.

/** The distance of the lines in a plot that reaches up to `top`: a power of 2, or 1, 2 or 5 tens. */
function lineStep(top, base, whole) {
  const least = top / 4;
  if (base === 1024) return 2 ** Math.ceil(Math.log2(least));
  const ten = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((n) => n * ten).find((n) => n >= least * 0.999);
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
      el("span", { class: `reading s${i}` }, el("span", { class: "label" }, label), this.values[i]),
    );
    this.noteNode = el("span", { class: "note" });
    this.lines = Array.from({ length: Plot.LINES }, () => svg("line", { class: "grid" }));
    this.labels = this.lines.map(() =>
      svg("text", { class: "tick", x: Plot.LEFT - 8, dy: "0.32em", "text-anchor": "end" }),
    );
    this.areas = series.map((_, i) => svg("path", { class: `area s${i}` }));
    this.paths = series.map((_, i) => svg("path", { class: `line s${i}` }));
    this.marks = svg("path", { class: "restart" }, svg("title", {}, "The server was restarted"));
    this.cross = svg("path", { class: "cross" });
    this.ends = ["start", "middle", "end"].map((anchor) =>
      svg("text", { class: "tick", "text-anchor": anchor }),
    );
    this.canvas = svg(
      "svg",
      { class: "plot", role: "img", tabindex: "0", "aria-label": title },
      this.lines,
      this.labels,
      this.ends,
      this.areas,
      this.marks,
      this.paths,
      this.cross,
    );
    this.root = el(
      "figure",
      { class: wide ? "card wide" : "card" },
      el("figcaption", {}, el("span", { class: "title" }, title), this.noteNode),
      el("div", { class: "readings" }, legend),
      this.canvas,
    );
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
    const at =
      state.cursor === undefined ? history.slot(history.length - 1) : history.nearest(state.cursor, reach);
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
      for (const [name, value] of [
        ["x1", Plot.LEFT],
        ["x2", right],
        ["y1", height],
        ["y2", height],
      ]) {
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
