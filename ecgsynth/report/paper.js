"use strict";
// ECG paper: 25 mm/s and 10 mm/mV, small squares of 1 mm, large ones of 5 mm.
const ecgPaper = (() => {
  const MM_PER_S = 25, MM_PER_MV = 10, PX_PER_MM = 96 / 25.4;

  const make = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent?.append(element);
    return element;
  };

  // Each lead (mV) on its own stretch of paper, from span[0] to span[1] mV, with an arrow at each mark (s); `size` gives the
  // magnification for a width in px.
  const draw = ({ leads, fs, span, marks, title, size }) => {
    const width = Math.ceil(leads[0].length / fs * MM_PER_S / 5) * 5;
    const tall = (span[1] - span[0]) * MM_PER_MV, height = tall * leads.length;
    const scale = size(width * PX_PER_MM);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width: `${width * scale}mm`, height: `${height * scale}mm`, role: "img" });
    make("title", {}, svg).textContent = title;
    make("rect", { width, height, fill: "#fffaf5" }, svg);
    for (const [by, colour, stroke] of [[1, "#f3cfc6", 0.1], [5, "#e6a596", 0.2]]) {
      let lines = "";
      for (let x = 0; x <= width + 1e-6; x += by) lines += `M${x} 0V${height}`;
      for (let y = 0; y <= height + 1e-6; y += by) lines += `M0 ${y}H${width}`;
      make("path", { d: lines, stroke: colour, "stroke-width": stroke, fill: "none" }, svg);
    }
    leads.forEach((lead, number) => {
      const y = value => (tall * number + (span[1] - value) * MM_PER_MV).toFixed(2);
      const points = lead.map((value, sample) => `${(sample / fs * MM_PER_S).toFixed(2)},${y(value)}`).join(" ");
      make("polyline", { points, fill: "none", stroke: "#14171a", "stroke-width": 0.3, "stroke-linejoin": "round" }, svg);
    });
    for (const mark of marks) make("path", { d: `M${mark * MM_PER_S - 1} 0.2h2l-1 1.7z`, fill: "#0b5a94" }, svg);
    return svg;
  };

  return { make, draw };
})();
