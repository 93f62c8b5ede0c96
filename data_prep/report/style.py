"""The page's style sheet: light and dark, wide and narrow, print. Charts are boxes: their text never shrinks."""

STYLE = """
:root { --bg: #fbfaf8; --card: #ffffff; --ink: #1d2129; --muted: #5d6470; --line: #e2e1dc; --accent: #1f6f8b;
  --bar: #d5dde3; --bar-out: #1f6f8b; --other: #c04a00; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14171c; --card: #1c2027; --ink: #e8eaed; --muted: #a2aab5; --line: #323843; --accent: #6cc0dc;
    --bar: #38424e; --bar-out: #4fa8c5; --other: #ff9d5c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 10px; }
h3 { font-size: .92rem; margin: 0 0 6px; }
.sub { color: var(--muted); margin: 2px 0 12px; font-size: .88rem; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; margin-top: 18px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  display: flex; flex-direction: column; }
.card b { font-size: 1.55rem; line-height: 1.25; color: var(--accent); font-variant-numeric: tabular-nums; }
.card small { color: var(--muted); overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 22px 28px; }
.pair > * { min-width: 0; }
figure { margin: 0; }
figcaption { font-weight: 600; font-size: .92rem; }
.peak { color: var(--muted); font-size: .78rem; border-bottom: 1px solid var(--line); margin-top: 4px;
  font-variant-numeric: tabular-nums; }
.cols { display: flex; align-items: flex-end; gap: 1px; height: 150px; border-bottom: 1px solid var(--muted); }
.cols.dense { gap: 0; }
.cols i { flex: 1 1 0; min-width: 0; background: var(--bar-out); }
.cols i:hover { background: var(--accent); }
.ticks { position: relative; height: 1.35em; font-size: .78rem; color: var(--muted);
  font-variant-numeric: tabular-nums; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.ticks span.first { transform: none; }
.ticks span.last { transform: translateX(-100%); }
.axis { text-align: center; font-size: .78rem; color: var(--muted); }
.rows { display: grid; grid-template-columns: max-content 1fr max-content; gap: 3px 10px; align-items: center;
  font-size: .86rem; font-variant-numeric: tabular-nums; }
.rows > span { overflow-wrap: anywhere; max-width: 13em; }
.rows > span + div { height: 14px; background: none; }
.rows div i { display: block; height: 100%; min-width: 2px; background: var(--bar-out); border-radius: 2px; }
.rows.other div i { background: var(--other); }
.rows small { color: var(--muted); text-align: right; font-size: .8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--muted); vertical-align: bottom; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6em; }
th.n, td.n { text-align: right; padding: 6px 0 6px 12px; }
.stage { display: grid; grid-template-columns: 220px 1fr; gap: 2px 16px; align-items: center; padding: 6px 0;
  border-bottom: 1px solid var(--line); }
.what { display: flex; flex-direction: column; line-height: 1.3; }
.what span { color: var(--muted); font-size: .82rem; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 18px; }
.bar i { position: absolute; left: 0; top: 0; bottom: 0; background: var(--bar); border-radius: 3px; min-width: 2px; }
.bar i.out { top: 4px; bottom: 4px; background: var(--bar-out); }
.stage ul { grid-column: 2; margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap;
  gap: 2px 16px; font-size: .8rem; color: var(--muted); }
.stage li b { font-weight: 600; font-variant-numeric: tabular-nums; }
.key { font-size: .8rem; color: var(--muted); margin: 8px 0 0; }
.key i { display: inline-block; width: 12px; height: 10px; border-radius: 2px; background: var(--bar);
  margin: 0 4px 0 8px; }
.key i:first-child { margin-left: 0; }
.key i.out { background: var(--bar-out); }
.doc { padding: 10px 0; border-bottom: 1px solid var(--line); }
.doc:last-child { border-bottom: 0; }
.doc code { font: .8rem ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.doc small { display: block; color: var(--muted); font-size: .8rem; overflow-wrap: anywhere; }
.doc p { margin: 4px 0 0; font-size: .88rem; overflow-wrap: anywhere; }
details { border-bottom: 1px solid var(--line); padding: 7px 0; }
details > :not(summary) { margin-left: 14px; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { font-weight: 600; }
summary small { color: var(--muted); font-variant-numeric: tabular-nums; }
@media (max-width: 680px) {
  main { padding: 18px 12px 40px; }
  section { padding: 14px; }
  .pair { grid-template-columns: 1fr; }
  .stage { grid-template-columns: 1fr; }
  .stage ul { grid-column: 1; }
  .cards { grid-template-columns: 1fr 1fr; gap: 10px; }
  .card { padding: 10px 12px; }
  .card b { font-size: 1.25rem; }
  table { font-size: .82rem; }
  th.n, td.n { padding-left: 8px; }
}
@media print { section { break-inside: avoid; } }
"""
