// How things look: elements, numbers in words, colours of the style sheet, and Plotly's layout in them.

// An element. Text is appended as text; attributes are never addresses.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// Plotly reads some HTML in its texts, in which no name may say anything.
const plain = text => String(text).replace(/[&<>]/g, sign => ({"&": "&amp;", "<": "&lt;", ">": "&gt;"})[sign]);

// A value in words: of settings as short as it is, of measures in three digits.
function written(value, setting = false) {
  if (value === null) return "–";
  if (typeof value === "string" || Number.isInteger(value)) return String(value);
  if (setting) return String(Number(value.toPrecision(6)));
  return Math.abs(value) >= 1e-4 && Math.abs(value) < 1e6 ? value.toPrecision(3) : value.toExponential(2);
}

const coloured = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const categories = () => coloured("category").split(/\s+/);
const TIERS = ["neuron", "hidden", "lost"];

const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "x"];

// The colour and symbol of the k-th of several words: colours first, then the next symbol. A hidden layer has the colour
// that it has in the figures, and a triangle with LayerNorm.
function markOf(word, k) {
  const [, layer, norm] = /^(\w+)( \+ LN)?$/.exec(word) ?? [], own = layer && coloured(`layer-${layer}`);
  if (own) return {color: own, symbol: norm ? "triangle-up" : "circle"};
  const colours = categories();
  return {color: colours[k % colours.length], symbol: SYMBOLS[Math.floor(k / colours.length) % SYMBOLS.length]};
}

function axis(text, more = {}) {
  return {
    title: {text: plain(text), standoff: 10}, gridcolor: coloured("line"), linecolor: coloured("line"),
    zerolinecolor: coloured("line"), automargin: true, ...more,
  };
}

function layout(more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: {color: coloured("ink"), family: "system-ui, sans-serif", size: 13}, margin: {l: 56, r: 12, t: 12, b: 48},
    hoverlabel: {bgcolor: coloured("raised"), bordercolor: coloured("line"), font: {color: coloured("ink")}, align: "left"},
    ...more,
  };
}

const CONFIG = {displayModeBar: false, responsive: true, doubleClick: "reset"};
