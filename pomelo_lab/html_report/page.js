"use strict";
// Texts of users become text nodes and attributes only, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector) => document.querySelector(selector);
const SMALL = 96; // pixels: smaller pictures are enlarged without smoothing

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

const shown = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString());
const known = (value) => value !== null && value !== undefined;

// ----- the table: sorted by a column, rows without a value last

function sortTable(button) {
  const head = button.closest("th"), column = head.cellIndex, text = button.dataset.better === "text";
  const first = text || button.dataset.better === "lower" ? "ascending" : "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first, sign = order === "ascending" ? 1 : -1;
  for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const body = $("#table tbody");
  const key = (row) => (text ? row.cells[column].textContent : row.cells[column].dataset.value);
  const compare = (a, b) => {
    if (text) return sign * key(a).localeCompare(key(b));
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
    return sign * (Number(key(a)) - Number(key(b)));
  };
  body.append(...[...body.rows].sort(compare));
}
for (const button of document.querySelectorAll("#table thead button")) {
  button.addEventListener("click", () => sortTable(button));
}

// ----- the gallery

const controls = $("#controls"), cards = $("#cards");
let page = 0;

const chosen = (name) => controls.elements[name].value;
const job = () => data.jobs[Number(chosen("job"))];
const distinct = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));

function offer() { // the choices of the chosen job
  const classes = (values) => [["", "all"], ...distinct(values).map((name) => [`=${name}`, name])];
  fill(controls.elements.label, classes(job().label));
  fill(controls.elements.target, classes(job().target));
  fill(controls.elements.metric, Object.keys(job().scores).map((name) => [name, name]));
  offerOrders();
}

function offerOrders() {
  const better = data.metrics[chosen("metric")];
  const ways = better ? [["best", "best first"], ["worst", "worst first"]]
    : [["highest", "highest first"], ["lowest", "lowest first"]];
  fill(controls.elements.order, [["", "as in the data set"], ...(chosen("metric") ? ways : [])]);
}

function selected() { // indices of the images, filtered and in order; images without a score last
  const { label, target, images, scores } = job(), values = scores[chosen("metric")] || [], order = chosen("order");
  const kept = images.map((_, i) => i).filter((i) =>
    (!chosen("label") || chosen("label") === `=${label[i]}`)
    && (!chosen("target") || chosen("target") === `=${target[i]}`));
  if (!order) return kept;
  const lower = data.metrics[chosen("metric")] === "lower";
  const ascending = order === "lowest" || (order === "best" && lower) || (order === "worst" && !lower);
  return kept.sort((a, b) => {
    if (!known(values[a]) || !known(values[b])) return known(values[b]) - known(values[a]);
    return (ascending ? 1 : -1) * (values[a] - values[b]);
  });
}

function picture(part, i, alt, classes = "") {
  const name = (job().pictures[part] || [])[i];
  if (!name) return null;
  const image = make("img", { src: `${data.folder}/${name}`, alt, loading: "lazy", decoding: "async", class: classes });
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < SMALL));
  return image;
}

function framed(text, ...images) {
  return make("div", { class: "picture" }, make("span", { class: "frame" }, ...images), text);
}

function card(i) {
  const { images, label, target, probability, name, scores } = job(), id = images[i], parts = [];
  const image = picture("image", i, `image ${id}`);
  if (image) parts.push(framed("image", image));
  const map = picture("map", i, `map of ${id} by ${name}`);
  if (map) {
    const below = picture("image", i, "", "gray"), above = picture("map", i, `map of ${id} over its image`, "over opaque");
    parts.push(framed("map", map), framed("overlay", below, above));
  }
  const changed = picture("counterfactual", i, `counterfactual of ${id} by ${name}`);
  if (changed) {
    parts.push(framed("counterfactual", changed, picture("image", i, "", "over original")));
    parts.push(framed("difference", picture("difference", i, `counterfactual of ${id} minus the image`)));
  }
  const certain = known(probability[i]) ? `, p = ${shown(probability[i])}` : "", metric = chosen("metric");
  const lines = [id, `label ${label[i]}; explained: ${target[i]}${certain}`];
  if (metric) lines.push(`${metric} ${shown(scores[metric][i])}`);
  const caption = make("figcaption", {}, ...lines.map((line) => make("div", {}, line)));
  const figure = make("figure", { class: "card" }, make("div", { class: "pictures" }, ...parts), caption);
  figure.style.setProperty("--n", Math.max(2, parts.length));
  return figure;
}

