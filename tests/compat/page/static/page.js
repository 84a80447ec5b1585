// What browser clients do, as SaltGUI does it: run(api, credentials) returns what happened, step by step.
// api is "" for the page's own origin, else the origin of the sidecar.

const EVENT_MILLISECONDS = 20000;
const JSON_ACCEPTED = { Accept: "application/json", "Cache-Control": "no-cache" };

function show(results, name, value) {
  results[name] = value;
  const row = document.getElementById("results").insertRow();
  row.insertCell().textContent = name;
  row.insertCell().textContent = JSON.stringify(value).slice(0, 100);
}

// No Content-Type of ours: the browser says text/plain;charset=UTF-8.
function post(api, path, body, headers = {}) {
  return fetch(api + path, { method: "POST", credentials: "include", headers: { ...JSON_ACCEPTED, ...headers }, body: JSON.stringify(body) });
}

function eventOf(api, start) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`${api}/events`, { withCredentials: true });
    const end = (settle, value) => { source.close(); settle(value); };
    setTimeout(() => end(reject, new Error("no event")), EVENT_MILLISECONDS);
    source.onerror = () => end(reject, new Error("the stream broke"));
    source.onopen = () => start().catch((error) => end(reject, error));
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (/^salt\/job\/\d+\/ret\/minion-1$/.test(event.tag)) end(resolve, event.data.return);
    };
  });
}

async function run(api, credentials) {
  const results = {};
  const login = await post(api, "/login", credentials);
  const session = (await login.json()).return[0];
  show(results, "login", { status: login.status, user: session.user, header: login.headers.get("X-Auth-Token") === session.token });
  show(results, "cookie seen by scripts", document.cookie);
  const low = { client: "local", tgt: "*", fun: "test.ping" };
  const called = await post(api, "/", low, { "X-Auth-Token": session.token });
  show(results, "call", (await called.json()).return[0]);
  const byCookie = await post(api, "/", [low]);
  show(results, "call by cookie", byCookie.status);
  const typed = await post(api, "/", [low], { "Content-Type": "application/json", "X-Auth-Token": session.token });
  show(results, "call that needs a preflight", typed.status);
  show(results, "event", await eventOf(api, () => post(api, "/", { ...low, client: "local_async" }, { "X-Auth-Token": session.token })));
  const absent = await fetch(`${api}/static/salt-motd.txt`, { headers: { Accept: "text/plain" } });
  show(results, "absent file", absent.status);
  show(results, "stylesheet", getComputedStyle(document.body).backgroundColor);
  const logout = await post(api, "/logout", {}, { "X-Auth-Token": session.token });
  show(results, "logout", (await logout.json()).return);
  const after = await post(api, "/", low, { "X-Auth-Token": session.token });
  show(results, "call after logout", after.status);
  return results;
}

window.run = (api, credentials) => run(api, credentials).catch((error) => ({ error: `${error.name}: ${error.message}` }));

// SaltGUI asks for the figures again and again, and shows its login page when they are refused. [milliseconds since the start, status] of each answer.
window.polls = [];
window.poll = async (api, token, pause) => {
  const answer = await fetch(`${api}/stats`, { headers: { ...JSON_ACCEPTED, "X-Auth-Token": token } }).catch(() => ({ status: 0 }));
  window.polls.push([performance.now(), answer.status]);
  setTimeout(window.poll, pause, api, token, pause);
};
