"use strict";
(() => {
  const place = name => document.getElementById(name);
  const data = JSON.parse(place("explorer-data").textContent);
  const { points, fs, r_sample: peak, n_samples: length, step, names } = data;
  const bytes = Uint8Array.from(atob(data.signals), letter => letter.charCodeAt(0));
  const values = new DataView(bytes.buffer);
  const total = points.x.length;
  const WIDE = 560, HIGH = 400, EDGE = 12;
  let chosen = -1;

  const { make } = ecgPaper;
  const signal = number => Array.from({ length }, (_, at) => values.getInt16(2 * (number * length + at), true) * step);

  const ends = of => [Math.min(...of), Math.max(...of)];
  const [left, right] = ends(points.x), [low, high] = ends(points.y);
  const across = x => EDGE + (x - left) / (right - left || 1) * (WIDE - 2 * EDGE);
  const up = y => HIGH - EDGE - (y - low) / (high - low || 1) * (HIGH - 2 * EDGE);

  const map = make("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  make("title", {}, map).textContent = `Map of ${total} beats: those that are alike lie near each other`;
  const dots = points.x.map((x, number) => {
    const dot = points.kind[number]
      ? make("path", { d: `M${across(x)} ${up(points.y[number]) - 4}l4 7h-8z` }, map)
      : make("circle", { cx: across(x), cy: up(points.y[number]), r: 3.2 }, map);
    dot.setAttribute("class", points.kind[number] ? "dot synthetic" : "dot real");
    dot.dataset.number = number;
    return dot;
  });
  // Neither kind lies on top of the other.
  [...dots.keys()].sort((a, b) => (a * 7919) % total - (b * 7919) % total).forEach(number => map.append(dots[number]));
  place("explorer-map").replaceChildren(map);

  const shown = number =>
    (!place("explorer-class").value || points.class[number] === place("explorer-class").value) &&
    (place("explorer-kind").value === "" || points.kind[number] === Number(place("explorer-kind").value));

  const paper = number => {
    const wave = signal(number), [least, most] = ends(wave);
    const span = [Math.floor((least - 0.2) * 2) / 2, Math.ceil((most + 0.3) * 2) / 2];
    const title = `${names[points.kind[number]]} beat of ${points.label[number]}, from ${least.toFixed(2)} to ${most.toFixed(2)} mV`;
    return ecgPaper.draw({ leads: [wave], fs, span, marks: [peak / fs], title, size: () => 2.6 });
  };

  const choose = number => {
    dots[chosen]?.classList.remove("chosen");
    chosen = number;
    if (number < 0) {
      place("explorer-beat").replaceChildren();
      place("explorer-text").textContent = "No beat is chosen.";
      return;
    }
    dots[number].classList.add("chosen");
    map.append(dots[number]);
    place("explorer-beat").replaceChildren(paper(number));
    const origin = points.origin[number] ? `, ${points.origin[number]}` : "";
    place("explorer-text").textContent = `${names[points.kind[number]]} beat, ${points.label[number]}${origin}. The arrow marks the R peak.`;
  };

  const filter = () => {
    let count = 0;
    dots.forEach((dot, number) => { const on = shown(number); dot.classList.toggle("off", !on); count += on; });
    place("explorer-count").textContent = `${count} of ${total} beats`;
    if (chosen < 0 || !shown(chosen)) choose(points.x.findIndex((_, number) => shown(number)));
  };

  for (const name of [...new Set(points.class)]) place("explorer-class").append(new Option(name, name));
  names.forEach((name, kind) => place("explorer-kind").append(new Option(name, kind)));
  place("explorer-class").addEventListener("change", filter);
  place("explorer-kind").addEventListener("change", filter);
  map.addEventListener("click", event => {
    const frame = map.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width * WIDE, y = (event.clientY - frame.top) / frame.height * HIGH;
    let nearest = -1, least = 30 ** 2;
    points.x.forEach((at, number) => {
      const apart = (across(at) - x) ** 2 + (up(points.y[number]) - y) ** 2;
      if (shown(number) && apart < least) [nearest, least] = [number, apart];
    });
    if (nearest >= 0) choose(nearest);
  });
  // The nearest beat that way: what lies beside the way counts twice.
  const towards = (dx, dy) => {
    const from = [across(points.x[chosen]), up(points.y[chosen])];
    let nearest = -1, least = Infinity;
    points.x.forEach((x, number) => {
      if (number === chosen || !shown(number)) return;
      const off = [across(x) - from[0], up(points.y[number]) - from[1]];
      const along = off[0] * dx + off[1] * dy, beside = Math.abs(off[0] * dy) + Math.abs(off[1] * dx);
      if (along > 0 && along + 2 * beside < least) [nearest, least] = [number, along + 2 * beside];
    });
    return nearest;
  };
  place("explorer-map").addEventListener("keydown", event => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    const all = [...dots.keys()].filter(shown);
    if (!all.length || !(way || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    const next = way ? towards(...way) : all.at(event.key === "Home" ? 0 : -1);
    if (next >= 0) choose(next);
  });
  place("explorer").hidden = false;
  filter();
})();
