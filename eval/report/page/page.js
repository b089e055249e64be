"use strict";
(() => {
  const tip = document.getElementById("tip");
  const chips = [...document.querySelectorAll(".chips button[data-layout]")];
  const off = new Set();

  // An element goes when all the layouts that it is of are off, or one of those that it needs.
  function show() {
    const numbers = (element, name) => element.dataset[name].split(" ");
    for (const one of document.querySelectorAll("[data-v]"))
      one.classList.toggle("off", numbers(one, "v").every((number) => off.has(number)));
    for (const one of document.querySelectorAll("[data-needs]"))
      one.classList.toggle("off", numbers(one, "needs").some((number) => off.has(number)));
    for (const chip of chips) chip.setAttribute("aria-pressed", String(!off.has(chip.dataset.layout)));
    document.querySelectorAll("svg.plot").forEach(oneStop);
    hide();
  }

  // One Tab stop a figure; the arrow keys go on from there.
  const points = (plot) => [...plot.querySelectorAll(".pt")].filter((point) => !point.closest(".off"));
  function oneStop(plot) {
    const found = points(plot);
    const stop = found.find((point) => point.tabIndex === 0) ?? found[0];
    for (const point of plot.querySelectorAll(".pt")) point.setAttribute("tabindex", point === stop ? "0" : "-1");
  }
  function move(point, by) {
    const found = points(point.closest("svg"));
    const next = found[(found.indexOf(point) + by + found.length) % found.length];
    point.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  function tell(point) {
    tip.textContent = point.getAttribute("aria-label").replaceAll("; ", "\n");
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - box.width / 2, 8), innerWidth - box.width - 8);
    const above = at.top - box.height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 8 ? at.bottom + 8 : above}px`;
  }
  function hide() {
    tip.hidden = true;
  }

  for (const chip of chips)
    chip.addEventListener("click", () => {
      if (!off.delete(chip.dataset.layout)) off.add(chip.dataset.layout);
      show();
    });
  for (const button of document.querySelectorAll("[data-all]"))
    button.addEventListener("click", () => {
      off.clear();
      if (button.dataset.all === "false") chips.slice(1).forEach((chip) => off.add(chip.dataset.layout));
      show();
    });

  const pointOf = (event) => event.target.closest?.(".pt");
  document.addEventListener("pointerover", (event) => (pointOf(event) ? tell(pointOf(event)) : hide()));
  document.addEventListener("focusin", (event) => (pointOf(event) ? tell(pointOf(event)) : hide()));
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === "Escape") hide();
    else if (pointOf(event) && event.key in steps) {
      event.preventDefault();
      move(pointOf(event), steps[event.key]);
    }
  });
  // Browsers without ::details-content print what is open.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
  show();
})();