function draw() {
  const images = selected(), pages = Math.max(1, Math.ceil(images.length / data.per_page));
  page = Math.min(Math.max(page, 0), pages - 1);
  const first = page * data.per_page, on = images.slice(first, first + data.per_page);
  cards.replaceChildren(...on.map(card));
  $("#place").textContent = images.length
    ? `page ${page + 1} of ${pages}, images ${first + 1} to ${first + on.length} of ${images.length}` : "no images";
  for (const button of document.querySelectorAll("[data-go]")) {
    button.disabled = ["first", "previous"].includes(button.dataset.go) ? page === 0 : page === pages - 1;
  }
  $("#flicker").hidden = !job().pictures.counterfactual;
}

function go(where) {
  page = { first: 0, previous: page - 1, next: page + 1, last: Infinity }[where];
  draw();
}

function setSliders() {
  document.documentElement.style.setProperty("--alpha", Number(chosen("alpha")) / 100);
  document.documentElement.style.setProperty("--size", `${chosen("size")}px`);
}

let flickering = null;
$("#flicker").addEventListener("click", (event) => {
  clearInterval(flickering);
  flickering = flickering ? null : setInterval(() => cards.classList.toggle("original-shown"), 500);
  if (!flickering) cards.classList.remove("original-shown");
  event.target.setAttribute("aria-pressed", String(Boolean(flickering)));
});
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", setSliders);
controls.addEventListener("change", (event) => {
  if (event.target.type === "range") return;
  if (event.target.name === "job") offer();
  if (event.target.name === "metric") offerOrders();
  page = 0;
  draw();
});
for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", () => go(button.dataset.go));
document.addEventListener("keydown", (event) => {
  if (["INPUT", "SELECT", "PRE"].includes(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowRight") go("next");
  if (event.key === "ArrowLeft") go("previous");
});

// ----- cost against quality

const axes = $("#axes");

function svg(name, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(text);
  return element;
}

function scale(values, low, high, logarithmic) { // value -> pixel, and the ends of the axis
  const f = logarithmic ? Math.log10 : (value) => value, all = values.map(f);
  let [least, most] = [Math.min(...all), Math.max(...all)];
  if (least === most) [least, most] = [least - 0.5, most + 0.5];
  const [a, b] = [least - 0.06 * (most - least), most + 0.06 * (most - least)];
  return { at: (value) => low + ((f(value) - a) / (b - a)) * (high - low), ends: [Math.min(...values), Math.max(...values)] };
}

function plot() {
  const cost = axes.elements.cost.value, quality = axes.elements.quality.value;
  const points = data.jobs.map((entry) => ({ name: entry.name, x: entry.cost[cost], y: entry.means[quality] }))
    .filter((point) => known(point.x) && known(point.y));
  if (!points.length) return $("#plot").replaceChildren("no job has both numbers");
  const width = 640, height = 320, left = 70, bottom = 44, logarithmic = points.every((point) => point.x > 0);
  const x = scale(points.map((point) => point.x), left, width - 8, logarithmic);
  const y = scale(points.map((point) => point.y), height - bottom, 12, false);
  const better = { higher: " ↑", lower: " ↓" }[data.metrics[quality]] || "";
  const words = points.map((point) => `${point.name}: ${shown(point.x)}, ${shown(point.y)}`).join("; ");
  const picture = svg("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, width, height });
  picture.append(svg("title", {}, `${quality} against ${data.costs[cost]}: ${words}`));
  picture.append(svg("path", { class: "axis", d: `M${left} 8V${height - bottom}H${width - 8}` }));
  for (const point of points) {
    const dot = svg("circle", { cx: x.at(point.x), cy: y.at(point.y), r: 5 });
    dot.append(svg("title", {}, `${point.name}: ${shown(point.x)}, ${shown(point.y)}`));
    const right = x.at(point.x) > width / 2, beside = x.at(point.x) + (right ? -8 : 8);
    const place = { x: beside, y: y.at(point.y) + 4, "text-anchor": right ? "end" : "start" };
    picture.append(dot, svg("text", place, point.name));
  }
  for (const value of new Set(x.ends)) {
    picture.append(svg("text", { x: x.at(value), y: height - bottom + 16, "text-anchor": "middle" }, shown(value)));
  }
  for (const value of new Set(y.ends)) {
    picture.append(svg("text", { x: left - 6, y: y.at(value) + 4, "text-anchor": "end" }, shown(value)));
  }
  const text = `${data.costs[cost]}${logarithmic ? " (logarithmic)" : ""}`;
  picture.append(svg("text", { x: width - 8, y: height - 6, "text-anchor": "end" }, text));
  picture.append(svg("text", { x: left + 6, y: 14 }, `${quality}${better}`));
  return $("#plot").replaceChildren(picture);
}
axes.addEventListener("change", plot);
axes.addEventListener("submit", (event) => event.preventDefault());

fill(controls.elements.job, data.jobs.map((entry, k) => [k, entry.name]));
fill(axes.elements.cost, Object.entries(data.costs));
fill(axes.elements.quality, Object.keys(data.metrics).map((name) => [name, name]));
offer();
setSliders();
draw();
plot();
