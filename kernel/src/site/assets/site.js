// The button of the theme, and figures, which are drawn when they come near the window.
"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    try {
      localStorage.setItem("eigenlens-theme", theme);
      // The API documentation's pages have a setting of their own.
      localStorage.setItem("rustdoc-use-system-theme", "false");
      localStorage.setItem("rustdoc-theme", theme);
    } catch { /* the choice holds for this page */ }
    name();
  });
  system.addEventListener("change", name);
  name();
  button.hidden = false;

  async function unpacked(base64) {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function draw(plot) {
    const script = plot.querySelector("script");
    if (!script || plot.dataset.drawn) return;
    plot.dataset.drawn = "true";
    try {
      const figure = await unpacked(script.textContent);
      await Plotly.newPlot(plot, figure);
    } catch (error) {
      plot.textContent = `This figure could not be drawn: ${error.message}`;
    }
  }

  const plots = [...document.querySelectorAll(".plot")];
  const watch = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watch.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "800px" });
  plots.forEach(plot => watch.observe(plot));
  addEventListener("beforeprint", () => plots.forEach(draw));
})();
