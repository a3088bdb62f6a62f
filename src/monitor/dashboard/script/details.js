// What opens beside a view: one connection, account or stream, and all of it.

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
  const table = new Table({
    label: "Subscriptions",
    columns: SUBSCRIPTION.filter((c) => c.id !== "account"),
    empty: "Loading …",
    paged: true,
  });
  view.root.append(...facts.map((f) => f.root), tls.root, el("h3", {}, "Subscriptions"), table.root);
  for (const one of [...facts, tls]) one.root.hidden = true;
  let closed = false;
  view.urls = () => ({
    connz: query("connz", { cid, state: closed ? "closed" : "open", subs: "detail", auth: 1 }),
  });
  view.show = ({ connz }) => {
    const c = list(connz?.connections)[0];
    if (!c) {
      // It may have been closed meanwhile.
      if (connz && !closed) {
        closed = true;
        soon();
      } else if (connz)
        table.set([], "Neither an open connection nor one of the last closed ones has this ID.");
      return;
    }
    facts[0].set([
      ["Name", c.name],
      ["Account", c.account],
      ["User", c.authorized_user],
      ["Library", [c.lang, c.version].filter(Boolean).join(" ") || undefined],
      ["MQTT client", c.mqtt_client],
      ["Tags", c.tags && listed(c.tags)],
      ["Name tag", c.name_tag],
      ["Issuer", c.issuer_key],
      ["Proxy", c.proxy?.key],
    ]);
    facts[1].set([
      ["State", c.stop ? "closed" : "open"],
      ["Reason", c.reason],
      ["Closed", c.stop && moment(c.stop)],
      ["Kind", [c.kind, c.type].filter(Boolean).join(", ") || undefined],
      ["Address", address(c)],
      ["Opened", moment(c.start)],
      ["Last activity", moment(c.last_activity)],
      ["Uptime", c.uptime],
      ["Idle", c.idle],
      ["Round trip", c.rtt && rtt(c.rtt)],
    ]);
    facts[2].set([
      ["Messages from it", count(c.in_msgs)],
      ["Messages to it", count(c.out_msgs)],
      ["Bytes from it", bytes(c.in_bytes)],
      ["Bytes to it", bytes(c.out_bytes)],
      ["Pending", bytes(c.pending_bytes)],
      ["Times held back", c.stalls === undefined ? undefined : count(c.stalls)],
      ["Subscriptions", count(c.subscriptions)],
    ]);
    tls.set([
      ["Version", c.tls_version],
      ["Cipher suite", c.tls_cipher_suite],
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
  const share = (label) =>
    new Table({
      label,
      empty: "None.",
      paged: true,
      columns: [
        { id: "subject", title: "Subject", text: (e) => e.subject, wide: true },
        { id: "type", title: "Type", text: (e) => e.type },
        { id: "account", title: "Account", text: (e) => e.account, wide: true },
        { id: "to", title: "As", text: (e) => e.local_subject ?? e.to, wide: true },
      ],
    });
  const [exports, imports] = [share("Exports"), share("Imports")];
  const show = el(
    "button",
    {
      type: "button",
      click: () => {
        byId("details").close();
        views.connections.filters.set({ acc: name });
        views.connections.changed();
        location.hash = "#connections";
      },
    },
    "Show its connections",
  );
  view.root.append(
    facts.root,
    jwt.root,
    el("p", {}, show),
    el("h3", {}, "Exports"),
    exports.root,
    el("h3", {}, "Imports"),
    imports.root,
  );
  facts.root.hidden = jwt.root.hidden = true;
  view.urls = () => ({ accountz: query("accountz", { acc: name }) });
  view.show = ({ accountz }) => {
    const a = accountz?.account_detail;
    if (!a) return;
    facts.set([
      ["Name", a.account_name],
      ["System account", a.is_system && "yes"],
      ["Updated", moment(a.update_time)],
      ["Expired", yesNo(a.expired)],
      ["Complete", yesNo(a.complete)],
      ["JetStream", a.jetstream_enabled ? "enabled" : "not enabled"],
      ["Clients", count(a.client_connections)],
      ["Leaf nodes", count(a.leafnode_connections)],
      ["Subscriptions", count(a.subscriptions)],
      ["Mappings", a.mappings ? count(Object.keys(a.mappings).length) : undefined],
    ]);
    jwt.set([
      ["Issuer", a.issuer_key],
      ["Name tag", a.jwt && a.name_tag],
      ["Tags", a.tags && listed(a.tags)],
    ]);
    exports.set(list(a.exports));
    imports.set(list(a.imports));
  };
  details.open(view, `Account ${shown(words(name))}`);
}

function openStream(account, name) {
  const view = new View("details", "Stream");
  const [holds, config, group] = [new Facts("State"), new Facts("Configuration"), new Facts("Replicas")];
  const table = new Table({
    label: "Consumers",
    empty: "Loading …",
    paged: true,
    columns: [{ id: "name", title: "Consumer", text: (c) => c.name, wide: true }, ...consumerColumns],
  });
  view.root.append(holds.root, config.root, group.root, el("h3", {}, "Consumers"), table.root);
  for (const one of [holds, config, group]) one.root.hidden = true;
  view.urls = () => ({ jsz: query("jsz", { acc: account, streams: 1, consumers: 1, config: 1 }) });
  view.show = ({ jsz }) => {
    if (!jsz) return;
    const found = list(jsz.account_details)
      .flatMap((a) => list(a.stream_detail))
      .find((s) => s.name === name);
    if (!found) return table.set([], "This stream does not exist any more.");
    const { state: s = {}, config: c = {}, cluster } = found;
    holds.set([
      ["Messages", count(s.messages)],
      ["Bytes", bytes(s.bytes)],
      ["First sequence", count(s.first_seq)],
      ["Last sequence", count(s.last_seq)],
      ["First message", moment(s.first_ts)],
      ["Last message", moment(s.last_ts)],
      ["Subjects", s.num_subjects === undefined ? undefined : count(s.num_subjects)],
      ["Deleted", s.num_deleted === undefined ? undefined : count(s.num_deleted)],
      ["Created", moment(found.created)],
    ]);
    config.set(
      !found.config
        ? []
        : [
            ["Description", c.description],
            ["Subjects", listed(c.subjects)],
            ["Storage", c.storage],
            ["Retention", c.retention],
            ["Discard", c.discard],
            ["Replicas", count(c.num_replicas)],
            ["Messages at most", limit(c.max_msgs)],
            ["Bytes at most", limit(c.max_bytes, bytes)],
            ["Age at most", c.max_age ? nanos(c.max_age) : "unlimited"],
            ["Message size at most", limit(c.max_msg_size, bytes)],
            ["Duplicate window", c.duplicate_window === undefined ? undefined : nanos(c.duplicate_window)],
            ["Mirror of", found.mirror?.name ?? c.mirror?.name],
            ["Sources", c.sources && listed(c.sources.map((source) => source.name))],
            ["Compression", c.compression],
            ["Sealed", c.sealed && "yes"],
          ],
    );
    group.set(
      !cluster
        ? []
        : [
            ["Leader", cluster.leader || "none"],
            ["Group", cluster.raft_group],
            ...list(cluster.replicas).map((peer) => [
              `Peer ${peer.name}`,
              peer.offline ? "offline" : peer.current ? "current" : `behind by ${count(peer.lag ?? 0)}`,
            ]),
          ],
    );
    table.set(list(found.consumer_detail), "It has no consumer.");
  };
  details.open(view, `Stream ${shown(name)}`);
}
