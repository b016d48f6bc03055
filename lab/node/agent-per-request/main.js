"use strict";
const http = require("node:http");
const lab = require("../lab.js");

lab.paced(() => {
  const agent = new http.Agent({ keepAlive: true });
  http.get(lab.url, { agent }, (answer) => answer.resume());
});
