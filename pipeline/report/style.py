"""The page's style sheet: light and dark, wide and narrow, print."""

STYLE = """
:root { --bg: #fbfaf8; --card: #ffffff; --ink: #1d2129; --muted: #5d6470; --line: #e2e1dc; --accent: #1f6f8b;
  --bar: #d5dde3; --bar-out: #1f6f8b;
  --series-1: #0063a6; --series-2: #c04a00; --series-3: #00745a; --series-4: #9b2f86; --series-5: #7a6200;
  --series-6: #b3263e; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #14171c; --card: #1c2027; --ink: #e8eaed; --muted: #a2aab5; --line: #323843; --accent: #6cc0dc;
    --bar: #38424e; --bar-out: #4fa8c5;
    --series-1: #64b5f6; --series-2: #ff9d5c; --series-3: #4fd1a5; --series-4: #e39bd4; --series-5: #e3c64f;
  --series-6: #ff8a95; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 10px; overflow-wrap: anywhere; }
h3 { font-size: .95rem; margin: 16px 0 4px; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
nav { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-top: 14px; font-size: .88rem; }
.sub { color: var(--muted); margin: 2px 0 12px; font-size: .88rem; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; margin-top: 18px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  display: flex; flex-direction: column; }
.card b { font-size: 1.55rem; line-height: 1.25; color: var(--accent); font-variant-numeric: tabular-nums; }
.card small { color: var(--muted); overflow-wrap: anywhere; }
figure { margin: 0 0 12px; }
figcaption { font-weight: 600; font-size: .92rem; margin-bottom: 4px; }
.plot svg { display: block; width: 100%; height: auto; font-family: inherit; }
.plot .legend { margin: 0 0 4px; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0 14px;
  font-size: .8rem; line-height: 1.45; }
.plot .legend li { display: flex; align-items: center; overflow-wrap: anywhere; }
.plot .legend svg { width: 24px; height: 10px; margin-right: 6px; flex: none; }
.legend path { fill: none; stroke-width: 2; }
figure .sub { font-size: .8rem; margin: 4px 0 0; }
.narrow { display: none; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; }
.pair .plot.wide { display: none; }
.pair .plot.narrow { display: block; }
.scroll { overflow-x: auto; }
.tall { max-height: 34rem; overflow-y: auto; border-bottom: 1px solid var(--line); }
.tall thead th { position: sticky; top: 0; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: left; white-space: nowrap; font-weight: 600; color: var(--muted); vertical-align: bottom; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th.n, td.n { text-align: right; padding: 6px 0 6px 12px; }
:target { background: color-mix(in srgb, var(--accent) 14%, transparent); }
.heat { width: auto; border-spacing: 2px; border-collapse: separate; }
.heat th, .heat td { border: 0; padding: 5px 8px; text-align: center; }
.heat th[scope=row] { text-align: left; padding-left: 0; font-weight: 500; color: var(--ink); white-space: nowrap; }
.heat thead tr:first-child th { border-bottom: 1px solid var(--line); color: var(--ink); }
.heat tbody td { min-width: 46px; border-radius: 4px;
  background: color-mix(in srgb, var(--series-1) calc(var(--share, 0%) * .55), var(--bg)); }
.heat thead td { background: none; }
.stage { display: grid; grid-template-columns: 250px 1fr; gap: 2px 16px; align-items: center; padding: 5px 0;
  border-bottom: 1px solid var(--line); }
.what { display: flex; flex-direction: column; line-height: 1.3; }
.what span { color: var(--muted); font-size: .82rem; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 18px; }
.bar i { position: absolute; left: 0; top: 0; bottom: 0; background: var(--bar); border-radius: 3px;
  min-width: 2px; }
.bar i.out { top: 4px; bottom: 4px; background: var(--bar-out); }
.stage ul { grid-column: 2; margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap;
  gap: 2px 16px; font-size: .8rem; color: var(--muted); }
.stage li b { font-weight: 600; font-variant-numeric: tabular-nums; }
.key { font-size: .8rem; color: var(--muted); margin: 8px 0 0; }
.key i { display: inline-block; width: 12px; height: 10px; border-radius: 2px; background: var(--bar);
  margin: 0 4px 0 8px; }
.key i:first-child { margin-left: 0; }
.key i.out { background: var(--bar-out); }
.lineage { display: block; max-width: none; height: auto; margin: 0 auto; }
.lineage .edge { fill: none; stroke: var(--muted); stroke-width: 1.3; opacity: .7; }
.lineage rect { fill: var(--bg); stroke: var(--line); stroke-width: 1.4; }
.lineage .data rect { stroke: var(--series-1); }
.lineage .pretrain rect { stroke: var(--series-2); }
.lineage .finetune rect { stroke: var(--series-3); }
.lineage .evaluate rect { stroke: var(--series-4); }
.lineage a:hover rect, .lineage a:focus rect { stroke-width: 2.6; }
.lineage text { fill: var(--ink); font-size: 13px; }
.lineage .name { font-weight: 600; }
.lineage .id { fill: var(--muted); font-size: 10.5px; font-family: ui-monospace, "Liberation Mono", monospace; }
.origins { margin: 0; padding: 0; list-style: none; }
.origins li { padding: 6px 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.origins code { display: block; color: var(--muted); font-size: .8rem; }
@media (max-width: 680px) {
  main { padding: 18px 12px 40px; }
  section { padding: 14px; }
  .pair { grid-template-columns: 1fr; }
  .wide { display: none; }
  .narrow { display: block; }
  .stage { grid-template-columns: 1fr; }
  .stage ul { grid-column: 1; }
}
@media print { section { break-inside: avoid; } .tall { max-height: none; } }
"""
