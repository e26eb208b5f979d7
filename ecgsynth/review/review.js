"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = name => document.getElementById(name);
  const SIZES = [1, 2, 3];
  let state = null;
  let kept = true;

  // Answers are kept by review and reviewer, so that nobody sees, or goes on with, those of another.
  const store = name => `ecgsynth-review-${data.review}-${name}`;
  const read = name => {
    let found = null;
    try { found = JSON.parse(localStorage.getItem(store(name))); } catch { kept = false; }
    if (!found || !found.answers) found = { reviewer: name, at: 0, size: 2, answers: {} };
    if (!SIZES.includes(found.size)) found.size = 2;
    if (!Number.isInteger(found.at) || !data.items[found.at]) found.at = 0;
    return found;
  };
  const save = () => {
    try { localStorage.setItem(store(state.reviewer), JSON.stringify(state)); kept = true; } catch { kept = false; }
    if (!kept) place("said").textContent = "This browser keeps nothing: export your answers before you close the page.";
  };
  const item = () => data.items[state.at];
  const answer = () => (state.answers[item().id] ??= {});

  const draw = () => {
    const { fs, step, signals, marks, span } = item();
    const seconds = (signals[0].length / fs).toFixed(1);
    const title = `${seconds} s of lead ${data.lead}` + (marks.length ? ", one beat marked" : ", one beat");
    const size = wide => Math.max(1, Math.min(state.size, (place("paper").clientWidth - 2) / wide));
    const leads = signals.map(signal => signal.map(value => value * step));
    place("paper").replaceChildren(ecgPaper.draw({ leads, fs, span, marks, title, size }));
  };

  const show = () => {
    const given = answer(), answered = Object.values(state.answers).filter(of => of.verdict).length;
    place("title").textContent = `${state.at + 1} of ${data.items.length}: ` + (item().marks.length ? "the beat under the arrow" : "a single beat");
    place("progress").value = answered;
    place("count").textContent = `${answered} of ${data.items.length}`;
    for (const button of document.querySelectorAll("button[data-name]")) {
      const value = button.dataset.name === "usable" ? button.dataset.value === "yes" : button.dataset.value;
      button.setAttribute("aria-pressed", String(given[button.dataset.name] === value));
    }
    place("remark").value = given.remark ?? "";
    place("who").textContent = state.reviewer;
    place("size").textContent = `${state.size} ×`;
    place("size").setAttribute("aria-label", `size of the paper, ${state.size} ×`);
    place("clear").disabled = !Object.keys(given).length;
    place("back").disabled = state.at === 0;
    place("next").disabled = state.at === data.items.length - 1;
    draw();
  };

  const give = (name, value) => {
    answer()[name] = value;
    save();
    show();
  };
  const clear = () => {
    state.answers[item().id] = {};
    save();
    show();
  };
  const go = by => {
    state.at = Math.min(Math.max(state.at + by, 0), data.items.length - 1);
    save();
    show();
  };
  const resize = () => {
    state.size = SIZES[(SIZES.indexOf(state.size) + 1) % SIZES.length];
    save();
    show();
  };
  const exported = () => {
    const answers = Object.fromEntries(Object.entries(state.answers).filter(([, of]) => Object.keys(of).length));
    const text = JSON.stringify({ review: data.review, reviewer: state.reviewer, answers }, null, 1);
    const link = document.createElement("a");
    const name = state.reviewer.replace(/[^\p{L}\p{N}_-]+/gu, "-").replace(/^-+|-+$/g, "") || "reviewer";
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `answers-${name}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    place("said").textContent = `Exported the answers to ${Object.keys(answers).length} of ${data.items.length} as ${link.download}.`;
  };

  document.addEventListener("click", event => {
    const button = event.target.closest("button[data-name]");
    if (!button) return;
    give(button.dataset.name, button.dataset.name === "usable" ? button.dataset.value === "yes" : button.dataset.value);
    if (event.detail) button.blur(); // clicked by mouse: Enter goes on to the next
  });
  place("back").addEventListener("click", () => go(-1));
  place("next").addEventListener("click", () => go(1));
  place("size").addEventListener("click", resize);
  place("export").addEventListener("click", exported);
  place("remark").addEventListener("input", event => {
    const given = answer();
    if (event.target.value.trim()) given.remark = event.target.value; else delete given.remark;
    save();
  });
  place("clear").addEventListener("click", clear);
  place("begin").addEventListener("submit", event => {
    event.preventDefault();
    const name = place("reviewer").value.trim();
    if (!name) return;
    state = read(name);
    place("begin").hidden = true;
    place("review").hidden = false;
    document.activeElement?.blur();
    show();
  });
  place("leave").addEventListener("click", () => {
    state = null;
    place("reviewer").value = "";
    place("review").hidden = true;
    place("begin").hidden = false;
    place("reviewer").focus();
  });
  window.addEventListener("storage", event => { // another tab of the same reviewer
    if (state && event.key === store(state.reviewer) && event.newValue) {
      state.answers = JSON.parse(event.newValue).answers;
      show();
    }
  });
  new ResizeObserver(() => { if (state) draw(); }).observe(place("paper"));

  document.addEventListener("keydown", event => {
    if (!state || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.matches("input, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const key = event.key.toUpperCase(), paper = place("paper");
    if (key.startsWith("ARROW") && document.activeElement === paper && paper.scrollWidth > paper.clientWidth) return; // it scrolls
    if (key === "1") give("verdict", "real");
    else if (key === "2") give("verdict", "synthetic");
    else if (key in data.classes) give("label", key);
    else if (key === "U") give("usable", true);
    else if (key === "X") give("usable", false);
    else if (key === "Z") resize();
    else if (key === "DELETE" || key === "BACKSPACE") clear();
    else if (key === "M") place("remark").focus();
    else if (key === "ARROWRIGHT" || (key === "ENTER" && !event.target.matches("button, summary"))) go(1);
    else if (key === "ARROWLEFT") go(-1);
    else return;
    event.preventDefault();
  });

  place("begin").hidden = false;
})();
