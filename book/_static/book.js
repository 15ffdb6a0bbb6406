/* Wide equations, tables and code scroll inside the column; let the keyboard reach those that do. */
(() => {
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
  addEventListener("toggle", soon, true); // folded code that opens
  new MutationObserver(soon).observe(document.querySelector("article"), { childList: true, subtree: true });
})();
