"""How our pages look: one style sheet, inline, without anything from outside.

Every state has one colour, and always a word beside it. Contrast is 4.5:1 or more, light and dark. Below
45rem tables become cards.
"""

from __future__ import annotations

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M5 4v8m0-3c4 0 6-1 6-4' fill='none' stroke='%234668c8' stroke-width='2'/%3E"
    "%3Cg fill='%234668c8'%3E%3Ccircle cx='5' cy='3' r='2.2'/%3E%3Ccircle cx='5' cy='13' r='2.2'/%3E"
    "%3Ccircle cx='11' cy='4' r='2.2'/%3E%3C/g%3E%3C/svg%3E"
)

STYLE = """:root {
  color-scheme: light dark;
  --back: #f7f7f5; --card: #fff; --text: #1d1f23; --quiet: #5b6069; --line: #e1e1dc; --edge: #8b8f97;
  --link: #1f57b8; --accent: #2b5fc4; --on-accent: #fff;
  --ready: #0e6537; --ready-back: #e0f3e7;
  --building: #1b4fa8; --building-back: #e3ecfb;
  --deploying: #0b6070; --deploying-back: #dcf1f4;
  --queued: #50545c; --queued-back: #ebebe8;
  --asleep: #5a3ea3; --asleep-back: #ede8fa;
  --failed: #a51d17; --failed-back: #fce7e5;
  --blocked: #764600; --blocked-back: #fbedd3;
  --deleting: #63494b; --deleting-back: #f1e6e6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #141518; --card: #1c1e22; --text: #ebecee; --quiet: #a5a9b2; --line: #30333a; --edge: #767b86;
    --link: #93bbfa; --accent: #93bbfa; --on-accent: #10203c;
    --ready: #7fdba2; --ready-back: #143322;
    --building: #9cc1ff; --building-back: #182c50;
    --deploying: #7fd6e3; --deploying-back: #103239;
    --queued: #c3c6cc; --queued-back: #2d3036;
    --asleep: #c6b3f7; --asleep-back: #2d2450;
    --failed: #ffaaa2; --failed-back: #47191a;
    --blocked: #f2c67c; --blocked-back: #402c0b;
    --deleting: #d9bcbe; --deleting-back: #392b2c;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { font: 100%/1.55 system-ui, -apple-system, "Segoe UI", "Hiragino Sans", "Noto Sans CJK JP",
  "Noto Sans JP", sans-serif; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--text); }
body > .top, main { max-width: 74rem; margin: 0 auto; padding: 0 1.5rem; }
main { padding-top: .5rem; padding-bottom: 4rem; outline: none; }
.top { padding-top: 1.25rem !important; padding-bottom: .5rem !important; font-size: .875rem; }
.top a { color: inherit; text-decoration: none; }
.brand { font-weight: 600; letter-spacing: .01em; color: var(--quiet); }
.brand::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .5em;
  border-radius: 50%; background: var(--accent); }
h1 { font-size: 1.75rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; margin: .25rem 0 .5rem;
  overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 1.0625rem; line-height: 1.3; font-weight: 650; margin: 2.25rem 0 .75rem; }
h3 { font-size: .875rem; font-weight: 600; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; }
ol, ul { margin: 0; padding: 0; list-style: none; }
a { color: var(--link); text-underline-offset: .18em; text-decoration-thickness: from-font;
  overflow-wrap: anywhere; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .9em; }
.quiet { color: var(--quiet); font-size: .875rem; overflow-wrap: anywhere; }
.lead { font-size: 1.0625rem; color: var(--quiet); max-width: 42rem; }
.hidden { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.skip { position: absolute; left: 1rem; top: -4rem; padding: .5rem 1rem; background: var(--card);
  border-radius: 6px; z-index: 2; }
.skip:focus { top: 1rem; }
.lost { display: none; }
.is-lost .lost { display: block; position: sticky; top: 0; z-index: 1; margin: 0; padding: .5rem 1.5rem;
  text-align: center; font-size: .9375rem; background: var(--blocked-back); color: var(--blocked); }
.badge { display: inline-flex; align-items: center; gap: .45em; padding: .1em .7em .1em .6em;
  border-radius: 99px; font-size: .8125rem; font-weight: 600; line-height: 1.6; white-space: nowrap;
  color: var(--tone); background: var(--tone-back); }
.badge::before { content: ""; flex: none; width: .5em; height: .5em; border-radius: 50%;
  background: currentColor; }
.badge.is-building::before, .badge.is-deploying::before { animation: pulse 1.6s ease-in-out infinite; }
.badge.is-queued::before, .badge.is-asleep::before { background: none;
  box-shadow: inset 0 0 0 2px currentColor; }
.badge.is-failed::before, .badge.is-blocked::before { border-radius: 1px; transform: rotate(45deg); }
@keyframes pulse { 50% { opacity: .25; } }
.is-ready { --tone: var(--ready); --tone-back: var(--ready-back); }
.is-building { --tone: var(--building); --tone-back: var(--building-back); }
.is-deploying, .is-waiting { --tone: var(--deploying); --tone-back: var(--deploying-back); }
.is-queued { --tone: var(--queued); --tone-back: var(--queued-back); }
.is-asleep { --tone: var(--asleep); --tone-back: var(--asleep-back); }
.is-failed { --tone: var(--failed); --tone-back: var(--failed-back); }
.is-blocked { --tone: var(--blocked); --tone-back: var(--blocked-back); }
.is-deleting, .is-gone { --tone: var(--deleting); --tone-back: var(--deleting-back); }
.button { display: inline-flex; align-items: center; justify-content: center; min-height: 2.5rem;
  padding: .35rem 1rem; border: 1px solid var(--edge); border-radius: 8px; background: var(--card);
  color: var(--text); font: inherit; font-size: .9375rem; font-weight: 550; text-decoration: none;
  cursor: pointer; }
.button:hover { border-color: var(--text); }
.button.sends { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
.button.sends.for-reset, .button.sends.for-delete { background: var(--failed); border-color: var(--failed);
  color: var(--card); }
.button.for-delete:not(.sends), .button.for-reset:not(.sends) { color: var(--failed); }
.copy { display: none; position: relative; width: 1.75rem; height: 1.75rem; padding: 0; border: 0;
  border-radius: 6px; background: none; color: var(--quiet); cursor: pointer; vertical-align: middle; }
.scripted .copy { display: inline-block; }
.copy::before, .copy::after { content: ""; position: absolute; width: .6rem; height: .7rem;
  border: 1.5px solid currentColor; border-radius: 2px; }
.copy::before { left: .45rem; top: .4rem; }
.copy::after { left: .7rem; top: .62rem; background: var(--card); }
.copy:hover { color: var(--text); }
.copy.is-copied::before { border: 0; }
.copy.is-copied::after { left: .62rem; top: .35rem; width: .45rem; height: .8rem; background: none;
  border: solid var(--ready); border-width: 0 2.5px 2.5px 0; border-radius: 0; transform: rotate(40deg); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.5rem; margin: 0 0 1rem; }
.facts > div { display: contents; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.reasons { margin: 1.25rem 0; padding: 1rem 1.25rem; border-left: 4px solid var(--tone);
  border-radius: 0 8px 8px 0; background: var(--tone-back); }
.reasons h2 { margin: 0 0 .4rem; font-size: .9375rem; color: var(--tone); }
.reasons p:last-child { margin-bottom: 0; }
.reasons .said { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .875rem; }
.said { overflow-wrap: anywhere; white-space: pre-wrap; }
.stages { display: flex; gap: .5rem; margin: 1.25rem 0; }
.stages li { flex: 1 1 0; min-width: 0; padding-top: .7rem; border-top: 4px solid var(--line);
  font-size: .875rem; }
.stages .name, .stages .status { display: block; overflow-wrap: anywhere; }
.stages .name { font-weight: 600; }
.stages .status { color: var(--quiet); }
.stages .is-done { border-color: var(--ready); }
.stages .is-running { border-color: var(--building); }
.stages .is-failed { border-color: var(--failed); }
.stages .is-running .status { color: var(--building); }
.stages .is-failed .status { color: var(--failed); font-weight: 600; }
.expected { color: var(--quiet); }
progress { display: block; width: 100%; max-width: 24rem; height: .5rem; margin-bottom: .5rem; border: 0;
  border-radius: 99px; overflow: hidden; background: var(--line); accent-color: var(--accent); }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--accent); }
progress::-moz-progress-bar { background: var(--accent); }
table { width: 100%; border-collapse: collapse; background: var(--card); border-radius: 10px;
  box-shadow: 0 0 0 1px var(--line); font-size: .9375rem; }
th, td { padding: .6rem .9rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { font-size: .8125rem; font-weight: 600; color: var(--quiet); white-space: nowrap; }
tbody th { font-weight: 550; }
tbody tr { border-top: 1px solid var(--line); }
tbody tr:hover { background: color-mix(in srgb, var(--accent) 5%, transparent); }
.condition { color: var(--tone); font-weight: 600; font-size: .875rem; white-space: nowrap; }
.heading { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1.25rem; margin-bottom: .5rem; }
.heading p { margin: 0; color: var(--quiet); }
.filter { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; margin: .75rem 0 1.25rem; }
.field { display: flex; flex-direction: column; gap: .2rem; flex: 0 1 11rem; min-width: 8rem; }
.field.for-q { flex: 1 1 15rem; }
.field label { font-size: .8125rem; font-weight: 600; color: var(--quiet); }
input, select { width: 100%; min-height: 2.5rem; padding: .35rem .7rem; border: 1px solid var(--edge);
  border-radius: 8px; background: var(--card); color: var(--text); font: inherit; font-size: 1rem; }
.scripted #send { display: none; }
[aria-busy="true"] [data-part="results"] { opacity: .55; }
.of-list td:nth-of-type(1) { white-space: nowrap; }
.of-list .copy { margin: -.15rem 0 -.15rem .1rem; }
.pair + a, .of-list td a + a { margin-left: .35rem; }
.of-list td:nth-of-type(2) { min-width: 9rem; }
.of-list td > .quiet { display: block; }
.pair, time, td code, th code { white-space: nowrap; }
.empty { margin: 1.5rem 0; padding: 2.5rem 2rem; background: var(--card); border-radius: 10px;
  box-shadow: 0 0 0 1px var(--line); }
.empty pre { overflow-x: auto; margin: 0 0 1rem; }
.empty .lead { color: var(--text); font-weight: 600; margin-bottom: .25rem; }
.pages { margin-top: 1.25rem; display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; }
.pages p { margin: 0; }
.of-curtain main, .of-curtain > .top, .of-error main, .of-error > .top, .of-problem main, .of-problem > .top,
.of-confirm main, .of-confirm > .top { max-width: 46rem; }
.of-curtain main { padding-top: 6vh; }
.of-curtain h1 { font-size: 2rem; }
.of-curtain [data-part="state"] > p:first-child { margin-bottom: .6rem; }
.of-curtain .facts { padding-top: 1.25rem; margin-top: 1.75rem; border-top: 1px solid var(--line); }
.of-detail main, .of-gone main, .of-detail > .top, .of-gone > .top { max-width: 64rem; }
.back { font-size: .9375rem; margin-bottom: .75rem; }
.state { margin-bottom: 1rem; }
.urls li { display: flex; flex-wrap: wrap; align-items: center; column-gap: .6rem; }
.urls .role { min-width: 4rem; color: var(--quiet); }
.wishes, .confirm { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.25rem 0; }
.notice { padding: .7rem 1rem; border-radius: 8px; background: var(--ready-back); color: var(--ready); }
.history > li { padding: .15rem 0 .9rem 1.1rem; border-left: 2px solid var(--line); position: relative; }
.history > li::before { content: ""; position: absolute; left: -.36rem; top: .6rem; width: .6rem;
  height: .6rem; border-radius: 50%; background: var(--tone, var(--edge));
  box-shadow: 0 0 0 3px var(--back); }
.history p { margin: 0; }
.history .said { color: var(--quiet); font-size: .875rem; }
.history details > ul { margin: .3rem 0 0 1rem; list-style: disc; }
summary { cursor: pointer; color: var(--link); font-size: .875rem; width: fit-content; }
.line { margin-bottom: 1rem; }
.command { display: flex; align-items: flex-start; gap: .25rem; background: var(--card); border-radius: 8px;
  box-shadow: 0 0 0 1px var(--line); padding: .5rem .5rem .5rem .8rem; }
.command code { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.columns { columns: 3 16rem; column-gap: 2rem; }
.columns li { break-inside: avoid; padding: .15rem 0; }
@media (max-width: 45rem) {
  body > .top, main { padding-left: 1rem; padding-right: 1rem; }
  h1 { font-size: 1.5rem; }
  .of-curtain h1 { font-size: 1.625rem; }
  .of-curtain main { padding-top: 2vh; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .6rem; }
  .field, .field.for-q { flex: 1 1 8rem; }
  .field.for-q { flex-basis: 100%; }
  .stages { flex-direction: column; gap: 0; }
  .stages li { padding: .4rem 0 .4rem .9rem; border-top: 0; border-left: 4px solid var(--line); display: flex;
    flex-wrap: wrap; gap: 0 .8rem; }
  .stages .is-done { border-color: var(--ready); }
  .stages .is-running { border-color: var(--building); }
  .stages .is-failed { border-color: var(--failed); }
  table, tbody, tr, th, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table { background: none; box-shadow: none; }
  tbody tr { background: var(--card); border: 0; border-radius: 10px; box-shadow: 0 0 0 1px var(--line);
    padding: .8rem 1rem; margin-bottom: .75rem; }
  th, td { padding: .15rem 0; }
  td:empty { display: none; }
  .of-list td:nth-of-type(2) { min-width: 0; }
  .of-detail time { white-space: normal; }
  .of-list td > .quiet { display: inline; }
  .of-list .badge + .quiet { margin-left: .5rem; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--quiet); font-size: .875rem; }
  .copy { width: 2.5rem; height: 2.5rem; margin: 0; }
  .copy::before { left: .8rem; top: .75rem; }
  .copy::after { left: 1.05rem; top: .97rem; }
  .button { min-height: 2.75rem; }
  .pages { flex-direction: column; align-items: flex-start; }
}
@media (prefers-reduced-motion: reduce) { *, *::before, *::after { animation: none !important; } }
@media print { .filter, .wishes, .copy, .skip { display: none !important; } }"""
