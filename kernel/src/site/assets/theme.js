// The chosen theme, before anything is drawn. Without a choice it is the system's.
"use strict";
(() => {
  let theme = null;
  // A browser may refuse storage to pages of a disk.
  try { theme = localStorage.getItem("eigenlens-theme"); } catch { /* the system's theme */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
