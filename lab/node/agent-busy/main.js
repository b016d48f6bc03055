"use strict";
const http = require("node:http");
const lab = require("../lab.js");

const agent = new http.Agent({ keepAlive: true, maxSockets: 12 });

lab.paced(() => {
  for (let call = 0; call < 6; call++) {
    http.get(lab.url, { agent }, (answer) => answer.resume());
  }
});
