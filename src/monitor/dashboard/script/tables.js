// Tables, lists of facts, and figures with a name.

/**
 * A table whose rows stay where they are and change what they say.
 *
 * A column has `id`, `title`, `text(row)`, and maybe `value(row)` to sort by, `server` (the name of
 * the server's order), `up` (that order is ascending), `number`, `minor` (left out on phones),
 * `press(row)` (what a press on its cell does) and `hint`. With `part`, the rows are a page of a list
 * that the server keeps.
 */
class Table {
  constructor({ label, columns, empty, sort, onSort, onRow, paged = false, part = false, mark }) {
    Object.assign(this, { label, columns, empty, sort, onSort, onRow, mark, rows: [], pool: [] });
    this.heads = columns.map((column) => {
      const press = el("button", { type: "button", click: () => this.press(column) }, column.title);
      const own = part && !column.server ? "Sorts the rows of this page" : "";
      press.title = [column.hint, own].filter(Boolean).join(". ");
      return el("th", { scope: "col", class: this.kind(column) }, press);
    });
    this.body = el("tbody");
    this.message = el("td", { colspan: columns.length, class: "empty" }, "Loading …");
    this.messageRow = el("tr", {}, this.message);
    this.body.append(this.messageRow);
    this.table = el(
      "table",
      {},
      el("caption", { class: "hidden" }, label),
      el("thead", {}, el("tr", {}, this.heads)),
      this.body,
    );
    this.scroll = el(
      "div",
      { class: "scroll", role: "region", tabindex: "0", "aria-label": label },
      this.table,
    );
    this.pager = paged ? new Pager(() => this.show()) : undefined;
    this.root = el("div", { class: "table" }, this.scroll, paged ? this.pager.root : []);
    this.showSort();
  }

  kind(column) {
    return [column.number && "number", column.minor && "minor", column.wide && "text"]
      .filter(Boolean)
      .join(" ");
  }

  press(column) {
    const same = this.sort?.id === column.id;
    const up = same ? !this.sort.up : column.server ? Boolean(column.up) : !column.number;
    this.sort = { id: column.id, up };
    this.showSort();
    if (this.pager) this.pager.offset = 0;
    if (this.onSort) this.onSort(this.sort);
    else this.show();
  }

  column() {
    return this.columns.find((column) => column.id === this.sort?.id);
  }

  showSort() {
    this.heads.forEach((head, i) => {
      const on = this.columns[i].id === this.sort?.id;
      setAttribute(head, "aria-sort", on ? (this.sort.up ? "ascending" : "descending") : undefined);
    });
  }

  set(rows, empty = this.empty) {
    this.rows = rows;
    this.empty = empty;
    this.show();
  }

  sorted() {
    const column = this.column();
    if (!column || (this.onSort && column.server)) return this.rows;
    const value = column.value ?? column.text;
    const order = this.sort.up ? 1 : -1;
    return this.rows.toSorted((a, b) => order * compare(value(a), value(b)));
  }

  show() {
    let rows = this.sorted();
    if (this.pager) {
      this.pager.set(rows.length);
      rows = rows.slice(this.pager.offset, this.pager.offset + this.pager.limit);
    }
    setText(this.message, this.empty);
    if (rows.length > 0) this.messageRow.remove();
    else if (!this.messageRow.isConnected) this.body.prepend(this.messageRow);
    while (this.pool.length > rows.length) this.pool.pop().row.remove();
    rows.forEach((row, i) => {
      const line = (this.pool[i] ??= this.addRow());
      line.data = row;
      line.row.classList.toggle("marked", Boolean(this.mark?.(row)));
      this.columns.forEach((column, c) => {
        const text = words(column.text(row));
        const title = text.length > 24 || column.number ? (column.full?.(row) ?? text) : undefined;
        setText(line.cells[c], shown(text));
        setAttribute(
          line.cells[c],
          "title",
          title === text && column.number ? undefined : title?.slice(0, 4096),
        );
        if (column.press) line.cells[c].disabled = text === NONE;
      });
    });
  }

