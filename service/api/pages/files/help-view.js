// What the page shows, for who sees it for the first time.

import { badge, el } from "./dom.js";

const STATUSES = {
  succeeded: "every minion is well; exit code 0",
  partial: "not every one, and the request tolerates it; exit code 0",
  failed: "too many have failed, or are missing; exit code 1 or 3",
  no_match: "the target matched nobody; exit code 2",
  timed_out: "the deadline passed while a minion still ran it; exit code 4",
  cancelled: "it was cancelled, and a minion has stopped it; exit code 5",
  unknown: "nobody can tell; exit code 6",
};

export async function helpView() {
  const rows = Object.entries(STATUSES).flatMap(([status, what]) => [el("dt", {}, badge(status)), el("dd", {}, what)]);
  return el(
    "section",
    { class: "help" },
    el("h1", {}, "What is here"),
    el("p", {}, "Jobs that were started at /v1/jobs, by pipelines or by hand: yours, and with a link those that you may read. Each square is a minion; choose one, with the mouse or the arrow keys, to see what it returned, or its states as they end while it runs, where the job was asked to tell of them."),
    el("dl", {}, rows),
    el("p", {}, "Cancelling asks the minions to end the job. Running again starts a new job on the minions that failed."),
    el("p", {}, "Of minions it is shown what the sidecar has heard since it started, for a day. Whether one is connected is unknown unless the master's presence_events are on."),
  );
}
