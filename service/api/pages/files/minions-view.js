// The minions whose keys the master has accepted, and when they were heard of.

import { ask } from "./api.js";
import { badge, el, moment, say } from "./dom.js";

export async function minionsView() {
  const table = el("tbody");
  const match = el("input", { name: "match", type: "search", placeholder: "web*" });
  async function load() {
    const found = await ask("GET", `/v1/minions?seen=1&match=${encodeURIComponent(match.value || "*")}`);
    table.replaceChildren(...found.minions.map((id) => row(id, found.seen[id])));
    say(`${found.minions.length} minions.`);
  }
  match.addEventListener("change", load);
  await load();
  const head = el("tr", {}, ["Minion", "Connected", "Last heard of", "Last highstate"].map((one) => el("th", { scope: "col" }, one)));
  const list = el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Minions" }, el("table", { class: "minions" }, el("thead", {}, head), table));
  const filters = el("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Id", match));
  return el("section", {}, el("h1", {}, "Minions"), filters, list);
}

function row(id, seen) {
  const connected = seen.connected === null ? "unknown" : seen.connected ? "yes" : "no";
  const heard = seen.last_seen === null ? "not in the last day, or since the sidecar started" : moment(seen.last_seen);
  const highstate = seen.last_highstate === null ? "none heard of" : badge(seen.last_highstate === "success" ? "ok" : "failed");
  return el("tr", {}, [id, connected, heard, highstate].map((one) => el("td", {}, one)));
}
