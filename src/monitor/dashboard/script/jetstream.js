const share = (used, max) => (isNumber(used) && max > 0 && max < 2 ** 62 ? used / max : undefined);

class JetStream extends View {
  constructor() {
    const filters = new Filters(
      "Streams and consumers to show",
      [{ name: "name", title: "Name or subject contains" }],
      () => this.show(this.last),
    );
    super("jetstream", "JetStream");
    this.filters = filters;
    this.off = el("div", { class: "card blank", hidden: "" });
    this.tiles = new Tiles(["Memory", "Storage", "Streams", "Consumers", "Messages", "API requests"]);
    this.meta = new Facts("Meta group");
    this.streams = new Table({
      label: "Streams",
      empty: "Loading …",
      paged: true,
      sort: { id: "name", up: true },
      onRow: (row) => openStream(row.account, row.name),
      columns: [
        {
          id: "name",
          title: "Stream",
          text: (s) => s.name,
          wide: true,
          press: (s) => openStream(s.account, s.name),
        },
        { id: "account", title: "Account", text: (s) => s.account, wide: true },
        { id: "subjects", title: "Subjects", text: (s) => listed(s.config?.subjects), wide: true },
        { id: "storage", title: "Storage", text: (s) => s.config?.storage, minor: true },
        { id: "replicas", title: "Replicas", number: true, text: (s) => s.config?.num_replicas, minor: true },
        { id: "leader", title: "Leader", text: (s) => s.cluster?.leader, wide: true, minor: true },
        ...[
          ["messages", "Messages", count],
          ["bytes", "Bytes", bytes],
          ["consumer_count", "Consumers", count],
          ["first_seq", "First", count],
          ["last_seq", "Last", count],
        ].map(([key, title, form]) => ({
          id: key,
          title,
          number: true,
          text: (s) => form(s.state?.[key]),
          value: (s) => s.state?.[key],
        })),
        { id: "last_ts", title: "Last message", text: (s) => moment(s.state?.last_ts), minor: true },
      ],
    });
    this.consumers = new Table({
      label: "Consumers",
      empty: "Loading …",
      paged: true,
      sort: { id: "stream_name", up: true },
      columns: [
        { id: "name", title: "Consumer", text: (c) => c.name, wide: true },
        {
          id: "stream_name",
          title: "Stream",
          text: (c) => c.stream_name,
          wide: true,
          press: (c) => openStream(c.account, c.stream_name),
        },
        ...consumerColumns,
      ],
    });
    this.on = el(
      "div",
      {},
      this.tiles.root,
      this.meta.root,
      filters.root,
      el("h3", {}, "Streams"),
      this.streams.root,
      el("h3", {}, "Consumers"),
      this.consumers.root,
    );
    this.root.append(this.off, this.on);
  }

  urls() {
    return { jsz: query("jsz", { accounts: 1, streams: 1, consumers: 1, config: 1, limit: 1024 }) };
  }

  show(answers, failure) {
    const { jsz } = answers ?? {};
    if (jsz) this.last = answers;
    const missing = failure?.status === 404;
    const disabled = jsz?.disabled === true || missing;
    if (missing) this.error.hidden = true;
    [this.off.hidden, this.on.hidden] = [!disabled, disabled];
    setText(this.off, "JetStream is not enabled on this server.");
    if (!jsz && !this.last)
      for (const table of [this.streams, this.consumers]) table.set([], "Nothing to show.");
    if (!jsz || disabled) return;
    const { config = {}, api = {}, meta_cluster: meta } = jsz;
    const reserved = (value, max) =>
      `of ${limit(max, bytes)}${value > 0 && value < 2 ** 62 ? `, ${bytes(value)} reserved` : ""}`;
    this.tiles.set([
      [
        bytes(jsz.memory),
        reserved(jsz.reserved_memory, config.max_memory),
        share(jsz.memory, config.max_memory),
      ],
      [
        bytes(jsz.storage),
        reserved(jsz.reserved_storage, config.max_storage),
        share(jsz.storage, config.max_storage),
      ],
      [count(jsz.streams), plural(jsz.accounts, "account")],
      [count(jsz.consumers)],
      [count(jsz.messages), bytes(jsz.bytes)],
      [count(api.total), plural(api.errors, "error")],
    ]);
    this.meta.set(
      !meta
        ? []
        : [
            ["Leader", meta.leader || "none"],
            ["Members", count(meta.cluster_size)],
            ["Pending", meta.pending === undefined ? undefined : count(meta.pending)],
            ...list(meta.replicas).map((peer) => [
              `Peer ${peer.name}`,
              `${peer.offline ? "offline" : peer.current ? "current" : "behind"}, ${peer.active ? `seen ${nanos(peer.active)} ago` : "not seen"}`,
            ]),
          ],
    );
    const part = this.filters.get("name");
    const fits = (...texts) => !part || texts.some((text) => contains(text, part));
    const streams = list(jsz.account_details).flatMap((account) =>
      list(account.stream_detail).map((stream) => ({ ...stream, account: account.name })),
    );
    const consumers = streams.flatMap((stream) =>
      list(stream.consumer_detail).map((consumer) => ({ ...consumer, account: stream.account })),
    );
    this.streams.set(
      streams.filter((s) => fits(s.name, ...list(s.config?.subjects))),
      part ? "No stream fits." : "There is no stream.",
    );
    this.consumers.set(
      consumers.filter((c) => fits(c.name, c.stream_name)),
      part ? "No consumer fits." : "There is no consumer.",
    );
  }
}

const consumerColumns = [
  { id: "kind", title: "Kind", text: (c) => (c.config?.deliver_subject ? "push" : "pull"), minor: true },
  number("num_pending", "Pending", count, { hint: "Messages that it is still to get" }),
  number("num_ack_pending", "Ack pending", count, { hint: "Messages that it got and did not acknowledge" }),
  number("num_redelivered", "Redelivered"),
  number("num_waiting", "Waiting", count, { minor: true }),
  {
    id: "delivered",
    title: "Delivered",
    number: true,
    text: (c) => count(c.delivered?.stream_seq),
    value: (c) => c.delivered?.stream_seq,
    hint: "Sequence of the stream that was delivered last",
  },
  {
    id: "floor",
    title: "Ack floor",
    number: true,
    text: (c) => count(c.ack_floor?.stream_seq),
    value: (c) => c.ack_floor?.stream_seq,
    minor: true,
  },
  { id: "active", title: "Last active", text: (c) => moment(c.delivered?.last_active), minor: true },
];
