// What all views have: filters, errors, links to what they show, and columns that several of them have.

/** Text fields and lists of choices, by name. Tells when the user is done or rests. */
class Filters {
  constructor(label, fields, onChange) {
    this.inputs = {};
    let timer;
    const changed = (wait) => {
      clearTimeout(timer);
      timer = setTimeout(onChange, wait);
    };
    const parts = fields.map(({ name, title, options, ...attributes }) => {
      const input = options
        ? el(
            "select",
            { name },
            Object.entries(options).map(([value, text]) => el("option", { value }, text)),
          )
        : el("input", { name, type: "search", autocomplete: "off", spellcheck: "false", ...attributes });
      input.addEventListener("input", () => changed(options ? 0 : 400));
      this.inputs[name] = input;
      return el("label", { class: "field" }, el("span", {}, title), input);
    });
    this.root = el(
      "form",
      {
        class: "filters",
        role: "search",
        "aria-label": label,
        submit: (event) => {
          event.preventDefault();
          changed(0);
        },
      },
      parts,
    );
  }

  get(name) {
    return this.inputs[name].value.trim();
  }

  set(values) {
    for (const [name, input] of Object.entries(this.inputs)) {
      input.value = values[name] ?? (input.options ? input.options[0].value : "");
    }
  }
}

const contains = (text, part) =>
  String(text ?? "")
    .toLowerCase()
    .includes(part.toLowerCase());

/** What all views have: a heading, the links to what they show, and a place for errors. */
class View {
  constructor(id, title, ...tools) {
    Object.assign(this, { id, title, linked: "" });
    this.raw = el("span", { class: "raw" });
    this.error = el("p", { class: "trouble", role: "status", hidden: "" });
    this.root = el(
      "section",
      { id: `view-${id}`, "aria-label": title, hidden: "" },
      el("div", { class: "view-head" }, el("h2", {}, title), this.raw),
      ...tools,
      this.error,
    );
  }

  /** The endpoints to ask, by the name under which `show` gets the answer. */
  urls() {
    return {};
  }

  show() {}

  /** Asks the endpoints, and shows what they say. */
  async refresh(signal) {
    const urls = this.urls();
    this.link(Object.values(urls));
    const asked = Object.entries(urls).map(async ([name, url]) => [name, await getJson(url, signal)]);
    const answers = await Promise.allSettled(asked);
    if (signal.aborted) return;
    const failure = answers.find((answer) => answer.status === "rejected")?.reason;
    this.error.hidden = !failure;
    setText(this.error, failure?.message ?? "");
    this.show(Object.fromEntries(answers.filter((a) => a.value).map((a) => a.value)), failure);
  }

  link(urls) {
    const text = urls.join("\n");
    if (this.linked === text) return;
    this.linked = text;
    this.raw.replaceChildren(...urls.map((url) => el("a", { href: ROOT + url }, `/${url.split("?")[0]}`)));
  }
}

const flowColumns = (value, form) =>
  [
    {
      id: "in_msgs",
      title: "Msgs from",
      server: "msgs_from",
      hint: "Messages that it sent",
      ...value("in_msgs", count),
    },
    {
      id: "out_msgs",
      title: "Msgs to",
      server: "msgs_to",
      hint: "Messages that it got",
      ...value("out_msgs", count),
    },
    {
      id: "in_bytes",
      title: "Bytes from",
      server: "bytes_from",
      hint: "Bytes of the messages that it sent",
      ...value("in_bytes", bytes),
    },
    {
      id: "out_bytes",
      title: "Bytes to",
      server: "bytes_to",
      hint: "Bytes of the messages that it got",
      ...value("out_bytes", bytes),
    },
  ].map((column) => ({ ...column, number: true, ...form?.(column) }));

const total = (key, form) => ({
  text: (row) => form(row[key]),
  value: (row) => row[key],
  full: (row) => (isNumber(row[key]) ? grouped.format(row[key]) : NONE),
});

const number = (id, title, form = count, more = {}) => ({
  id,
  title,
  number: true,
  ...total(id, form),
  ...more,
});
/** What it is, left out if it is a client with the plain protocol, and what it calls itself. */
const client = ({ kind, type, lang, version }) =>
  [kind !== "Client" && kind, type !== "nats" && type, lang, version].filter(Boolean).join(" ");
const address = (row) =>
  row.ip ? `${row.ip.includes(":") ? `[${row.ip}]` : row.ip}:${row.port ?? ""}` : NONE;
