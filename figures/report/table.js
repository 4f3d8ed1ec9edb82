// A table that sorts by any of its columns, a page at a time. What is undefined comes last in either order.

function inOrder(rows, {value}, falling) {
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", {numeric: true}) : a - b;
  const keyed = rows.map(row => [value(row), row]);
  keyed.sort(([a, i], [b, j]) =>
    a === null || b === null ? (a === null) - (b === null) || i - j : (falling ? compare(b, a) : compare(a, b)) || i - j);
  return keyed.map(([, row]) => row);
}

// Fills `host`. `columns` have {name, title, value, text, numeric}; `opened(row)` is called by a button in the first column;
// `sort` is the name of a column, with "-" before it from large to small, and `onsort` is told of another one. Returns a
// table of which another row can be `choose`n.
function sortedTable(host, {label, columns, rows, perPage = 25, sort = "", chosen = null, opened = null, onsort = null}) {
  let page = 0;

  function sorted() {
    const falling = sort.startsWith("-"), by = columns.find(each => each.name === sort.replace(/^-/, ""));
    return by ? inOrder(rows, by, falling) : rows;
  }

  function head(each) {
    const up = sort === each.name, down = sort === `-${each.name}`;
    const turn = () => {
      sort = up || (!down && each.numeric) ? `-${each.name}` : each.name;
      page = 0;
      draw(each.name);
      if (onsort) onsort(sort);
    };
    return make("th", {scope: "col", "aria-sort": up ? "ascending" : down ? "descending" : "none", class: each.numeric && "number"},
      make("button", {type: "button", "data-column": each.name, onclick: turn}, each.title));
  }

  function cell(each, row) {
    const value = each.value(row), text = each.text(row);
    if (opened && each === columns[0])
      return make("td", {}, make("button", {type: "button", class: "open", "aria-label": `Model ${text}`, onclick: () => opened(row)}, text));
    if (each.name.endsWith("tier") && TIERS.includes(value)) return make("td", {}, make("span", {class: `tier tier-${value}`}, text));
    return make("td", {class: each.numeric && "number"}, text);
  }

  function draw(focused = null) {
    const all = sorted(), pages = Math.max(1, Math.ceil(all.length / perPage));
    page = Math.min(page, pages - 1);
    const shown = all.slice(page * perPage, (page + 1) * perPage);
    const turn = by => () => { page += by; draw(); };
    const body = shown.map(row => make("tr", {class: row === chosen && "chosen"}, ...columns.map(each => cell(each, row))));
    host.replaceChildren(
      make("div", {class: "wide", tabindex: 0, role: "region", "aria-label": label},
        make("table", {}, make("thead", {}, make("tr", {}, ...columns.map(head))), make("tbody", {}, ...body))),
      ...(pages > 1 ? [make("p", {class: "pages"},
        make("button", {type: "button", disabled: page === 0, onclick: turn(-1)}, "Previous"),
        `${page * perPage + 1} to ${page * perPage + shown.length} of ${all.length}`,
        make("button", {type: "button", disabled: page === pages - 1, onclick: turn(1)}, "Next"))] : []));
    if (focused !== null) [...host.querySelectorAll("th button")].find(each => each.dataset.column === focused).focus();
  }

  draw();
  return {choose: row => { chosen = row; draw(); }};
}
