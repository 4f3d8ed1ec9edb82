// The explorer: what is chosen, in the page's address and in its controls, and what that shows.

const ANY = "";
const FACTS = ["status", "loss_fraction", "features_neuron", "features_hidden", "features_lost", "features_recovered", "targets_recovered"];

const host = id => document.getElementById(id);

// What the address says that this run has; whatever it does not say is as at first.
function chosenBy(address, run) {
  const said = new URLSearchParams(address.replace(/^#/, "")), names = new Set(run.columns.map(each => each.name));
  const named = key => names.has(said.get(key)) ? said.get(key) : run.start[key];
  const only = {};
  const has = (name, value) => run.columns.some(each => each.name === name && run.models.some((_, row) => written(each.value(row), true) === value));
  for (const [key, value] of said) if (key.startsWith("only.") && has(key.slice(5), value)) only[key.slice(5)] = value;
  const model = said.has("model") ? run.models.indexOf(Number(said.get("model"))) : -1;
  return {
    x: named("x"), y: named("y"), colour: named("colour"), log: said.get("log") ?? "", only,
    sort: said.get("sort") ?? "model", row: model < 0 ? null : model,
  };
}

function addressOf(chosen, run) {
  const said = new URLSearchParams();
  for (const key of ["x", "y", "colour"]) if (chosen[key] !== run.start[key]) said.set(key, chosen[key]);
  if (chosen.log) said.set("log", chosen.log);
  for (const [name, value] of Object.entries(chosen.only)) said.set(`only.${name}`, value);
  if (chosen.sort !== "model") said.set("sort", chosen.sort);
  if (chosen.row !== null) said.set("model", run.models[chosen.row]);
  return `#${said}`;
}

function explore(run) {
  let chosen = chosenBy(location.hash, run), drawing = Promise.resolve(), models = null;
  const all = [...run.models.keys()], by = new Map(run.columns.map(each => [each.name, each]));
  const number = {name: "model", title: "model", value: row => run.models[row], text: row => String(run.models[row]), numeric: true};
  const filters = run.columns.filter(each => each.setting && (valuesOf(each, all) ?? []).length > 1);
  const said = row => run.columns.filter(each => each.setting && each.value(row) !== null)
    .map(each => each.name === "hidden layer" ? each.text(row) : `${each.title} ${each.text(row)}`);
  const titled = row => [`Model ${run.models[row]}`, ...said(row)];

  function keep(change) {
    chosen = {...chosen, ...change};
    history.replaceState(null, "", addressOf(chosen, run));
  }

  function choose(change) {
    keep(change);
    show();
  }

  function select(label, options, value, onchange) {
    const made = options.map(([each, text]) => make("option", {value: each, selected: each === value}, text));
    return make("label", {}, label, make("select", {"aria-label": label, onchange: event => onchange(event.target.value)}, ...made));
  }

  function check(letter) {
    const turned = event => choose({log: [...chosen.log].filter(each => each !== letter).concat(event.target.checked ? letter : []).join("")});
    return make("label", {class: "check"}, make("input", {type: "checkbox", checked: chosen.log.includes(letter), onchange: turned}), `log ${letter}`);
  }

  function controls() {
    const columns = run.columns.map(each => [each.name, each.title]);
    const one = each => {
      const options = [[ANY, "any"], ...valuesOf(each, all).map(value => [written(value, true), written(value, true)])];
      return select(each.title, options, chosen.only[each.name] ?? ANY, value => {
        const {[each.name]: _, ...others} = chosen.only;
        choose({only: value === ANY ? others : {...others, [each.name]: value}});
      });
    };
    host("choices").replaceChildren(
      select("Across (x)", columns, chosen.x, x => choose({x})), check("x"),
      select("Up (y)", columns, chosen.y, y => choose({y})), check("y"),
      select("Colour", columns, chosen.colour, colour => choose({colour})), ...filters.map(one));
  }

  function legend(marks) {
    host("legend").replaceChildren(...marks.map(({label, color, symbol}) => {
      const sign = make("span", {"aria-hidden": "true"}, {circle: "●", diamond: "◆", square: "■", "triangle-up": "▲", x: "✖"}[symbol] ?? "○");
      sign.style.color = color;
      return make("span", {}, sign, ` ${label}`);
    }));
  }

  // What the axes show of some rows: those that have both numbers.
  function axes(rows) {
    const x = by.get(chosen.x), y = by.get(chosen.y);
    const logX = chosen.log.includes("x") && !x.words, logY = chosen.log.includes("y") && !y.words;
    const there = (each, log, row) => each.value(row) !== null && !(log && each.value(row) <= 0);
    return {x, y, logX, logY, drawn: rows.filter(row => there(x, logX, row) && there(y, logY, row))};
  }

  function points(rows) {
    const {x, y, logX, logY, drawn} = axes(rows), left = rows.length - drawn.length;
    const hover = row => [...titled(row), `${x.title} ${x.text(row)}`, `${y.title} ${y.text(row)}`];
    const undrawn = `; ${left} not drawn, where ${x.title} or ${y.title} is undefined${logX || logY ? " or not above 0" : ""}`;
    host("counted").textContent = `${rows.length} of ${all.length} models${left ? undrawn : ""}`;
    const shown = {x, y, colour: by.get(chosen.colour), logX, logY, rows: drawn, all, hover, chosen: ringed(drawn)};
    drawing = drawing.then(() => {
      const {done, legend: marks} = drawPoints(host("points"), shown);
      legend(marks);
      return done;
    });
  }

  const ringed = drawn => drawn.includes(chosen.row) ? chosen.row : null;

  function table(rows) {
    const settings = run.columns.filter(each => each.setting).map(each => each.name);
    const names = ["hidden layer", chosen.x, chosen.y, ...FACTS, ...settings, "seed"];
    const columns = [...new Set(names)].filter(name => by.has(name)).map(name => ({...by.get(name), numeric: !by.get(name).words}));
    models = sortedTable(host("models"), {
      label: "Models", columns: [number, ...columns], rows, sort: chosen.sort, chosen: chosen.row,
      opened: open, onsort: sort => keep({sort}),
    });
  }

  function inside() {
    for (const plot of host("model").querySelectorAll(".plot")) Plotly.purge(plot);
    if (chosen.row === null) {
      host("model").hidden = true;
      host("model").replaceChildren();
      return;
    }
    const facts = ["seed", ...FACTS].filter(name => by.has(name)).map(name => [by.get(name).title, by.get(name).text(chosen.row)]);
    const everything = run.columns.map(each => [each.title, each.text(chosen.row)]);
    drawModel(host("model"), run, run.models[chosen.row], {
      title: titled(chosen.row).join(", ").replace(", ", ": "), facts, everything, close: () => look(null),
    });
  }

  const kept = row => Object.entries(chosen.only).every(([name, value]) => by.has(name) && written(by.get(name).value(row), true) === value);

  // Look inside another model: the points stay as they are.
  function look(row) {
    keep({row});
    inside();
    models.choose(row);
    const {x, y, drawn} = axes(all.filter(kept)), ring = ringOf(x, y, ringed(drawn));
    drawing = drawing.then(() => Plotly.relayout(host("points"), {shapes: ring}));
  }

  function open(row) {
    look(row);
    host("model").focus({preventScroll: true});
    host("model").scrollIntoView({block: "nearest", behavior: "smooth"});
  }

  function show() {
    const rows = all.filter(kept);
    points(rows);
    table(rows);
  }

  function begin() {
    controls();
    show();
    inside();
  }

  begin();
  drawing.then(() => host("points").on("plotly_click", ({points: [point]}) => { if (point.customdata !== undefined) open(point.customdata); }));
  addEventListener("hashchange", () => { chosen = chosenBy(location.hash, run); begin(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", begin);
}

// Links to sections scroll, and leave what the address keeps alone.
for (const link of document.querySelectorAll('nav a[href^="#"]'))
  link.addEventListener("click", event => {
    event.preventDefault();
    host(link.hash.slice(1)).scrollIntoView({behavior: "smooth"});
  });

(async () => {
  host("without").hidden = true;
  host("explore").hidden = false;
  if (typeof DecompressionStream === "undefined") {
    host("explore").textContent = "The explorer needs a browser of 2023 or later.";
    return;
  }
  const [run, plotly] = await Promise.all([unpacked(), inflated("plotly")]);
  document.head.append(make("script", {}, new TextDecoder().decode(plotly)));
  explore(run);
})();
