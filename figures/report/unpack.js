"use strict";
// Reads back what packed.py wrote: arrays by their places. What is undefined is NaN among numbers.

const TYPES = {f8: Float64Array, f4: Float32Array, i4: Int32Array, u1: Uint8Array};

const textOf = id => document.getElementById(id).textContent;

async function inflated(id) {
  const bytes = Uint8Array.from(atob(textOf(id)), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// A number of half precision from its sixteen bits: sign, five of the exponent, ten of the fraction (IEEE 754).
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

const unpacker = buffer => ({type, at, count}) =>
  type === "f2" ? Float32Array.from(new Uint16Array(buffer, at, count), half) : new TYPES[type](buffer, at, count);

// A column with its values, a number, a word or null where it is undefined, and how they are written.
function column(described, unpack) {
  const values = unpack(described.values), words = described.words;
  const value = words ? row => words[values[row]] ?? null : row => Number.isNaN(values[row]) ? null : values[row];
  return {...described, words, value, text: row => written(value(row), described.setting)};
}

// The explorer's data: models with their columns, and what there is of the inside of each, found by its number.
async function unpacked() {
  const data = JSON.parse(textOf("data")), unpack = unpacker(await inflated("arrays"));
  const models = unpack(data.models), places = new Map(Array.from(unpack(data.rows), (model, place) => [model, place]));
  const tables = {};
  for (const [name, table] of Object.entries(data.tables)) {
    const starts = unpack(table.starts), columns = table.columns.map(each => column(each, unpack));
    tables[name] = model => {
      const place = places.get(model);
      if (place === undefined) return null;
      const first = starts[place];
      const own = columns.map(each => ({...each, value: row => each.value(first + row), text: row => each.text(first + row)}));
      return {index: table.index, count: starts[place + 1] - first, columns: own};
    };
  }
  return {
    run: data.run, start: data.start, models, tables,
    columns: data.columns.map(each => column(each, unpack)),
    plane: model => data.planes[model] && {...data.planes[model], points: unpack(data.planes[model].points)},
    weights: model => data.weights[model] && {...data.weights[model], values: unpack(data.weights[model].values)},
  };
}
