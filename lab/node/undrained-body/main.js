"use strict";
const http = require("node:http");
const lab = require("../lab.js");

const agent = new http.Agent({ keepAlive: true });
const answers = [];

lab.paced(() => {
  http.get(lab.url, { agent }, (answer) => {
    // The status is all it wants. Without resume() the body is never consumed,
    // so the agent never gets its socket back.
    answers.push(answer.statusCode);
  });
});
