// Models as points over two columns, coloured by a third.

const MOST_SVG = 2000; // points; above, WebGL follows the pointer better (numbers in docs/REPORT.md)
const MOST_WORDS = 40; // different numbers that are told apart as words, in colours and in filters
const hasWebGL = () => document.createElement("canvas").getContext("webgl") !== null;

// The different values of a column, words in the order of the plan; null where these are too many to tell apart.
function valuesOf(each, rows, most = MOST_WORDS) {
  const found = new Set();
  for (const row of rows) {
    const value = each.value(row);
    if (value !== null) found.add(value);
    if (found.size > most) return null;
  }
  return each.words ? each.words.filter(word => found.has(word)) : [...found].sort((a, b) => a - b);
}

// What is drawn, and the legend that says it: [{label, color, symbol}], empty where a colour bar does.
function tracesOf({x, y, colour, rows, all, hover}) {
  const type = rows.length > MOST_SVG && hasWebGL() ? "scattergl" : "scatter";
  const shown = (each, row) => each.words ? plain(each.value(row)) : each.value(row);
  const trace = (own, marker) => ({
    type, mode: "markers", x: own.map(row => shown(x, row)), y: own.map(row => shown(y, row)), customdata: own,
    hoverinfo: "text", hovertext: own.map(row => hover(row).map(plain).join("<br>")),
    marker: {size: 8, opacity: .75, ...marker},
  });
  const words = valuesOf(colour, all, colour.words ? MOST_WORDS : 8);
  if (words === null) {
    const bar = {thickness: 10, outlinewidth: 0, title: {text: plain(colour.title), side: "right"}};
    return {traces: [trace(rows, {color: rows.map(colour.value), colorscale: "Viridis", colorbar: bar})], legend: []};
  }
  const marks = words.map((value, k) => ({label: written(value, colour.setting), value, ...markOf(value, k)}));
  const none = {label: "undefined", value: null, color: coloured("lost"), symbol: "circle-open"};
  const own = new Map([...marks, none].map(mark => [mark.value, []]));
  for (const row of rows) own.get(colour.value(row)).push(row);
  const there = [...marks, none].filter(mark => own.get(mark.value).length);
  return {traces: there.map(mark => trace(own.get(mark.value), {color: mark.color, symbol: mark.symbol})), legend: there};
}

// A ring around the chosen model, as shapes of the layout, which are moved without drawing the points again.
function ringOf(x, y, row) {
  if (row === null) return [];
  const at = each => each.words ? plain(each.value(row)) : each.value(row);
  return [{
    type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: at(x), yanchor: at(y), x0: -9, x1: 9, y0: -9, y1: 9,
    line: {color: coloured("accent"), width: 3},
  }];
}

// Draws into `host`; returns the legend. Only what has both numbers can be drawn: the caller leaves out the others.
function drawPoints(host, shown) {
  const {x, y, logX, logY, chosen} = shown, {traces, legend} = tracesOf(shown);
  const kind = (each, log) => ({type: each.words ? "category" : log ? "log" : "linear"});
  const ends = layout({
    xaxis: axis(x.title, kind(x, logX)), yaxis: axis(y.title, kind(y, logY)), shapes: ringOf(x, y, chosen),
    uirevision: [x.name, y.name, logX, logY].join(" "),
  });
  return {done: Plotly.react(host, traces, ends, CONFIG), legend};
}
