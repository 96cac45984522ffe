"use strict";
// All of the page's behaviour: the search over the tokens, and the map. It fetches nothing.
const byId = (id) => document.getElementById(id);
const make = (tag, parts = {}, ...inner) => {
  const node = Object.assign(document.createElement(tag), parts);
  node.append(...inner);
  return node;
};

// The columns are deflated numbers, low byte first; tokens.py in saltlm writes them.
const TYPES = {
  origins: Uint8Array, sources: Int32Array, neighbours: Uint16Array, residuals: Float32Array,
  norms: Float32Array, places: Uint32Array, coefficients: Uint16Array,
};
const ORIGINS = ["shared", "made", "sampled", "special", "padding", "kept"];
const SHOWN = 8;
const MOST_FOUND = 40;

const half = (bits) => {
  const power = (bits >> 10) & 31, rest = (bits & 1023) / 1024;
  return (bits & 0x8000 ? -1 : 1) * (power ? (1 + rest) * 2 ** (power - 15) : rest * 2 ** -14);
};
const keyOf = (name) => name.replace(/^␣/, "").normalize("NFC").toLowerCase();

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

let waiting = null;
const table = () => (waiting ??= readTable());

async function readTable() {
  const packed = JSON.parse(byId("columns").textContent);
  const columns = {};
  for (const [name, type] of Object.entries(TYPES)) {
    columns[name] = new type(await unpacked(packed[name]));
  }
  const names = new TextDecoder().decode(await unpacked(packed.names)).split("\n");
  const size = columns.origins.length;
  const made = new Int32Array(size).fill(-1);
  const starts = [0];
  for (let id = 0; id < size; id++) {
    if (columns.origins[id] !== 1) continue;
    made[id] = starts.length - 1;
    starts.push(starts.at(-1) + Math.min(SHOWN, columns.neighbours[made[id]] ?? 0));
  }
  return { ...columns, names, size, made, starts, keys: names.slice(0, size).map(keyOf) };
}

function find(tokens, typed) {
  const text = typed.trim();
  if (/^#\d+$/.test(text)) return Number(text.slice(1)) < tokens.size ? [Number(text.slice(1))] : [];
  const key = keyOf(text);
  if (!key) return [];
  const found = [[], [], []];
  for (let id = 0; id < tokens.size; id++) {
    const place = tokens.keys[id].indexOf(key);
    if (place < 0) continue;
    found[place > 0 ? 2 : tokens.keys[id].length === key.length ? 0 : 1].push(id);
  }
  const asTyped = (id) => (tokens.names[id].replace(/^␣/, "") === text ? 0 : 1);
  const length = (id) => tokens.keys[id].length;
  found[0].sort((a, b) => asTyped(a) - asTyped(b) || a - b);
  for (const some of found.slice(1)) some.sort((a, b) => length(a) - length(b) || a - b);
  return found.flat();
}

// A name with its first space set apart; bdi keeps its direction to itself.
function nameNode(name) {
  const node = make("bdi", { dir: "auto" });
  if (name.startsWith("␣")) node.append(make("span", { className: "space", textContent: "␣" }));
  node.append(name.replace(/^␣/, ""));
  return node;
}

function barNode(value, most) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 200 14");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const width = (98 * Math.abs(value)) / most;
  const parts = [
    ["rect", { class: value < 0 ? "minus" : "plus", x: value < 0 ? 100 - width : 100, y: 1, width, height: 12 }],
    ["line", { class: "zero", x1: 100, x2: 100, y1: 0, y2: 14 }],
  ];
  for (const [tag, attributes] of parts) {
    const part = document.createElementNS(space, tag);
    for (const [name, set] of Object.entries(attributes)) part.setAttribute(name, set);
    svg.append(part);
  }
  return svg;
}

function story(tokens, id) {
  const origin = ORIGINS[tokens.origins[id]];
  const k = tokens.made[id] < 0 ? 0 : tokens.neighbours[tokens.made[id]];
  return {
    shared: `Shared: both vocabularies have this token, and row ${tokens.sources[id]} of the source is copied bit for bit.`,
    kept: `Kept: row ${tokens.sources[id]} of the source is copied; the small model does not have this token.`,
    special: `Special: row ${tokens.sources[id]} of the source is copied.`,
    sampled: "Drawn at random: the token has no vector to seek neighbours with.",
    padding: "Padding: no token, only a row that makes the table's size round.",
    made: k
      ? `New: its row is a sum of the source's rows of ${k} neighbours, each times its coefficient.`
      : "New: made by the method without neighbours.",
  }[origin];
}

async function explain(id) {
  const tokens = await table();
  const place = tokens.made[id];
  const facts = [["id", id], ["origin", ORIGINS[tokens.origins[id]]]];
  const rows = [];
  if (place >= 0) {
    const k = tokens.neighbours[place] ?? 0;
    facts.push(["neighbours", k]);
    if (Number.isFinite(tokens.residuals[place])) facts.push(["residual", tokens.residuals[place].toFixed(3)]);
    facts.push(["norm ratio", tokens.norms[place].toFixed(2)]);
    for (let at = tokens.starts[place]; at < tokens.starts[place + 1]; at++) {
      rows.push([tokens.places[at], half(tokens.coefficients[at])]);
    }
  }
  const list = make("dl");
  for (const [name, value] of facts) {
    list.append(make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })));
  }
  const heading = make("h3", {}, nameNode(tokens.names[id] || "(no token)"));
  byId("explained").replaceChildren(heading, make("p", { textContent: story(tokens, id) }), list);
  if (rows.length) byId("explained").append(neighbourTable(tokens, rows, tokens.neighbours[place]));
  byId("spoken").textContent = `${tokens.names[id]}: ${story(tokens, id)}`;
  history.replaceState(null, "", `#token-${id}`);
}

