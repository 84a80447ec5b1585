// The npm package salt-api as a program would use it; takes its configuration as JSON, answers with JSON.
"use strict";

const axios = require("axios");
const { Salt } = require("salt-api");

// The first event of the job that the package starts, as its EventSource hands it over.
function firstReturn(source, started) {
  return new Promise((resolve, reject) => {
    source.onerror = reject;
    source.onopen = () => started().catch(reject);
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (/^salt\/job\/\d+\/ret\//.test(event.tag)) {
        source.close();
        resolve({ tag: event.tag, id: event.data.id });
      }
    };
  });
}

async function main(config) {
  const salt = new Salt(config);
  await salt.login();
  const answers = { token: salt.token, expire: salt.expire };
  answers.ping = await salt.fun("*", "test.ping");
  answers.echo = await salt.fun("minion-1", "demo.echo", { arg: ["x"], kwarg: { y: 1 } });
  answers.list = await salt.fun("minion-1,minion-2", "test.ping", { tgt_type: "list" });
  answers.minions = Object.keys((await salt.minions()).return[0]);
  answers.minion = Object.keys((await salt.minions("minion-2")).return[0]);
  const jobs = (await salt.jobs()).return[0];
  answers.jid = Object.keys(jobs).filter((jid) => jobs[jid].Function === "test.ping").sort().pop();
  answers.job = await salt.jobs(answers.jid);
  answers.event = await firstReturn(await salt.eventSource(), () => salt.fun("minion-1", "test.ping"));
  // The package has no logout; this is the call it would make.
  const headers = { "X-Auth-Token": salt.token };
  answers.logout = (await axios.post(`${config.url}/logout`, {}, { headers })).data;
  answers.after = await salt.fun("*", "test.ping").then(() => 200, (error) => error.response.status);
  return answers;
}

main(JSON.parse(process.argv[2])).then(
  (answers) => console.log(JSON.stringify(answers)),
  (error) => {
    console.error(error.response ? `${error.response.status} ${JSON.stringify(error.response.data)}` : error);
    process.exitCode = 1;
  },
);
