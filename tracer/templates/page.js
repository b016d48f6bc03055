"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const timeline = $("timeline"), ticks = $("ticks"), tip = $("tip"), filter = $("filter"), show = $("show");
  const begin = Number(timeline.dataset.from), whole = Math.max(1, Number(timeline.dataset.to) - begin);
  const sites = [...document.querySelectorAll(".site")].map((element) => ({
    element,
    rows: [...element.querySelectorAll(".r")],
    found: element.classList.contains("found"),
  }));
  const rows = sites.flatMap((site) => site.rows);
  // What is shown, in percent of the window.
  let from = 0, to = 100;

  const clock = (percent, has_ms) => {
    const us = begin + (whole * percent) / 100;
    return new Date(us / 1000).toISOString().slice(11, has_ms ? 23 : 19);
  };
  const span = (percent) => {
    const s = (whole * percent) / 1e8;
    return s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 2 : 0)} ms` : s < 120 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(1)} min`;
  };

  // Seconds between two ticks, at most eight of them.
  const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const draw_ticks = () => {
    const seconds = whole / 1e6, shown = (seconds * (to - from)) / 100;
    const most = Math.max(2, Math.min(8, Math.floor(ticks.clientWidth / 90)));
    const step = STEPS.find((step) => shown / step <= most) || 86400 * Math.ceil(shown / 86400 / most);
    const has_ms = step < 1, first = begin / 1e6 + (seconds * from) / 100;
    const labels = [];
    for (let at = Math.ceil(first / step) * step; at <= first + shown; at += step) {
      const label = document.createElement("span");
      const percent = ((at - begin / 1e6) / seconds) * 100;
      label.textContent = "|" + clock(percent + 1e-9, has_ms);
      label.style.left = `${((percent - from) / (to - from)) * 100}%`;
      labels.push(label);
    }
    ticks.replaceChildren(...labels);
  };
  const zoom_to = (a, b) => {
    const least = Math.min(100, 0.1 / whole * 1e5);
    const width = Math.max(least, Math.min(100, b - a));
    from = Math.max(0, Math.min(100 - width, a));
    to = from + width;
    timeline.style.setProperty("--z", 100 / width);
    timeline.style.setProperty("--f", from);
    draw_ticks();
  };
  const zoom = (factor, at = (from + to) / 2) => zoom_to(at - (at - from) * factor, at + (to - at) * factor);
  const pan = (share) => zoom_to(from + (to - from) * share, to + (to - from) * share);

  const texts = new Map();
  const text_of = (site, row) => {
    if (!texts.has(row)) {
      const heading = site.element.querySelector("h3").textContent;
      const phases = [...row.querySelectorAll("i")].map((i) => i.className).join(" ");
      texts.set(row, `${heading} ${row.textContent} ${row.dataset.a} ${phases}`.toLowerCase());
    }
    return texts.get(row);
  };
  const apply_filter = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean), kind = show.value;
    let count = 0;
    for (const site of sites) {
      let here = 0;
      for (const row of site.rows) {
        const open = row.classList.contains("open");
        const fits = (kind === "all" || (kind === "open" && open) || (kind === "ended" && !open) || (kind === "verdict" && site.found && open))
          && words.every((word) => text_of(site, row).includes(word));
        row.hidden = !fits;
        here += fits;
      }
      site.element.hidden = here === 0;
      count += here;
    }
    $("count").textContent = `${count} of ${rows.length} connections`;
    const current = document.querySelector('.r[tabindex="0"]');
    if (!current || current.hidden || current.closest("[hidden]")) make_current(visible()[0]);
  };
  const visible = () => rows.filter((row) => !row.hidden);
  const make_current = (row) => {
    for (const other of document.querySelectorAll('.r[tabindex="0"]')) other.tabIndex = -1;
    if (row) row.tabIndex = 0;
  };

  const percent_at = (bar, x) => {
    const box = bar.getBoundingClientRect();
    return from + ((to - from) * Math.max(0, Math.min(1, (x - box.left) / box.width)));
  };
  const place = (element) => [parseFloat(element.style.left), parseFloat(element.style.width) || 0];
  const tell = (row, percent) => {
    const [fd, end, , state] = row.children;
    const says = [`fd ${fd.textContent}, ${end.textContent}, ${state.textContent}`];
    if (percent !== undefined) {
      const piece = [...row.querySelectorAll("i")].find((i) => {
        const [left, width] = place(i);
        return left <= percent && percent <= left + width;
      });
      if (piece) {
        const [left, width] = place(piece);
        says.unshift(`${piece.className} for ${span(width)}, ${clock(left, true)} to ${clock(left + width, true)}`);
      }
      const near = (to - from) / 100;
      for (const mark of row.querySelectorAll("b")) {
        if (Math.abs(place(mark)[0] - percent) < near) says.unshift(`${mark.className} at ${clock(place(mark)[0], true)}`);
      }
    } else {
      says.push([...row.querySelectorAll("i")].map((i) => `${i.className} ${span(place(i)[1])}`).join(", "));
    }
    tip.textContent = `${says.join(" · ")} · ${row.dataset.a}`;
    tip.hidden = false;
  };

  let drag = null;
  timeline.addEventListener("pointermove", (event) => {
    const bar = event.target.closest(".b");
    if (drag) {
      const box = drag.bar.getBoundingClientRect(), x = Math.max(box.left, Math.min(box.right, event.clientX));
      drag.mark.style.left = `${Math.min(x, drag.x) - box.left}px`;
      drag.mark.style.width = `${Math.abs(x - drag.x)}px`;
    } else if (bar) tell(bar.parentElement, percent_at(bar, event.clientX));
    else if (!document.activeElement.closest(".r")) tip.hidden = true;
  });
  timeline.addEventListener("pointerdown", (event) => {
    const bar = event.target.closest(".b");
    if (!bar || event.button !== 0 || event.pointerType === "touch") return;
    const mark = document.createElement("div");
    mark.className = "select";
    bar.append(mark);
    drag = { bar, mark, x: event.clientX };
  });
  addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { bar, mark, x } = drag;
    drag = null;
    mark.remove();
    const [a, b] = [percent_at(bar, x), percent_at(bar, event.clientX)].sort((a, b) => a - b);
    if (Math.abs(event.clientX - x) > 4) zoom_to(a, b);
    else { make_current(bar.parentElement); bar.parentElement.focus({ preventScroll: true }); }
  });
  timeline.addEventListener("wheel", (event) => {
    const bar = event.target.closest(".b, #ticks");
    if (!bar || !event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, percent_at(bar, event.clientX));
  }, { passive: false });
  timeline.addEventListener("focusin", (event) => {
    const row = event.target.closest(".r");
    if (row) { make_current(row); tell(row); }
  });

  const step = (by) => {
    const all = visible(), now = all.indexOf(document.activeElement.closest(".r"));
    const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? 0 : now + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  };
  const KEYS = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(20), PageUp: () => step(-20),
    Home: () => step(-Infinity), End: () => step(Infinity),
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
  };
  const ANYWHERE = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => zoom_to(0, 100), "/": () => filter.focus() };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = document.activeElement, writes = at.matches("input, select");
    if (event.key === "Escape") {
      if (at === filter) { filter.value = ""; apply_filter(); }
      tip.hidden = true;
      at.blur();
      return;
    }
    const act = writes ? null : ANYWHERE[event.key] || (at.closest(".r") ? KEYS[event.key] : null);
    if (at === filter && (event.key === "ArrowDown" || event.key === "Enter")) { event.preventDefault(); return step(0); }
    if (act) { event.preventDefault(); act(); }
  });
  filter.addEventListener("input", apply_filter);
  show.addEventListener("change", apply_filter);
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("reset").addEventListener("click", () => zoom_to(0, 100));
  addEventListener("resize", draw_ticks);
  addEventListener("beforeprint", () => document.querySelectorAll("main details").forEach((details) => { details.open = true; }));

  zoom_to(0, 100);
  apply_filter();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
})();
