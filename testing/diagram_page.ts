/**
 * The style and the script of a diagram. Nothing is loaded from anywhere.
 *
 * @module
 */

/** Blue, orange and red differ in brightness, too, for colour-blind readers. */
const COLOURS = `--ground: #ffffff; --text: #3d444d; --faint: #818b98;
  --grid: #eef1f4; --line: #b1bac4; --data: #2f6fb3; --late: #b35c00;
  --bad: #cf222e; --open: #1a7f37; --fault: #9a6700; --down: #f3b8b8;
  --cut: #f0a63a; --paused: #c3b1e8; --name: #1f2328`;
const DARK = `--ground: #0d1117; --text: #c9d1d9; --faint: #7d8590;
  --grid: #1a2028; --line: #444c56; --data: #6cb0f5; --late: #f0883e;
  --bad: #ff7b72; --open: #56d364; --fault: #e3b341; --down: #6e2c30;
  --cut: #b8781a; --paused: #5b4a8a; --name: #f0f6fc`;

/** The styles of the page, and of the drawing, which can stand alone. */
export const STYLE = {
  page: `
:root { color-scheme: light dark; ${COLOURS} }
@media (prefers-color-scheme: dark) { :root { ${DARK} } }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 13px system-ui, sans-serif }
header { position: sticky; top: 0; left: 0; z-index: 1; display: flex;
  flex-wrap: wrap; gap: 6px 18px; align-items: center; padding: 8px 16px;
  background: var(--ground); border-bottom: 1px solid var(--line) }
h1 { font-size: 15px; margin: 0; color: var(--name) }
#hint { color: var(--faint) }
#zoom { vertical-align: middle; width: 110px }
main { padding: 0 8px 24px }
svg.no-packets .arrow, svg.no-events .note.event, svg.no-faults .note.fault
  { display: none }
svg .hidden { display: none }
svg.found .arrow:not(.hit), svg.found .note:not(.hit) { opacity: 0.12 }
`,
  drawing: `
svg { ${COLOURS}; font: 11px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { svg { ${DARK} } }
.ground { fill: var(--ground) }
.grid { stroke: var(--grid) }
.time { fill: var(--faint); text-anchor: end; font-variant-numeric: tabular-nums }
.lane { stroke: var(--line); stroke-width: 1.5 }
.name { cursor: pointer }
.name rect { fill: var(--grid); stroke: var(--line) }
.name text { fill: var(--name); font-size: 14px; font-weight: 600 }
.name.off { opacity: 0.4 }
.hatch { fill: var(--bad) }
.down { fill: var(--down) } .paused { fill: var(--paused) }
.cut { fill: var(--cut) }
.arrow path { fill: none; stroke: var(--data); stroke-width: 1.3 }
.arrow polygon { fill: var(--data) }
.arrow .touch { stroke: transparent; stroke-width: 9 }
.arrow:hover path:not(.touch) { stroke-width: 3 }
.arrow.late path { stroke: var(--late); stroke-dasharray: 7 3 }
.arrow.late polygon { fill: var(--late) }
.arrow.lost path, .arrow.reset path { stroke: var(--bad) }
.arrow.lost .cross, .arrow.reset path { stroke-width: 2.2 }
.arrow.reset polygon { fill: var(--bad) }
.arrow.end path { stroke: var(--faint) } .arrow.end polygon { fill: var(--faint) }
.arrow.open path { stroke: var(--open); stroke-dasharray: 2 3 }
.arrow.open polygon { fill: var(--open) }
.arrow .touch, .arrow.late .touch, .arrow.lost .touch, .arrow.reset .touch,
.arrow.end .touch, .arrow.open .touch { stroke: transparent; stroke-width: 9;
  stroke-dasharray: none }
.label, .note text { paint-order: stroke; stroke: var(--ground);
  stroke-width: 4px; stroke-linejoin: round; fill: var(--text) }
.label { text-anchor: end; font-size: 10px; fill: var(--faint) }
.note circle { fill: var(--faint); stroke: var(--ground) }
.note.fault circle { fill: var(--fault) } .note.fault text { fill: var(--fault) }
.note.error circle { fill: var(--bad) }
.note.error text { fill: var(--bad); font-weight: 600 }
.note.scenario path { stroke: var(--line); stroke-dasharray: 3 3 }
.note.scenario text { text-anchor: end; font-style: italic }
`,
};

/** Filters, finds and zooms in what is drawn. */
export const SCRIPT = `
const svg = document.querySelector("svg");
const byId = (id) => document.getElementById(id);
const hidden = new Set();
for (const id of ["packets", "events", "faults"]) {
  byId(id).onchange = ({ target }) =>
    svg.classList.toggle("no-" + id, !target.checked);
}
for (const name of document.querySelectorAll(".name")) {
  name.onclick = () => {
    const { lane } = name.dataset;
    if (!hidden.delete(lane)) hidden.add(lane);
    name.classList.toggle("off", hidden.has(lane));
    for (const item of svg.querySelectorAll(".arrow, .note, .band, .lane")) {
      const isOff = [...hidden].some((lane) => item.classList.contains("h" + lane));
      item.classList.toggle("hidden", isOff);
    }
  };
}
byId("find").oninput = ({ target }) => {
  const wanted = target.value.toLowerCase();
  svg.classList.toggle("found", wanted !== "");
  for (const item of svg.querySelectorAll(".arrow, .note")) {
    const text = item.querySelector("title").textContent.toLowerCase();
    item.classList.toggle("hit", text.includes(wanted));
  }
};
const [width, height] = ["width", "height"].map((side) => svg.getAttribute(side));
byId("zoom").oninput = ({ target }) => {
  svg.setAttribute("width", width * target.value / 100);
  svg.setAttribute("height", height * target.value / 100);
};
// The names stay in sight.
addEventListener("scroll", () => {
  const { top } = svg.getBoundingClientRect();
  const head = document.querySelector("header").offsetHeight;
  const scale = byId("zoom").value / 100;
  const y = Math.max(0, (head - top) / scale);
  byId("names").setAttribute("transform", "translate(0 " + y + ")");
});
`;
