// Layered drawing of a directed acyclic graph: rows by longest path, order within a row by the mean
// place of neighbours, positions pulled to neighbours without overlap. (Sugiyama, Tagawa and Toda, 1981.)

// nodes: {width, height}, given in an order in which edges [from, to] go forward. Adds x and y (centre,
// top) to the nodes; returns {width, height, paths}, one list of points an edge.
function layered(nodes, edges, gapX = 22, gapY = 44) {
  const row = nodes.map(() => 0);
  const sorted = [...edges].sort((a, b) => a[0] - b[0]);
  for (const [from, to] of sorted) row[to] = Math.max(row[to], row[from] + 1);
  // What only leaves sits right above its first reader.
  for (let n = nodes.length - 1; n >= 0; --n) {
    const readers = edges.filter(([from]) => from === n).map(([, to]) => row[to]);
    const fed = edges.some(([, to]) => to === n);
    if (!fed && readers.length > 0) row[n] = Math.min(...readers) - 1;
  }
  const all = nodes.map((node, n) => ({ node, row: row[n], width: node.width, up: [], down: [] }));
  const chains = edges.map(([from, to]) => {
    const chain = [all[from]];
    for (let r = row[from] + 1; r < row[to]; ++r) {
      const bend = { node: null, row: r, width: 8, up: [], down: [] };
      all.push(bend);
      chain.push(bend);
    }
    chain.push(all[to]);
    for (let i = 0; i + 1 < chain.length; ++i) {
      chain[i].down.push(chain[i + 1]);
      chain[i + 1].up.push(chain[i]);
    }
    return chain;
  });
  const rows = [];
  for (const item of all) (rows[item.row] = rows[item.row] || []).push(item);
  for (let r = 0; r < rows.length; ++r) rows[r] = rows[r] || [];
  placeRows(rows, gapX);
  return measure(nodes, all, rows, chains, gapY);
}

function placeRows(rows, gap) {
  const mean = (items) => items.reduce((sum, item) => sum + item.at, 0) / items.length;
  const pack = (line) => {
    for (const item of line) item.at = item.wish;
    for (let sweep = 0; sweep < 2; ++sweep) {
      for (let i = 1; i < line.length; ++i) {
        const least = line[i - 1].at + (line[i - 1].width + line[i].width) / 2 + gap;
        if (line[i].at < least) line[i].at = least;
      }
      // Give half of what was pushed back to the left, then push again.
      const shift = line.reduce((sum, item) => sum + item.at - item.wish, 0) / line.length;
      if (sweep === 0) for (const item of line) item.at -= shift;
    }
  };
  rows.forEach((line) => line.forEach((item, i) => { item.at = item.wish = i * 200; }));
  for (let sweep = 0; sweep < 12; ++sweep) {
    const down = sweep % 2 === 0;
    for (const line of down ? rows : [...rows].reverse()) {
      for (const item of line) {
        const near = down ? item.up : item.down;
        item.wish = near.length > 0 ? mean(near) : item.at;
      }
      if (sweep < 8) line.sort((a, b) => a.wish - b.wish);
      if (line.length > 0) pack(line);
    }
  }
}

function measure(nodes, all, rows, chains, gapY) {
  const left = Math.min(...all.map((item) => item.at - item.width / 2));
  let y = 8;
  const tops = rows.map((line) => {
    const top = y;
    const height = Math.max(0, ...line.map((item) => (item.node ? item.node.height : 0)));
    for (const item of line) Object.assign(item, { top, bottom: top + (item.node ? item.node.height : height) });
    y += height + gapY;
    return top;
  });
  for (const item of all) item.x = item.at - left + 8;
  nodes.forEach((node, n) => Object.assign(node, { x: all[n].x, y: all[n].top }));
  const paths = chains.map((chain) => chain.flatMap((item, i) => {
    if (i === 0) return [[item.x, item.bottom]];
    if (i === chain.length - 1) return [[item.x, item.top]];
    return [[item.x, item.top], [item.x, item.bottom]];
  }));
  const width = Math.max(...all.map((item) => item.x + item.width / 2)) + 8;
  return { width, height: tops.length > 0 ? y - gapY + 8 : 16, paths };
}

// Vertical tangents at every point.
function curve(points) {
  let text = "M" + points[0].map((v) => v.toFixed(1)).join(" ");
  for (let i = 1; i < points.length; ++i) {
    const [x0, y0] = points[i - 1];
    const [x1, y1] = points[i];
    const middle = (y0 + y1) / 2;
    text += " C" + [x0, middle, x1, middle, x1, y1].map((v) => v.toFixed(1)).join(" ");
  }
  return text;
}
