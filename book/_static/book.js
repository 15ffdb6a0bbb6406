/* Mathematics after the text; paper is light; wide equations, tables and code scroll by keyboard too. */
(() => {
  addEventListener("load", () => {
    const { mathjax } = document.body.dataset;
    if (mathjax) document.head.append(Object.assign(document.createElement("script"), { src: mathjax }));
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

  const wide = "div.math > mjx-container, .bd-article pre, .pst-scrollable-table-container";
  const mark = () => {
    for (const box of document.querySelectorAll(wide)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  let waiting = 0;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(mark, 150);
  };
  addEventListener("load", soon);
  addEventListener("resize", soon);
  document.fonts.addEventListener("loadingdone", soon); // letters of another width
  addEventListener("toggle", soon, true); // folded code that opens
  const article = document.querySelector("article");
  if (article) new MutationObserver(soon).observe(article, { childList: true, subtree: true });
})();
