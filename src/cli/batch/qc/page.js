"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const report = JSON.parse($("report").textContent);
  const hash = document.documentElement.dataset.report;
  const sheets = new Map([...document.querySelectorAll("script[data-sheet]")].map((own) => [own.dataset.sheet, own]));

  function element(tag, set = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(set)) {
      if (name in made) made[name] = value;
      else if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  // ---- Decisions. All pages of a browser on files share one store: the key is that of this report alone.
  const KEY = `medsegx-qc:${hash}`;
  const decisions = new Map();
  let kept = true;

  function restore() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      for (const [name, decision, note] of stored) decisions.set(name, { decision, note });
      localStorage.setItem(`${KEY}:probe`, "1");
      localStorage.removeItem(`${KEY}:probe`);
    } catch {
      notKept();
    }
  }

  function keep() {
    const all = [...decisions].map(([name, { decision, note }]) => [name, decision, note]);
    try {
      if (all.length) localStorage.setItem(KEY, JSON.stringify(all));
      else localStorage.removeItem(KEY);
      kept = true;
    } catch {
      notKept();
    }
  }

  function notKept() {
    kept = false;
    say("Decisions and notes are not kept by this viewer: export them before you close the page.");
  }

  function say(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
  }

  const of = (entry) => decisions.get(entry.case) ?? { decision: "", note: "" };

  function decide(entry, change) {
    const now = { ...of(entry), ...change };
    if (now.decision || now.note) decisions.set(entry.case, now);
    else decisions.delete(entry.case);
    keep();
    mark(entry);
    counts();
  }

  // ---- Rows
  const codeTitle = (code) => report.codes[code] ?? "";
  const volume = (mm3) => (mm3 === null ? null : mm3 >= 100 ? `${(mm3 / 1000).toFixed(mm3 >= 1e5 ? 0 : 2)} mL` : `${mm3.toFixed(1)} mm³`);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const least = (entry) => Math.min(...entry.targets.map((target) => target.agreement ?? 0), entry.targets.length ? 1 : 0);
  const size = (entry) => sum(entry.targets.map((target) => target.mm3 ?? target.voxels));

  function abbr(code) {
    return element("abbr", { title: codeTitle(code) }, code);
  }

  /** 3-5, 9 */
  function ranges(numbers) {
    const parts = [];
    for (const number of [...new Set(numbers)].sort((a, b) => a - b)) {
      const last = parts.at(-1);
      if (last && last[1] === number - 1) last[1] = number;
      else parts.push([number, number]);
    }
    return parts.map(([from, to]) => (from === to ? from : to === from + 1 ? `${from}, ${to}` : `${from}–${to}`)).join(", ");
  }

  function doubts(entry) {
    const box = element("div", { className: "doubts" });
    if (entry.status !== "done") return box;
    if (entry.doubtful) {
      box.append(element("p", { className: "doubt" }, element("b", {}, `${entry.doubtful} of ${entry.slices}`), " slices"));
    }
    const slices = new Map();
    for (const { slice, codes } of entry.doubts) {
      for (const code of codes) slices.set(code, [...(slices.get(code) ?? []), slice]);
    }
    for (const [code, where] of slices) box.append(element("p", { className: "doubt" }, abbr(code), ` in ${ranges(where)}`));
    for (const code of entry.warnings.filter((code) => !slices.has(code))) box.append(element("p", {}, abbr(code)));
    if (!box.children.length) box.append(element("p", { className: "quiet" }, "nothing"));
    return box;
  }

  function picture(entry, index) {
    if (!entry.sheet) {
      const why = entry.status === "done" ? "no picture: run with --qc" : "no mask";
      return element("div", { className: "nothing" }, why);
    }
    const { width, height } = entry.sheet;
    const image = element("img", { width, height, alt: `Slices of ${entry.case} with outlines` });
    image.dataset.picture = index;
    // In view of the page the picture is decoded, out of it forgotten.
    nearby.observe(image);
    const button = element("button", { type: "button", className: "picture", title: "Slices in large (Enter)" }, image);
    button.addEventListener("click", () => enlarge(entry));
    return button;
  }

  const source = (index) => `data:image/png;base64,${sheets.get(String(index)).textContent}`;
  const nearby = new IntersectionObserver(
    (changes) => {
      for (const { target, isIntersecting } of changes) {
        if (isIntersecting) target.src = source(target.dataset.picture);
        else target.removeAttribute("src");
      }
    },
    { rootMargin: "150% 0px" },
  );

  function row(entry, index) {
    const status = element("div", { className: "status" }, element("span", { className: `chip ${entry.status}` }, entry.status));
    if (entry.code) status.append(element("span", { className: "chip", title: codeTitle(entry.code) }, entry.code));
    const name = element("td", {}, element("div", { className: "case" }, entry.case), status);
    if (entry.message) name.append(element("p", { className: "message" }, entry.message));
    const volumes = entry.targets.map(({ name, colour, mm3, voxels }) => {
      const swatch = element("i");
      swatch.style.background = colour;
      const value = element("span", { className: "number", title: `${voxels} voxels` }, volume(mm3) ?? `${voxels} voxels`);
      return element("li", {}, swatch, element("b", { title: name }, name), value);
    });
    const scores = entry.targets.map(({ agreement }) => {
      const set = { min: 0, max: 1, low: 0.6, high: 0.8, optimum: 1, value: agreement ?? 0, "aria-label": "agreement" };
      const text = element("span", { className: "number" }, agreement === null ? "–" : agreement.toFixed(2));
      return element("li", {}, text, element("meter", set));
    });
    const buttons = ["accept", "redo"].map((decision) => {
      const text = decision === "accept" ? "Accept" : "Redo";
      const button = element("button", { type: "button", "aria-pressed": "false" }, text);
      button.dataset.decision = decision;
      button.addEventListener("click", () => decide(entry, { decision: of(entry).decision === decision ? "" : decision }));
      return button;
    });
    const note = element("textarea", { rows: 2, placeholder: "Note", "aria-label": `Note on ${entry.case}`, maxLength: 2000 });
    note.addEventListener("input", () => decide(entry, { note: note.value }));
    const made = element(
      "tr",
      { tabIndex: -1 },
      name,
      element("td", {}, picture(entry, index)),
      element("td", {}, element("ul", {}, ...volumes)),
      element("td", {}, element("ul", {}, ...scores)),
      element("td", {}, doubts(entry)),
      element("td", {}, element("div", { className: "decide", role: "group", "aria-label": "Decision" }, ...buttons), note),
    );
    made.addEventListener("pointerdown", () => select(entry));
    made.addEventListener("focusin", () => select(entry));
    return { made, note, buttons };
  }

  function mark(entry) {
    const { made, note, buttons } = entry.row;
    const now = of(entry);
    made.dataset.decision = now.decision;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.decision === now.decision)));
    if (note.value !== now.note) note.value = now.note;
  }

  // ---- Sorting and filtering
  const COLUMNS = [
    { id: "case", name: "Case", of: (entry) => entry.case, up: true },
    { id: "slices", name: "Slices" },
    { id: "volume", name: "Volume", of: size },
    { id: "agreement", name: "Agreement", of: least, up: true, title: "Least agreement of a target's masks among each other over its slices, 0 to 1" },
    { id: "doubtful", name: "Doubtful", of: (entry) => [entry.status === "done" ? 0 : 1, entry.doubtful, entry.warnings.length] },
    { id: "decision", name: "Decision", of: (entry) => ["redo", "", "accept"].indexOf(of(entry).decision), up: true },
  ];
  const SHOW = { all: () => true, doubtful: (entry) => entry.doubtful > 0, failed: (entry) => entry.status !== "done" };
  const WITH = {
    any: () => true,
    open: (entry) => !of(entry).decision,
    accepted: (entry) => of(entry).decision === "accept",
    redo: (entry) => of(entry).decision === "redo",
  };
  const view = { show: "all", with: "any", text: "", column: null, up: true, selected: null };
  const collator = new Intl.Collator("en", { numeric: true });
  const natural = (a, b) => collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);

  function compare(a, b) {
    if (typeof a === "string") return natural(a, b);
    if (!Array.isArray(a)) return a - b;
    const at = a.findIndex((value, index) => value !== b[index]);
    return at < 0 ? 0 : a[at] - b[at];
  }

  const words = (entry) =>
    [entry.case, entry.status, entry.code, ...entry.warnings, ...entry.targets.map((target) => target.name), of(entry).note];

  function fits(entry) {
    const text = view.text.toLowerCase();
    const found = !text || words(entry).some((word) => word.toLowerCase().includes(text));
    return found && SHOW[view.show](entry) && WITH[view.with](entry);
  }

  let shown = [];

  function redraw() {
    shown = report.cases.filter(fits);
    const column = COLUMNS.find(({ id }) => id === view.column);
    if (column) {
      const turn = view.up ? 1 : -1;
      shown.sort((a, b) => turn * compare(column.of(a), column.of(b)) || a.place - b.place);
    }
    $("cases").replaceChildren(...shown.map((entry) => entry.row.made));
    $("empty").hidden = shown.length > 0;
    $("count").textContent = `${shown.length} of ${report.cases.length} shown`;
    for (const head of $("columns").children) {
      if (head.dataset.column === view.column) head.setAttribute("aria-sort", view.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    for (const group of ["show", "with"]) {
      for (const button of $(group).children) button.setAttribute("aria-pressed", String(button.dataset.value === view[group]));
    }
    if (!shown.includes(view.selected)) select(shown[0] ?? null);
    else view.selected.row.made.scrollIntoView({ block: "nearest" });
  }

  function counts() {
    const count = (test) => report.cases.filter(test).length;
    const [all, accepted, redo] = [report.cases.length, count(WITH.accepted), count(WITH.redo)];
    $("decided").textContent = `${accepted + redo} of ${all} decided`;
    $("meter-accept").style.width = `${(100 * accepted) / Math.max(all, 1)}%`;
    $("meter-redo").style.width = `${(100 * redo) / Math.max(all, 1)}%`;
    for (const [group, tests] of [["show", SHOW], ["with", WITH]]) {
      for (const button of $(group).children) button.lastChild.textContent = count(tests[button.dataset.value]);
    }
  }

  function set(change) {
    Object.assign(view, change);
    redraw();
  }

  function sort(id) {
    const column = COLUMNS.find((column) => column.id === id);
    set({ column: id, up: view.column === id ? !view.up : Boolean(column.up) });
  }

  // ---- Selection and keys
  function select(entry, scroll = false) {
    if (view.selected !== entry) {
      view.selected?.row.made.removeAttribute("aria-current");
      entry?.row.made.setAttribute("aria-current", "true");
      view.selected = entry;
      if ($("large").open && entry) enlarge(entry);
    }
    if (scroll && entry) entry.row.made.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    const at = shown.indexOf(view.selected);
    const next = shown[Math.min(Math.max(at + step, 0), shown.length - 1)];
    if (next) select(next, true);
  }

  function enlarge(entry) {
    if (!entry.sheet) return $("large").close();
    const state = of(entry).decision;
    $("large-name").textContent = state ? `${entry.case}: ${state}` : entry.case;
    $("large-picture").src = source(entry.place);
    $("large-picture").alt = `Slices of ${entry.case} with outlines`;
    if (!$("large").open) $("large").showModal();
  }

  function choose(decision) {
    if (!view.selected) return;
    decide(view.selected, { decision });
    if (decision) move(1);
  }

  const toggle = (group, value, other) => set({ [group]: view[group] === value ? other : value });
  const sortable = COLUMNS.filter((column) => column.of).map((column) => column.id);
  const next = () => sortable[(sortable.indexOf(view.column) + 1) % sortable.length];
  const KEYS = {
    j: () => move(1),
    ArrowDown: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    Home: () => move(-shown.length),
    End: () => move(shown.length),
    a: () => choose("accept"),
    r: () => choose("redo"),
    u: () => choose(""),
    n: () => view.selected?.row.note.focus(),
    Enter: () => ($("large").open ? $("large").close() : view.selected && enlarge(view.selected)),
    d: () => toggle("show", "doubtful", "all"),
    o: () => toggle("with", "open", "any"),
    s: () => sort(next()),
    S: () => view.column && sort(view.column),
    "/": () => $("search").focus(),
    e: () => exportCsv(),
    "?": () => $("keys").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
    const at = event.target;
    if (at instanceof HTMLTextAreaElement || at instanceof HTMLInputElement) {
      if (event.key === "Escape") at.blur();
      return;
    }
    // A button that has the focus is pressed by Enter.
    const isPressed = event.key === "Enter" && at instanceof HTMLButtonElement && !at.classList.contains("picture");
    if (isPressed || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  // ---- CSV, out and in
  const HEAD = ["case", "decision", "note", "mask_sha256", "report"];
  // No table program takes a guarded cell for a formula; batch --only knows the guard.
  const guarded = (cell) => (/^[=+\-@\t\r']/.test(cell) ? `'${cell}` : cell);
  const unguarded = (cell) => (/^'[=+\-@\t\r']/.test(cell) ? cell.slice(1) : cell);
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

  function exportCsv() {
    const rows = report.cases.filter((entry) => decisions.has(entry.case)).map((entry) => {
      const { decision, note } = of(entry);
      return [entry.case, decision, note, entry.mask, hash].map((cell) => quoted(guarded(cell))).join(",");
    });
    const blob = new Blob(["\uFEFF", [HEAD.join(","), ...rows, ""].join("\r\n")], { type: "text/csv" });
    const link = element("a", { href: URL.createObjectURL(blob), download: `qc-${hash.slice(0, 8)}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function parse(text) {
    const rows = [];
    let [row, cell, inside] = [[], "", false];
    const endCell = () => (row.push(cell), (cell = ""));
    for (let at = 0; at < text.length; at++) {
      const own = text[at];
      if (inside && own === '"' && text[at + 1] === '"') (cell += own), at++;
      else if (own === '"') inside = !inside;
      else if (inside) cell += own;
      else if (own === ",") endCell();
      else if (own === "\n") endCell(), rows.push(row), (row = []);
      else if (own !== "\r") cell += own;
    }
    if (cell || row.length) endCell(), rows.push(row);
    return rows;
  }

  async function importCsv(file) {
    const [head = [], ...rows] = parse((await file.text()).replace(/^\uFEFF/, ""));
    const [name, decision, note, mask] = HEAD.map((column) => head.indexOf(column));
    if (name < 0 || decision < 0) return say(`${file.name}: expected the columns case and decision of an exported CSV.`);
    const cases = new Map(report.cases.map((entry) => [entry.case, entry]));
    let [taken, changed, unknown] = [0, 0, 0];
    for (const row of rows) {
      const entry = cases.get(unguarded(row[name] ?? ""));
      if (!entry) {
        unknown++;
        continue;
      }
      const same = mask < 0 || row[mask] === entry.mask;
      const chosen = ["accept", "redo"].includes(row[decision]) && same ? row[decision] : "";
      decide(entry, { decision: chosen, note: note < 0 ? of(entry).note : unguarded(row[note] ?? "") });
      same ? taken++ : changed++;
    }
    redraw();
    say(`${file.name}: ${taken} cases taken; ${changed} whose mask is another now, to be decided again; ${unknown} not in this report.`);
  }

  // ---- Start
  function start() {
    $("about").textContent = `${report.cases.length} cases · medsegx ${report.medsegx} · ${hash.slice(0, 8)}`;
    $("name").textContent = `qc-${hash.slice(0, 8)}.csv`;
    for (const { id, name, of: sorts, title } of COLUMNS) {
      const head = element("th", { scope: "col" });
      head.dataset.column = id;
      const button = sorts ? element("button", { type: "button", title: title ?? "Sort" }, name) : name;
      if (sorts) button.addEventListener("click", () => sort(id));
      head.append(button);
      $("columns").append(head);
    }
    const names = { all: "All", doubtful: "Doubtful", failed: "No mask", any: "Any", open: "Open", accepted: "Accepted", redo: "Redo" };
    for (const [group, tests] of [["show", SHOW], ["with", WITH]]) {
      for (const value of Object.keys(tests)) {
        const button = element("button", { type: "button" }, names[value], element("span"));
        button.dataset.value = value;
        button.addEventListener("click", () => set({ [group]: value }));
        $(group).append(button);
      }
    }
    restore();
    report.cases.forEach((entry, place) => {
      entry.place = place;
      entry.row = row(entry, place);
      mark(entry);
    });
    counts();
    redraw();
    $("search").addEventListener("input", () => set({ text: $("search").value.trim() }));
    $("export").addEventListener("click", exportCsv);
    $("help").addEventListener("click", () => $("keys").showModal());
    $("import").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      if ($("file").files[0]) importCsv($("file").files[0]);
      $("file").value = "";
    });
    $("clear").addEventListener("click", () => {
      if (!decisions.size || !confirm("Forget the decisions and notes of this report?")) return;
      decisions.clear();
      keep();
      report.cases.forEach(mark);
      counts();
      redraw();
    });
    $("large").addEventListener("click", () => $("large").close());
    addEventListener("beforeunload", (event) => {
      if (!kept && decisions.size) event.preventDefault();
    });
  }

  start();
})();
