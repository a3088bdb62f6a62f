class Accounts extends View {
  constructor() {
    const filters = new Filters("Accounts to show", [{ name: "name", title: "Name contains" }], () =>
      this.show(this.last),
    );
    super("accounts", "Accounts", filters.root);
    this.filters = filters;
    this.table = new Table({
      label: "Accounts",
      empty: "Loading …",
      paged: true,
      sort: { id: "name", up: true },
      onRow: (row) => openAccount(row.acc),
      columns: [
        {
          id: "name",
          title: "Account",
          text: (a) => a.name ?? a.acc,
          wide: true,
          press: (a) => openAccount(a.acc),
        },
        number("conns", "Clients"),
        number("leafnodes", "Leaf nodes"),
        number("num_subscriptions", "Subs"),
        ...[
          ["received", "from"],
          ["sent", "to"],
        ].flatMap(([key, way]) => [
          {
            id: `${key}_msgs`,
            title: `Msgs ${way}`,
            number: true,
            text: (a) => count(a[key]?.msgs),
            value: (a) => a[key]?.msgs,
          },
          {
            id: `${key}_bytes`,
            title: `Bytes ${way}`,
            number: true,
            text: (a) => bytes(a[key]?.bytes),
            value: (a) => a[key]?.bytes,
          },
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
    if (!answers?.accstatz) return this.last || this.table.set([], "Nothing to show.");
    this.last = answers;
    const rows = list(answers.accstatz.account_statz);
    const name = this.filters.get("name");
    this.table.set(
      rows.filter((row) => contains(row.name ?? row.acc, name)),
      name ? "No account has such a name." : "There is no account.",
    );
  }
}