function neighbourTable(tokens, rows, k) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)));
  const body = make("tbody");
  for (const [id, value] of rows) {
    const name = nameNode(tokens.names[id]);
    const cell = make("th", { scope: "row" });
    if (id < tokens.size) {
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => explain(id));
      cell.append(button);
    } else cell.append(name);
    const number = make("td", { className: "n", textContent: (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3) });
    body.append(make("tr", {}, cell, number, make("td", {}, barNode(value, most))));
  }
  const caption = k > rows.length ? `the ${rows.length} largest of ${k}` : `all ${k}`;
  const head = make("tr", {}, make("th", { scope: "col", textContent: "shared token" }),
    make("th", { scope: "col", className: "n", textContent: "coefficient" }),
    make("th", { scope: "col", textContent: caption }));
  const scroll = make("div", { className: "scroll" });
  scroll.append(make("table", {}, make("thead", {}, head), body));
  return scroll;
}

function setUpSearch() {
  const input = byId("search"), list = byId("found");
  if (!input) return;
  if (!("DecompressionStream" in window)) {
    byId("told").textContent = "This browser cannot unpack the tokens; any of 2023 or later can.";
    return;
  }
  let ids = [], chosen = -1;
  const show = (open) => {
    list.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    if (!open) input.removeAttribute("aria-activedescendant");
  };
  const choose = (next) => {
    list.children[chosen]?.setAttribute("aria-selected", "false");
    chosen = next;
    const option = list.children[chosen];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
  };
  const take = (id) => { show(false); explain(id); };
  input.addEventListener("input", async () => {
    const tokens = await table();
    const all = find(tokens, input.value);
    ids = all.slice(0, MOST_FOUND);
    list.replaceChildren(...ids.map((id, place) => {
      const option = make("li", { id: `option-${place}` }, nameNode(tokens.names[id]),
        make("small", { textContent: `${ORIGINS[tokens.origins[id]]} · ${id}` }));
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.addEventListener("pointerdown", (event) => { event.preventDefault(); take(id); });
      return option;
    }));
    const more = all.length > ids.length ? `, the first ${ids.length} are listed` : "";
    byId("told").textContent = input.value.trim() ? `${all.length.toLocaleString("en")} found${more}` : "";
    chosen = -1;
    show(ids.length > 0);
    if (ids.length) choose(0);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(false);
    if (event.key === "Enter" && ids[chosen] !== undefined) take(ids[chosen]);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && ids.length) {
      event.preventDefault();
      if (list.hidden) show(true);
      choose((chosen + step + ids.length) % ids.length);
    }
  });
  input.addEventListener("blur", () => show(false));
  input.addEventListener("focus", table, { once: true });
  document.addEventListener("click", (event) => {
    const id = event.target.closest?.("[data-id]")?.dataset.id;
    if (id === undefined) return;
    explain(Number(id));
    byId("explain").scrollIntoView();
  });
  const asked = /^#token-(\d+)$/.exec(location.hash);
  if (asked) table().then((tokens) => Number(asked[1]) < tokens.size && explain(Number(asked[1])));
}

function setUpMap() {
  const frame = document.querySelector(".map-frame");
  if (!frame) return;
  const svg = frame.querySelector("svg"), names = svg.querySelector(".names");
  const whole = svg.viewBox.baseVal.width;
  const points = [...svg.querySelectorAll("circle")].map((circle) => ({
    x: Number(circle.getAttribute("cx")), y: Number(circle.getAttribute("cy")),
    name: circle.querySelector("title").textContent,
  }));
  let view = { x: 0, y: 0, size: whole };
  const draw = () => {
    view.x = Math.min(Math.max(view.x, 0), whole - view.size);
    view.y = Math.min(Math.max(view.y, 0), whole - view.size);
    const scale = view.size / (svg.getBoundingClientRect().width || whole), taken = new Set(), texts = [];
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.size} ${view.size}`);
    svg.style.setProperty("--r", `${3 * scale}px`);
    for (const point of points) {  // one name in a cell, so that none is over another
      const column = Math.floor((point.x - view.x) / (80 * scale));
      const row = Math.floor((point.y - view.y) / (22 * scale));
      if (point.x > view.x + view.size || point.y > view.y + view.size || column < 0 || row < 0 || taken.has(`${column} ${row}`)) continue;
      taken.add(`${column} ${row}`);
      const text = document.createElementNS("http://www.w3.org/2000/svg", "text");
      text.setAttribute("x", point.x + 5 * scale);
      text.setAttribute("y", point.y + 4 * scale);
      text.style.fontSize = `${11 * scale}px`;
      text.textContent = point.name.replace(/^␣/, "");
      texts.push(text);
    }
    names.replaceChildren(...texts);
  };
  const zoom = (factor, x = 0.5, y = 0.5) => {
    const size = Math.min(whole, Math.max(whole / 40, view.size * factor));
    view = { x: view.x + x * (view.size - size), y: view.y + y * (view.size - size), size };
    draw();
  };
  const move = (x, y) => { view.x += x * view.size; view.y += y * view.size; draw(); };
  const keys = {
    "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), 0: () => zoom(1e9),
    ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0),
    ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
  };
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
  }
  frame.addEventListener("wheel", (event) => {
    if (document.activeElement !== frame) return;  // the page scrolls until the map is chosen
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, (event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
  }, { passive: false });
  let from = null;
  frame.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") from = event; });
  window.addEventListener("pointerup", () => { from = null; });
  frame.addEventListener("pointermove", (event) => {
    if (!from) return;
    const width = svg.getBoundingClientRect().width;
    move((from.clientX - event.clientX) / width, (from.clientY - event.clientY) / width);
    from = event;
  });
  draw();
}

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
setUpSearch();
setUpMap();
