class Overview extends View {
  constructor() {
    super("overview", "Overview");
    this.span = el(
      "select",
      {
        "aria-label": "Time that the plots show",
        change: () => {
          state.span = Number(this.span.value) * 1000;
          settings.set("span", this.span.value);
          this.draw();
        },
      },
      SPANS.map((value) =>
        el("option", { value }, value > 60 ? `last ${value / 60} minutes` : "last minute"),
      ),
    );
    this.span.value = String(state.span / 1000);
    this.raw.append(this.span);
    const flow = [
      ["in", "out"],
      ["Msgs", "Bytes"],
    ];
    const pair = (what) => flow[0].map((way) => [`${way}${what}`, way]);
    this.plots = [
      new Plot({
        title: "Messages",
        series: pair("Msgs"),
        form: rate,
        axis: (v) => scaled(v, 1000, ["", "k", "M", "G"]),
        least: 10,
        wide: true,
        note: (v) =>
          v.in_msgs === undefined ? "" : `${count(v.in_msgs)} in, ${count(v.out_msgs)} out in all`,
      }),
      new Plot({
        title: "Bytes",
        series: pair("Bytes"),
        form: byteRate,
        axis: bytes,
        base: 1024,
        least: 1024,
        wide: true,
        note: (v) =>
          v.in_bytes === undefined ? "" : `${bytes(v.in_bytes)} in, ${bytes(v.out_bytes)} out in all`,
      }),
      new Plot({
        title: "Connections",
        series: [["connections", "open"]],
        form: count,
        whole: true,
        least: 4,
        note: (v) => (isNumber(v.total_connections) ? `${count(v.total_connections)} since start` : ""),
      }),
      new Plot({
        title: "Subscriptions",
        series: [["subscriptions", "held"]],
        form: count,
        whole: true,
        least: 4,
      }),
      new Plot({
        title: "Slow consumers",
        series: [
          ["slow", "closed"],
          ["stalled", "held back"],
        ],
        form: count,
        whole: true,
        least: 4,
        headline: [(v) => count(v.slow_consumers), (v) => count(v.stalled_clients)],
        note: () => "plot: new ones",
      }),
      new Plot({
        title: "CPU",
        series: [["cpu", "in use"]],
        form: percent,
        axis: (v) => `${v} %`,
        least: 4,
        wide: true,
        note: (v) => (isNumber(v.cores) ? `100 % is one of ${plural(v.cores, "core")}` : ""),
      }),
      new Plot({
        title: "Memory",
        series: [["mem", "resident"]],
        form: bytes,
        base: 1024,
        least: 4 * 1024 ** 2,
        wide: true,
      }),
    ];
    this.facts = new Facts("Server");
    this.limits = new Facts("Limits");
    this.root.append(
      el(
        "div",
        { class: "plots" },
        this.plots.map((plot) => plot.root),
      ),
      el("div", { class: "pairs" }, this.facts.root, this.limits.root),
    );
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
