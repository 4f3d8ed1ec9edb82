// One model from inside: its weights, the plane of its features, and the tables of its features, targets and neurons.

const MOST_PRODUCT = 512; // features or targets of W_out W_in, which is computed here

// The matrices that can be shown, by name: {rows, columns, of: [row word, column word], z: [row][column]}.
function matricesOf({hidden, features, targets, tied, embedded, values}) {
  const cut = (from, rows, columns) =>
    Array.from({length: rows}, (_, row) => values.subarray(from + row * columns, from + (row + 1) * columns));
  const transposed = z => Array.from({length: z[0].length}, (_, k) => Float32Array.from(z, row => row[k]));
  const W = embedded ? "W_in E" : "W_in", columns = cut(0, hidden, features);
  const out = tied ? transposed(columns) : cut(hidden * features, targets, hidden);
  const found = {[W]: () => ({z: columns, of: ["neuron", "feature"]})};
  if (!tied) found.W_out = () => ({z: out, of: ["output", "neuron"]});
  if (Math.max(features, targets) <= MOST_PRODUCT)
    found[tied ? `${W}ᵀ ${W}` : `W_out ${W}`] = () => ({
      z: out.map(row => columns.reduce((sum, column, k) => sum.map((each, i) => each + row[k] * column[i]), new Float32Array(features))),
      of: ["output", "feature"],
    });
  return found;
}

function drawMatrix(host, {z, of: [row, across]}) {
  const most = z.reduce((largest, each) => each.reduce((a, b) => Math.max(a, Math.abs(b)), largest), 0) || 1;
  const trace = {
    type: "heatmap", z, zmin: -most, zmax: most, hovertemplate: `${row} %{y}, ${across} %{x}: %{z:.3g}<extra></extra>`,
    colorscale: [[0, coloured("negative")], [.5, coloured("zero")], [1, coloured("positive")]],
    colorbar: {thickness: 10, outlinewidth: 0},
  };
  const whole = {showgrid: false, zeroline: false, constrain: "domain"};
  return Plotly.react(host, [trace], layout({
    xaxis: axis(across, whole), yaxis: axis(row, {...whole, autorange: "reversed"}),
  }), CONFIG);
}

// Features from 0 to where their columns end; each in the colour of its tier, or all in one.
function drawPlane(host, {hidden, points}, features) {
  const count = points.length / 2, x = points.subarray(0, count), y = points.subarray(count);
  const tier = features && features.columns.find(each => each.name === "tier");
  const numbers = [...x.keys()], spokes = numbers.flatMap(k => [[0, 0], [x[k], y[k]], [null, null]]);
  const hover = k => `feature ${k}` + (tier ? `<br>tier ${plain(written(tier.value(k)))}` : "") + `<br>length here ${written(Math.hypot(x[k], y[k]))}`;
  const traces = [
    {type: "scatter", mode: "lines", x: spokes.map(each => each[0]), y: spokes.map(each => each[1]), hoverinfo: "skip", line: {width: 1, color: coloured("line")}},
    {
      type: "scatter", mode: "markers", x, y, hoverinfo: "text", hovertext: numbers.map(hover),
      marker: {size: 7, color: numbers.map(k => coloured(tier && TIERS.includes(tier.value(k)) ? tier.value(k) : "accent"))},
    },
  ];
  const names = hidden <= 2 ? ["neuron 0", "neuron 1"] : ["first principal direction", "second"];
  return Plotly.react(host, traces, layout({
    xaxis: axis(names[0]), yaxis: axis(names[1], {scaleanchor: "x", scaleratio: 1}),
  }), CONFIG);
}

// A section with a table of rows of this model; of neurons also what tier their main feature is in.
function tableOf(label, {index, count, columns}, features) {
  const host = make("div"), rows = [...Array(count).keys()], main = columns.find(each => each.name === "main_feature");
  const tier = features && features.columns.find(each => each.name === "tier");
  const own = [{name: index, title: index, value: row => row, text: String, numeric: true}, ...columns.map(each => ({...each, numeric: !each.words}))];
  if (main && tier) {
    const ofMain = row => main.value(row) === null || main.value(row) < 0 ? null : tier.value(main.value(row));
    own.splice(2, 0, {name: "its tier", title: "its tier", value: ofMain, text: row => written(ofMain(row)), numeric: false});
  }
  sortedTable(host, {label, columns: own, rows, perPage: 16, sort: index});
  return make("section", {class: "rows"}, make("h4", {}, label), host);
}

// Fills `host` with what the page has of model number `model`; `title` says which it is, `facts` and `everything`, pairs
// of a name and a text, what was measured.
function drawModel(host, run, model, {title, facts, everything, close}) {
  const weights = run.weights(model), plane = run.plane(model);
  const features = run.tables.features && run.tables.features(model);
  const pairs = said => make("div", {class: "facts"},
    ...said.map(([name, value]) => make("div", {}, make("span", {class: "quiet"}, name), make("span", {}, value))));
  const heat = make("div", {class: "plot", id: "weights", role: "img", "aria-label": "Weights"});
  const flat = make("div", {class: "plot", id: "plane", role: "img", "aria-label": "Features in a plane"});
  const parts = [];
  if (weights) {
    const matrices = matricesOf(weights), pick = make("select", {"aria-label": "Matrix"}, ...Object.keys(matrices).map(name => make("option", {}, name)));
    pick.addEventListener("change", () => drawMatrix(heat, matrices[pick.value]()));
    parts.push(make("section", {}, make("h4", {}, "Weights ", pick), heat));
  } else {
    parts.push(make("section", {}, make("h4", {}, "Weights"), make("p", {}, "The page does not carry this model's. In Python:"),
      make("pre", {}, `toymodels.load(${JSON.stringify(run.run)}).model(${model}).parameters`)));
  }
  if (plane) {
    const kept = plane.hidden <= 2 ? "Columns of W_in, a spoke to each feature." :
      `Columns of W_in in their principal plane, which keeps ${(100 * plane.share).toFixed(0)} % of their squared length.`;
    parts.push(make("section", {}, make("h4", {}, "Geometry"), flat, make("p", {class: "quiet"}, kept)));
  }
  const tables = Object.entries({features: "Features", targets: "Targets", neurons: "Neurons"})
    .map(([name, label]) => [label, run.tables[name] && run.tables[name](model)]).filter(([, rows]) => rows && rows.count);
  host.replaceChildren(
    make("h3", {}, title, " ", make("button", {type: "button", onclick: close}, "Close")),
    pairs(facts), make("details", {}, make("summary", {}, "All settings and measures"), pairs(everything)),
    make("div", {class: "beside"}, ...parts),
    ...(tables.length ? tables.map(([label, rows]) => tableOf(label, rows, features)) :
      [make("p", {}, "The page does not carry its features and neurons: see features.parquet and neurons.parquet in the run folder.")]));
  host.hidden = false;
  if (weights) drawMatrix(heat, Object.values(matricesOf(weights))[0]());
  if (plane) drawPlane(flat, plane, features);
}
