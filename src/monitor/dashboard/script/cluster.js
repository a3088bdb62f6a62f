const linkColumns = [
  { id: "ip", title: "Address", text: address },
  {
    id: "uptime",
    title: "Uptime",
    number: true,
    text: (r) => r.uptime,
    value: (r) => parseDuration(r.uptime),
  },
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
    const add = (way, gateway, { configured, connection }) =>
      gateways.push({ ...connection, way, gateway, configured });
    for (const [name, link] of Object.entries(gatewayz?.outbound_gateways ?? {}))
      add("out", name, link ?? {});
    for (const [name, links] of Object.entries(gatewayz?.inbound_gateways ?? {})) {
      for (const link of list(links)) add("in", name, link ?? {});
    }
    if (routez)
      this.routes.set(
        list(routez.routes),
        "No routes: this server is in touch with no other of its cluster.",
      );
    if (gatewayz) this.gateways.set(gateways, "No gateways: this server is in touch with no other cluster.");
    if (leafz) this.leafs.set(list(leafz.leafs), "No leaf nodes are connected.");
    for (const table of [this.routes, this.gateways, this.leafs]) {
      if (table.empty === "Loading …") table.set([], "Nothing to show.");
    }
  }
}
