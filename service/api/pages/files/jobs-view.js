// The jobs of who is logged in, the newest first, with what became of them over time.

import { ask } from "./api.js";
import { PREFIX, badge, duration, el, moment, say, svg, words } from "./dom.js";

const STATUSES = ["queued", "publishing", "running", "succeeded", "partial", "failed", "no_match", "timed_out", "cancelled", "unknown", "in_doubt", "refused"];
const SPANS = { "an hour": 3600, "a day": 86400, "a week": 604800, all: 0 };
const AT_ONCE = 100;
const BARS = 40;
const GROUPS = { succeeded: "good", partial: "good", failed: "bad", timed_out: "bad", no_match: "bad", refused: "bad" };

export async function jobsView() {
  const table = el("tbody");
  const chart = el("figure", { class: "chart" });
  const more = el("button", { type: "button", hidden: true }, "More");
  const status = el("select", { name: "status" }, el("option", { value: "" }, "any"), STATUSES.map((one) => el("option", {}, one)));
  const span = el("select", { name: "span" }, Object.keys(SPANS).map((one) => el("option", { selected: one === "a week" }, one)));
  const fun = el("input", { name: "fun", type: "search", placeholder: "state.apply" });
  const shown = [];
  let next = null;

  async function load(after) {
    const query = new URLSearchParams({ limit: AT_ONCE });
    if (status.value) query.set("status", status.value);
    if (SPANS[span.value]) query.set("since", Math.floor(Date.now() / 1000 - SPANS[span.value]));
    if (after) query.set("after", after);
    const found = await ask("GET", `/v1/jobs?${query}`);
    if (!after) shown.length = 0;
    shown.push(...found.jobs);
    next = found.next;
    render();
  }

  function render() {
    const wanted = shown.filter((job) => words(job.fun).includes(fun.value.trim()));
    table.replaceChildren(...wanted.map(row));
    chart.replaceChildren(...chartOf(wanted));
    more.hidden = next === null;
    say(`${wanted.length} jobs.`);
  }

  for (const one of [status, span]) one.addEventListener("change", () => load());
  fun.addEventListener("input", render);
  more.addEventListener("click", () => load(next));
  await load();
  const filters = el("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, labelled("Status", status), labelled("Since", span), labelled("Function", fun));
  const head = el("tr", {}, ["When", "Status", "Function", "Target", "Minions", "Took"].map((one) => el("th", { scope: "col" }, one)));
  const list = el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Jobs" }, el("table", {}, el("thead", {}, head), table));
  return el("section", {}, el("h1", {}, "Jobs"), filters, chart, list, more);
}

function labelled(text, field) {
  return el("label", {}, text, field);
}

function row(job) {
  const took = job.finished ? duration((new Date(job.finished) - new Date(job.since)) / 1000) : "";
  const link = el("a", { href: `${PREFIX}/v1/jobs/${job.jid}` }, moment(job.since));
  return el("tr", {}, [link, badge(job.status), words(job.fun), words(job.tgt), String(job.expected), took].map((cell) => el("td", {}, cell)));
}

// Bars of equal time, with how many jobs went well, did not, or are neither.
function chartOf(jobs) {
  if (jobs.length < 2) return [];
  const times = jobs.map((job) => new Date(job.since).getTime());
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const bars = Array.from({ length: BARS }, () => ({ good: 0, bad: 0, other: 0 }));
  jobs.forEach((job, index) => {
    const bar = Math.min(BARS - 1, Math.floor(((times[index] - first) / (last - first || 1)) * BARS));
    bars[bar][GROUPS[job.status] ?? "other"] += 1;
  });
  const most = Math.max(...bars.map((bar) => bar.good + bar.bad + bar.other));
  const drawn = bars.flatMap((bar, index) => stacked(bar, index, most));
  const [good, bad] = ["good", "bad"].map((group) => jobs.filter((job) => GROUPS[job.status] === group).length);
  const text = `${jobs.length} jobs: ${good} went well, ${bad} did not, ${jobs.length - good - bad} run, were cancelled or are unknown.`;
  return [svg("svg", { viewBox: `0 0 ${BARS * 10} 60`, preserveAspectRatio: "none", role: "img", "aria-label": text }, ...drawn), el("figcaption", {}, text)];
}

function stacked(bar, index, most) {
  let top = 60;
  return ["good", "other", "bad"].flatMap((group) => {
    const height = (bar[group] / most) * 58;
    top -= height;
    return height ? [svg("rect", { x: index * 10 + 1, y: top, width: 8, height, class: group })] : [];
  });
}