  addRow() {
    const line = { data: undefined };
    line.cells = this.columns.map((column) =>
      column.press
        ? el("button", { type: "button", class: "link", click: () => column.press(line.data) })
        : el("span"),
    );
    const cells = line.cells.map((cell, c) =>
      el(
        c === 0 ? "th" : "td",
        { class: this.kind(this.columns[c]), ...(c === 0 && { scope: "row" }) },
        cell,
      ),
    );
    line.row = el("tr", {}, cells);
    if (this.onRow) {
      line.row.classList.add("opens");
      line.row.addEventListener("click", (event) => {
        const elsewhere = event.target.closest("button") || String(getSelection());
        if (!elsewhere) this.onRow(line.data);
      });
    }
    this.body.append(line.row);
    return line;
  }
}

function compare(a, b) {
  if (isNumber(a) && isNumber(b)) return a - b;
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? 1 : -1;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Which part of a long list is shown. */
class Pager {
  offset = 0;
  limit = 50;
  total = 0;

  constructor(onMove) {
    const button = (text, move) => el("button", { type: "button", click: () => (move(), onMove()) }, text);
    this.back = button("Previous", () => (this.offset = Math.max(0, this.offset - this.limit)));
    this.on = button("Next", () => (this.offset += this.limit));
    this.text = el("span", { class: "note" });
    const sizes = [25, 50, 100, 500].map((n) => el("option", { value: n }, `${n} rows`));
    this.size = el(
      "select",
      {
        "aria-label": "Rows on a page",
        change: () => {
          this.limit = Number(this.size.value);
          this.offset -= this.offset % this.limit;
          onMove();
        },
      },
      sizes,
    );
    this.size.value = String(this.limit);
    this.root = el("div", { class: "pager" }, this.text, this.size, this.back, this.on);
    this.set(0);
  }

  set(total, note = "") {
    this.total = total;
    if (this.offset >= total) this.offset = Math.max(0, Math.ceil(total / this.limit) - 1) * this.limit;
    const last = Math.min(total, this.offset + this.limit);
    setText(
      this.text,
      `${total ? `${count(this.offset + 1)}–${count(last)} of ${count(total)}` : "none"}${note}`,
    );
    // The shortest page holds it all: there is nothing to choose.
    for (const node of [this.size, this.back, this.on]) node.hidden = total <= 25;
    this.root.hidden = total === 0 && note === "";
    this.back.disabled = this.offset === 0;
    this.on.disabled = last >= total;
  }
}

/** A list of names and values. Pairs whose value is undefined, false or empty are left out. */
class Facts {
  constructor(title) {
    this.list = el("dl", { class: "facts" });
    this.root = el("section", { class: "card" }, title ? el("h3", {}, title) : [], this.list);
    this.names = "";
  }

  set(pairs) {
    const known = pairs.filter(([, value]) => value !== undefined && value !== false && value !== "");
    const names = known.map(([name]) => name).join("\n");
    this.root.hidden = known.length === 0;
    if (names !== this.names) {
      this.names = names;
      this.values = known.map(() => el("dd"));
      this.list.replaceChildren(
        ...known.map(([name], i) => el("div", {}, el("dt", {}, name), this.values[i])),
      );
    }
    known.forEach(([, value], i) => setText(this.values[i], shown(words(value))));
  }
}

/** A figure with a name, and maybe how much of a limit it takes. */
class Tiles {
  constructor(names) {
    this.tiles = names.map((name) => {
      const [value, note, bar] = [
        el("span", { class: "value" }, NONE),
        el("span", { class: "note" }),
        el("span", { class: "fill" }),
      ];
      const root = el(
        "div",
        { class: "card tile" },
        el("span", { class: "title" }, name),
        value,
        el("span", { class: "track" }, bar),
        note,
      );
      return { root, value, note, bar };
    });
    this.root = el(
      "div",
      { class: "tiles" },
      this.tiles.map((tile) => tile.root),
    );
  }

  /** `values` are [text, note, share of the limit]. */
  set(values) {
    values.forEach(([text, note = "", share], i) => {
      const tile = this.tiles[i];
      setText(tile.value, text);
      setText(tile.note, note);
      tile.bar.parentNode.classList.toggle("used", share !== undefined);
      tile.bar.style.width = `${Math.min(100, (share ?? 0) * 100)}%`;
    });
  }
}
