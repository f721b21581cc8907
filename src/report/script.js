// Everything can be read without this script: it sorts tables, shows the values under a pointer, and filters rows.
// Text from the run is only ever set as text.
(() => {
  "use strict";
  const make = (name, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...inside);
    return element;
  };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // The first number of a cell, a true minus included; what has none comes last.
  const key = (cell) => {
    const text = cell ? cell.textContent.replace(/[\u2212\u2013]/g, "-").replace(/[\u202f\u00a0]/g, "") : "";
    const found = /^[^\d[]*?(-?\d+(\.\d+)?(e-?\d+)?)/.exec(text);
    return { number: found ? Number(found[1]) : null, text };
  };
  const order = (a, b) => {
    if (a.number !== null && b.number !== null) return a.number - b.number;
    if (a.number === null && b.number === null) return a.text.localeCompare(b.text);
    return 0;
  };
  const sortable = (table) => {
    const bodies = all("tbody", table);
    if (!bodies.some((body) => all("tr:not(.group)", body).length > 2)) return;
    const first = bodies.map((body) => all("tr", body));
    all("thead th", table).forEach((head, column, heads) => {
      const button = make("button", { type: "button", className: "sort", title: "Sort by this column" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" };
        const way = next[head.getAttribute("aria-sort") || "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (way !== "none") head.setAttribute("aria-sort", way);
        bodies.forEach((body, at) => {
          const kept = first[at].filter((row) => row.classList.contains("group"));
          const rows = first[at].filter((row) => !row.classList.contains("group"));
          if (way !== "none") {
            const keyed = rows.map((row) => [key(row.cells[column]), row]);
            const some = keyed.filter(([k]) => k.number !== null);
            // Where a column holds numbers, rows without one stay last in both directions.
            const numeric = some.length > 0;
            const rest = numeric ? keyed.filter(([k]) => k.number === null) : [];
            const sorted = (numeric ? some : keyed).sort((a, b) => order(a[0], b[0]));
            if (way === "descending") sorted.reverse();
            body.append(...kept, ...sorted.concat(rest).map(([, row]) => row));
          } else {
            body.append(...kept, ...rows);
          }
        });
      });
    });
  };

  // Values in figures: [x, y, text, layer], places in shares of the width and height.
  const figures = [];
  const readable = (image) => {
    let points = [];
    try {
      points = JSON.parse(image.dataset.points || "[]");
    } catch {
      return;
    }
    if (points.length === 0) return;
    const frame = image.parentElement;
    const hint = frame.getAttribute("aria-label") || "Figure";
    frame.setAttribute("aria-label", `${hint}: arrow keys read its values`);
    const stage = make("div", { className: "stage" });
    const ring = make("span", { className: "ring", hidden: true });
    const line = make("span", { className: "line", hidden: true });
    const tip = make("div", { className: "tip", hidden: true });
    const said = make("div", { className: "said" });
    said.setAttribute("role", "status");
    image.replaceWith(stage);
    stage.append(image, line, ring, tip);
    frame.after(said);
    let at = -1;
    const show = (index, aloud) => {
      at = index;
      const hidden = index < 0;
      ring.hidden = hidden;
      tip.hidden = hidden;
      if (hidden) return;
      const [x, y, text] = points[index];
      ring.style.left = `${100 * x}%`;
      ring.style.top = `${100 * y}%`;
      tip.style.top = `${100 * y}%`;
      tip.style.left = x > 0.5 ? "auto" : `${100 * x}%`;
      tip.style.right = x > 0.5 ? `${100 * (1 - x)}%` : "auto";
      tip.textContent = text;
      if (aloud) said.textContent = text;
    };
    stage.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect();
      const far = ([x, y]) =>
        Math.hypot(box.left + x * box.width - event.clientX, box.top + y * box.height - event.clientY);
      let best = -1;
      points.forEach((point, index) => {
        if (far(point) < 28 && (best < 0 || far(point) < far(points[best]))) best = index;
      });
      show(best, false);
    });
    stage.addEventListener("pointerleave", () => show(-1, false));
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") show(-1, false);
      if (step === undefined) return;
      event.preventDefault();
      show((at + step + points.length) % points.length, true);
    });
    frame.addEventListener("blur", () => show(-1, false));
    figures.push((layer) => {
      const found = layer === null ? undefined : points.find((point) => point[3] === layer);
      line.hidden = found === undefined;
      if (found) line.style.left = `${100 * found[0]}%`;
    });
  };

  // Rows are hidden by more than one control: a row shows when none hides it.
  const hiders = [];
  const apply = () => {
    all("tbody tr:not(.group)").forEach((row) => {
      row.hidden = hiders.some((hides) => hides(row));
    });
    all("tbody").forEach((body) => {
      const rows = all("tr:not(.group)", body);
      body.hidden = rows.length > 0 && rows.every((row) => row.hidden);
    });
  };

  // Tables whose rows are layers, under one slider.
  const slider = (section) => {
    const tables = all("table").filter((table) => {
      const head = table.querySelector("thead th");
      return head !== null && head.textContent.trim() === "layer";
    });
    const number = (row) => parseInt(row.cells[0].textContent, 10);
    const own = new Set(tables);
    const layers = tables.flatMap((table) => all("tbody tr:not(.group)", table).map(number)).filter(Number.isFinite);
    const last = Math.max(...layers);
    if (!section || layers.length === 0 || last < 2) return;
    const input = make("input", { type: "range", id: "layer", min: "-1", max: String(last), value: "-1" });
    const output = make("output", { textContent: "all layers" });
    output.setAttribute("for", "layer");
    input.setAttribute("aria-valuetext", "all layers");
    const label = make("label", { htmlFor: "layer", textContent: "Layer" });
    section.querySelector("h2").after(make("p", { className: "controls" }, label, input, output));
    let chosen = null;
    hiders.push((row) => chosen !== null && own.has(row.closest("table")) && number(row) !== chosen);
    input.addEventListener("input", () => {
      chosen = input.value === "-1" ? null : Number(input.value);
      const text = chosen === null ? "all layers" : `layer ${chosen} alone, in all tables and figures over layers`;
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
      figures.forEach((mark) => mark(chosen));
      apply();
    });
  };

  // One region alone: its section, and the rows that are called like it.
  const regions = (section) => {
    const names = all("section[data-roi]").map((element) => element.dataset.roi);
    if (!section || names.length < 2) return;
    let chosen = "";
    const select = make("select", { id: "roi" }, make("option", { value: "", textContent: "all" }));
    names.forEach((name, index) => select.append(make("option", { value: String(index), textContent: name })));
    const label = make("label", { htmlFor: "roi", textContent: "Region" });
    section.querySelector("h2").after(make("p", { className: "controls" }, label, select));
    const other = (name) => chosen !== "" && name !== chosen && names.includes(name);
    hiders.push((row) => other(row.cells[0].textContent.trim()));
    select.addEventListener("change", () => {
      chosen = select.value === "" ? "" : names[Number(select.value)];
      all("[data-roi]").forEach((element) => {
        element.hidden = other(element.dataset.roi);
      });
      apply();
    });
  };

  all("table").forEach(sortable);
  all("img[data-points]").forEach(readable);
  slider(document.getElementById("layers"));
  regions(document.getElementById("summary") || document.getElementById("rois"));
})();
