class Connections extends View {
  constructor() {
    const filters = new Filters(
      "Connections to show",
      [
        {
          name: "state",
          title: "State",
          options: { open: "open", closed: "closed", all: "open and closed" },
        },
        { name: "acc", title: "Account" },
        { name: "user", title: "User" },
        { name: "cid", title: "Connection ID", inputmode: "numeric" },
        { name: "name", title: "Name contains" },
        { name: "figures", title: "Figures", options: { total: "in all", rate: "per second" } },
      ],
      () => this.changed(),
    );
    super("connections", "Connections", filters.root);
    this.filters = filters;
    this.before = this.latest = { time: NaN, rows: new Map() };
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
    if (kind !== "closed" && (this.sort.id === "stop" || this.sort.id === "reason"))
      this.sort = { id: "cid", up: true };
    const columns = this.columns(kind);
    if (kind === this.kind) return this.table.show();
    this.kind = kind;
    this.table = new Table({
      label: "Connections",
      part: true,
      columns,
      empty: "Loading …",
      sort: this.sort,
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
      {
        id: "reason",
        title: "Reason",
        server: kind === "closed" && "reason",
        up: true,
        text: (c) => c.reason,
        wide: true,
      },
    ];
    const alive = [
      { id: "idle", title: "Idle", server: "idle", number: true, text: (c) => c.idle },
      { id: "rtt", title: "RTT", server: "rtt", number: true, text: (c) => rtt(c.rtt), minor: true },
      number("pending_bytes", "Pending", bytes, { server: "pending", hint: "Bytes that wait for it" }),
    ];
    const figure = (key, form) => ({
      text: (row) => this.perSecond(row, key, form),
      value: (row) => row[key],
      full: total(key, form).full,
    });
    return [
      {
        id: "cid",
        title: "ID",
        server: "cid",
        up: true,
        number: true,
        text: (c) => c.cid,
        press: (c) => openConnection(c.cid),
      },
      { id: "name", title: "Name", text: (c) => c.name, wide: true },
      { id: "account", title: "Account", text: (c) => c.account, wide: true },
      { id: "user", title: "User", text: (c) => c.authorized_user, wide: true, minor: true },
      { id: "ip", title: "Address", text: address, minor: true },
      { id: "lang", title: "Client", text: client, minor: true, wide: true },
      { id: "uptime", title: "Uptime", server: "uptime", up: true, number: true, text: (c) => c.uptime },
      ...(kind === "closed" ? ended : kind === "all" ? [...alive.slice(0, 1), ended[1]] : alive),
      number("subscriptions", "Subs", count, { server: "subs" }),
      ...flowColumns(figure),
    ];
  }

  perSecond(row, key, form) {
    if (this.filters.get("figures") === "total") return form(row[key]);
    const before = this.before.rows.get(row.cid);
    const seconds = (this.latest.time - this.before.time) / 1000;
    if (row.stop || !before || !(seconds > 0)) return NONE;
    return (form === bytes ? byteRate : rate)((row[key] - before[key]) / seconds);
  }

  urls() {
    const column = this.table.column();
    const server = column?.server ? column : undefined;
    const shared = {
      auth: 1,
      state: this.filters.get("state"),
      acc: this.filters.get("acc"),
      user: this.filters.get("user"),
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
    this.keep(rows, Date.parse(connz.now));
    this.table.set(rows, some ? `No ${kind} fits these filters.` : `There is no ${kind}.`);
  }

  /** Remembers the rows for the rates, which are those of at least a second. */
  keep(rows, time) {
    if (!(time - this.latest.time < 1000)) this.before = this.latest;
    this.latest = { time, rows: new Map(rows.map((row) => [row.cid, row])) };
  }
}

const SUBSCRIPTION = [
  { id: "subject", title: "Subject", text: (s) => s.subject, wide: true },
  { id: "qgroup", title: "Queue group", text: (s) => s.qgroup, wide: true },
  { id: "account", title: "Account", text: (s) => s.account_tag ?? s.account, wide: true },
  { id: "sid", title: "SID", text: (s) => s.sid, wide: true, minor: true },
  number("msgs", "Messages"),
  {
    id: "max",
    title: "Max",
    number: true,
    text: (s) => (s.max ? count(s.max) : undefined),
    value: (s) => s.max ?? 0,
    minor: true,
  },
];

class Subscriptions extends View {
  constructor() {
    const filters = new Filters(
      "Subscriptions to show",
      [
        { name: "test", title: "Get messages on subject", placeholder: "orders.eu.42" },
        { name: "acc", title: "Account" },
      ],
      () => {
        this.pager.offset = 0;
        wake();
      },
    );
    super("subscriptions", "Subscriptions", filters.root);
    this.filters = filters;
    this.tiles = new Tiles([
      "Subscriptions",
      "Cached routes",
      "Cache hit rate",
      "Fan-out, average",
      "Fan-out, largest",
      "Matches",
    ]);
    this.pager = new Pager(() => wake());
    const columns = [
      ...SUBSCRIPTION,
      {
        id: "cid",
        title: "Connection",
        number: true,
        text: (s) => s.cid,
        press: (s) => openConnection(s.cid),
      },
    ];
    this.table = new Table({ label: "Subscriptions", part: true, columns, empty: "Loading …" });
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
    this.tiles.set([
      [count(subsz.num_subscriptions)],
      [count(subsz.num_cache)],
      [hits],
      [fanout],
      [count(subsz.max_fanout)],
      [count(subsz.num_matches)],
    ]);
    const rows = list(subsz.subscriptions_list);
    this.pager.set(subsz.total ?? rows.length);
    const some = this.filters.get("test") || this.filters.get("acc");
    this.table.set(rows, some ? "No subscription fits these filters." : "There is no subscription.");
  }
}
