// client PORT COUNT: opens COUNT connections, and keeps them until the end of its
// standard input.

const net = require("node:net");

const [port, count] = process.argv.slice(2).map(Number);
const held = [];

function fetch() {
  const socket = net.connect(port, "127.0.0.1", () => {
    held.push(socket);
    if (held.length === count) console.log("opened");
    else fetch();
  });
}

process.stdin.once("data", fetch);
process.stdin.on("end", () => process.exit());
console.log("ready");
