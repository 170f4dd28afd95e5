"""What must hold for every figure that plotly has drawn in a page: width, contrast, titles, palette."""

# Widths above this are cut off beside JupyterLab's file browser.
WIDEST = 900
# WCAG AA for text, and for lines and other parts of a drawing.
TEXT, LINES = 4.5, 3.0

FAULTS = """
(() => {
    const rgba = text => {
        const [r, g, b, a] = (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
        return {rgb: [r, g, b], alpha: a === undefined ? 1 : a};
    };
    const luminance = rgb => {
        const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const over = ({rgb, alpha}, under) => rgb.map((c, i) => alpha * c + (1 - alpha) * under[i]);
    const behind = element => {
        if (!element) return [255, 255, 255];
        const colour = rgba(getComputedStyle(element).backgroundColor);
        return colour.alpha === 1 ? colour.rgb : over(colour, behind(element.parentElement));
    };
    const contrast = (colour, page) => {
        const [x, y] = [luminance(over(colour, page)), luminance(page)];
        return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    };
    const crosses = (a, b) =>
        a.width > 0 && b.width > 0 &&
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    const faults = [];
    document.querySelectorAll('.js-plotly-plot').forEach((plot, number) => {
        const say = words => faults.push(`figure ${number}: ${words}`);
        const page = behind(plot);
        const width = plot.querySelector('.main-svg').getBoundingClientRect().width;
        if (width > WIDEST + 1) say(`${width} pixels wide`);
        const lines = [...plot.querySelectorAll('text, text tspan')].filter(
            text => !text.querySelector('tspan') && text.textContent.trim() && text.getBoundingClientRect().width > 0
        );
        for (const text of lines) {
            // Numbers in cells are read on the cell; a test of the library computes that.
            if (text.closest('.textpoint, .hoverlayer')) continue;
            const style = getComputedStyle(text);
            const colour = rgba(style.fill);
            colour.alpha *= Number(style.fillOpacity);
            const ratio = contrast(colour, page);
            if (ratio < TEXT) say(`"${text.textContent}" has a contrast of ${ratio.toFixed(2)}`);
            const size = parseFloat(style.fontSize);
            // Exponents are smaller than the numbers that they belong to.
            const raised = style.fontSize !== getComputedStyle(text.closest('text')).fontSize;
            if (size < 13 && !raised) say(`"${text.textContent}" has ${size} pixels`);
        }
        const bar = plot.querySelector('.modebar');
        const box = bar && bar.getBoundingClientRect();
        for (const title of plot.querySelectorAll('.gtitle, .annotation-text')) {
            if (box && crosses(box, title.getBoundingClientRect())) say(`"${title.textContent}" is under the mode bar`);
        }
        for (const line of plot.querySelectorAll('.scatterlayer .js-line')) {
            const style = getComputedStyle(line);
            const colour = rgba(style.stroke);
            // A guide is meant to be fainter than what it guides.
            if (colour.alpha < 1) continue;
            const ratio = contrast(colour, page);
            if (ratio < LINES) say(`a line of ${style.stroke} has a contrast of ${ratio.toFixed(2)}`);
        }
        const looks = new Map();
        for (const trace of plot._fullData || []) {
            if (trace.type !== 'scatter' || !trace.showlegend || trace.mode === 'text') continue;
            const look = JSON.stringify([trace.legend, trace.line?.color, trace.line?.dash, trace.marker?.color, trace.marker?.symbol]);
            if (looks.has(look)) say(`"${trace.name}" and "${looks.get(look)}" look alike`);
            looks.set(look, trace.name);
        }
        const dashes = (plot._fullData || []).filter(t => t.type === 'scatter' && t.showlegend && (t.mode || '').includes('lines') && t.line);
        if (dashes.length > 1 && new Set(dashes.map(t => t.line.dash + t.line.width)).size === 1) say('series differ in colour only');
    });
    return faults;
})()
"""


def faults(browser):
    """Every fault of the figures in the page that `browser` shows, in words."""
    constants = f"const WIDEST = {WIDEST}, TEXT = {TEXT}, LINES = {LINES};"
    return browser.evaluate(f"(() => {{ {constants} return {FAULTS.strip()}; }})()")
