/* Mathematics after the text; paper is light; wide equations, tables and code scroll by keyboard too. */
(() => {
  const add = (name, properties) =>
    new Promise((loaded) => {
      document.head.append(Object.assign(document.createElement(name), properties, { onload: loaded }));
    });
  const typeset = (math) => {
    const source = math.lastChild; // \(...\) or \[...\], the latter after its number
    if (source.nodeType !== Node.TEXT_NODE) return; // typeset already
    const tex = source.data.trim();
    const formula = Object.assign(document.createElement("span"), { className: "formula" });
    window.katex.render(tex.slice(2, -2), formula, { displayMode: tex.startsWith("\\["), throwOnError: false });
    source.replaceWith(formula);
  };
  addEventListener("load", () => {
    const { katex } = document.body.dataset;
    if (!katex) return;
    let loaded;
    const load = () =>
      (loaded ??= Promise.all([
        add("link", { rel: "stylesheet", href: `${katex}.css` }),
        add("script", { src: `${katex}.js` }),
      ]));
    setTimeout(load, 4000); // for a print, which cannot wait, of a page that nobody has scrolled
    const formulas = [...document.querySelectorAll(".math")];
    // Columns of a wide table are out of sight, and would stay as they are when they are scrolled to.
    const places = new Set(formulas.map((math) => math.closest(".pst-scrollable-table-container") ?? math));
    const near = new IntersectionObserver(
      async (seen) => {
        const shown = seen.filter((place) => place.isIntersecting).map((place) => place.target);
        if (!shown.length) return;
        await load();
        formulas.filter((math) => shown.some((place) => place.contains(math))).forEach(typeset);
      },
      { rootMargin: "150px" },
    );
    for (const place of places) near.observe(place);
    addEventListener("beforeprint", () => window.katex && formulas.forEach(typeset));
  });

  const root = document.documentElement.dataset;
  let theme = "";
  addEventListener("beforeprint", () => {
    theme = root.theme;
    root.theme = "light";
  });
  addEventListener("afterprint", () => {
    root.theme = theme;
  });

  const wide = "div.math > .formula, .bd-article pre, .cell_output > .output, .pst-scrollable-table-container";
  // A page that is never idle must not wait for ever.
  const idle = (work) =>
    window.requestIdleCallback
      ? requestIdleCallback(work, { timeout: 2000 })
      : setTimeout(work, 0, { timeRemaining: () => 50 });
  const unmarked = new Set();
  const mark = (pause) => {
    for (const box of unmarked) {
      // The width of what is far from the screen has to be laid out.
      if (!pause.didTimeout && pause.timeRemaining() < 5) return idle(mark);
      unmarked.delete(box);
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (!scrolls) box.removeAttribute("tabindex");
      else if (box.tabIndex !== 0) box.tabIndex = 0;
    }
  };
  let waiting = 0;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const box of document.querySelectorAll(wide)) unmarked.add(box);
      idle(mark);
    }, 150);
  };
  addEventListener("load", soon);
  addEventListener("resize", soon);
  document.fonts.addEventListener("loadingdone", soon); // letters of another width
  addEventListener("toggle", soon, true); // folded code that opens
  const article = document.querySelector("article");
  if (article) new MutationObserver(soon).observe(article, { childList: true, subtree: true });
})();
