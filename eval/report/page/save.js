// Each figure as a file: SVG with its colours written out, so that any program draws it, or PNG at twice its size.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const LOOK = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
    "font-family", "font-size", "font-weight", "text-anchor"];
  const HEAD = 52;
  const EDGE = 12;

  function node(name, attributes, text = "") {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const named = (figure) => figure.getAttribute("aria-label") ?? figure.querySelector("h3").textContent;
  const words = (text, x, y, size, weight, ink) =>
    node("text", { x, y, "font-family": "sans-serif", "font-size": size, "font-weight": weight, fill: colour(ink) }, text);

  // A panel as it is shown: what is switched off is gone, what is left says how it looks.
  function panel(shown) {
    const copy = shown.cloneNode(true);
    const copies = copy.querySelectorAll("*");
    shown.querySelectorAll("*").forEach((one, place) => {
      if (["path", "line", "circle", "rect", "text"].includes(one.localName)) {
        const look = getComputedStyle(one);
        for (const name of LOOK) copies[place].setAttribute(name, look.getPropertyValue(name));
      }
    });
    copy.querySelectorAll(".off, .hit").forEach((one) => one.remove());
    for (const one of [copy, ...copies]) for (const name of ["class", "tabindex"]) one.removeAttribute(name);
    copy.setAttribute("overflow", "visible");
    return copy;
  }

  function picture(figure) {
    const seen = (one) => one.getClientRects().length > 0;
    const panels = [...figure.querySelectorAll("svg.plot, svg.tile-map")].filter(seen);
    const around = figure.querySelector(".panels").getBoundingClientRect();
    const [width, height] = [around.width + 2 * EDGE, around.height + HEAD + EDGE];
    const whole = node("svg", { xmlns: NS, width, height, viewBox: `0 0 ${width} ${height}` });
    whole.append(node("rect", { width, height, fill: colour("--page") }));
    whole.append(words(named(figure), EDGE, 22, 16, 650, "--ink"));
    whole.append(words(document.querySelector(".lede").textContent, EDGE, 40, 13, 400, "--soft"));
    const place = (box) => ({ x: box.left - around.left + EDGE, y: box.top - around.top + HEAD });
    for (const one of panels) {
      const box = one.getBoundingClientRect();
      const copy = panel(one);
      for (const [key, value] of Object.entries({ ...place(box), width: box.width, height: box.height }))
        copy.setAttribute(key, value);
      whole.append(copy);
    }
    for (const one of [...figure.querySelectorAll(".map-name, .missing p")].filter(seen)) {
      const at = place(one.getBoundingClientRect());
      whole.append(words(one.textContent, at.x, at.y + 14, 12, 400, "--ink"));
    }
    return { text: new XMLSerializer().serializeToString(whole), width, height };
  }

  function give(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
  }

  const SAVES = {
    svg: (made, name) => give(new Blob([made.text], { type: "image/svg+xml" }), name),
    png: async (made, name) => {
      const image = new Image();
      image.src = URL.createObjectURL(new Blob([made.text], { type: "image/svg+xml" }));
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * made.width, 2 * made.height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(image.src);
      canvas.toBlob((blob) => give(blob, name), "image/png");
    },
  };

  for (const figure of document.querySelectorAll("figure")) {
    if (!figure.querySelector(".panels svg")) continue;
    const line = document.createElement("p");
    line.className = "save";
    line.append("Save the figure:");
    for (const [kind, save] of Object.entries(SAVES)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.setAttribute("aria-label", `Save ${named(figure)} as ${button.textContent}`);
      const name = figure.id || figure.getAttribute("aria-labelledby");
      button.addEventListener("click", () => save(picture(figure), `${name}.${kind}`));
      line.append(button);
    }
    figure.append(line);
  }
})();
