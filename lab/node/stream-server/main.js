"use strict";
const http = require("node:http");
const lab = require("../lab.js");

const server = http.createServer((_, answer) => {
  answer.writeHead(200, { "Content-Type": "text/event-stream" });
  const beat = setInterval(() => answer.write("data: still here\n\n"), 10_000);
  answer.on("close", () => clearInterval(beat));
});
server.listen(lab.port);
