// One job: what it is, how it stands, its minions as they answer, and what can be done about it.

import { ask } from "./api.js";
import { PREFIX, badge, duration, el, moment, say, words } from "./dom.js";
import { LiveStates } from "./live-states.js";
import { MinionGrid } from "./minion-grid.js";
import { returnView } from "./return-view.js";

const OPEN = new Set(["publishing", "in_doubt", "queued", "running"]);
const RETURNED = new Set(["ok", "failed"]);

export async function jobView(session, jid) {
  const url = `/v1/jobs/${jid}`;
  const [head, chips, actions, shown] = ["header", "div", "div", "div"].map((tag) => el(tag));
  chips.className = "chips";
  actions.className = "actions";
  const grid = new MinionGrid((minion) => choose(minion));
  const live = new LiveStates();
  let chosen = null;
  let job = await ask("GET", url);

  function render() {
    head.replaceChildren(...headOf(job));
    actions.replaceChildren(...actionsOf(job, session, { cancel, relaunch }));
    grid.set(Object.fromEntries(Object.entries(job.minions).map(([id, part]) => [id, part.status])));
    renderChips();
  }

  function renderChips() {
    const counts = new Map();
    for (const status of grid.statuses.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    const chip = (status, text) =>
      el("button", { type: "button", class: `chip ${status}`, "aria-pressed": String(grid.filter === status), onclick: () => { grid.choose(status); renderChips(); } }, text);
    chips.replaceChildren(chip("", `all ${grid.statuses.size}`), ...[...counts].sort().map(([status, count]) => chip(status, `${status.replaceAll("_", " ")} ${count}`)));
  }

  async function choose(minion) {
    chosen = minion;
    try {
      const view = await returnView(jid, minion, (id) => (id === chosen ? live.of(id) : null));
      if (chosen === minion) shown.replaceChildren(view);
    } catch (fault) {
      shown.replaceChildren(el("p", { class: "fault", role: "alert" }, fault.message));
    }
  }

  async function cancel() {
    await ask("DELETE", url);
    say("It is being cancelled.");
    await reload();
  }

  async function relaunch() {
    const made = await ask("POST", `${url}/relaunch`, { minions: "failed" }, { "Idempotency-Key": crypto.randomUUID() });
    location.assign(`${PREFIX}/v1/jobs/${made.jid}`);
  }

  async function reload() {
    job = await ask("GET", url);
    render();
  }

  render();
  if (OPEN.has(job.status)) follow(url, { onMinion, onState: (event) => live.add(event), onStatus: reload });

  function onMinion(event) {
    grid.set({ [event.minion]: event.status });
    renderSoon();
    if (RETURNED.has(event.status)) live.forget(event.minion);
    if (event.minion === chosen) choose(chosen);
  }

  let waiting = null;
  function renderSoon() {
    waiting ??= requestAnimationFrame(() => { waiting = null; renderChips(); });
  }

  const files = el("p", { class: "line" }, el("a", { href: `${PREFIX}${url}/log`, download: `${jid}.log` }, "Log"), " ", el("a", { href: `${PREFIX}${url}/junit`, download: `${jid}.xml` }, "JUnit"));
  return el("section", { class: "job" }, head, actions, chips, grid.element, live.element, shown, files);
}

// The browser connects again by itself, and says which event it had last.
function follow(url, { onMinion, onState, onStatus }) {
  const source = new EventSource(`${PREFIX}${url}/events`);
  source.addEventListener("minion", (event) => onMinion(JSON.parse(event.data)));
  source.addEventListener("state", (event) => onState(JSON.parse(event.data)));
  source.addEventListener("status", async (event) => {
    const told = JSON.parse(event.data);
    say(`The job is ${told.status}.`);
    await onStatus();
    if (!OPEN.has(told.status)) source.close();
  });
}

function headOf(job) {
  const end = job.finished ? new Date(job.finished) : new Date();
  const facts = {
    Owner: job.owner,
    Target: `${words(job.tgt)} (${job.tgt_type})`,
    Started: moment(job.since),
    Took: duration((end - new Date(job.since)) / 1000),
    "Exit code": job.exit_code === null ? "not over" : String(job.exit_code),
    Pipeline: job.cause_url && /^https?:/.test(job.cause_url) ? el("a", { href: job.cause_url, rel: "noreferrer" }, job.cause_url) : null,
    "Repeats": job.parent ? el("a", { href: `${PREFIX}/v1/jobs/${job.parent}` }, job.parent) : null,
  };
  const rows = Object.entries(facts).filter(([, value]) => value !== null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  const cause = job.cause ? ` (${job.cause})` : "";
  return [el("h1", {}, words(job.fun), job.dry_run ? " (dry run) " : " ", badge(job.status), cause), el("p", { class: "jid" }, job.jid), el("dl", {}, rows)];
}

function actionsOf(job, session, { cancel, relaunch }) {
  const mine = job.owner === `${session.eauth}:${session.user}`;
  const failed = Object.values(job.minions).some((part) => part.status === "failed");
  const fault = el("p", { class: "fault", role: "alert" });
  const button = (text, act) => el("button", { type: "button", onclick: () => act().catch((problem) => { fault.textContent = problem.message; }) }, text);
  if (!mine) return [];
  if (OPEN.has(job.status)) return [button(job.cancel_asked ? "Cancel again" : "Cancel", cancel), fault];
  return failed ? [button("Run again on the failed", relaunch), fault] : [];
}
