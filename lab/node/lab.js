// Tells a program of the lab where its other end is, how much traffic to make,
// and when to stop.
"use strict";

exports.host = process.env.LAB_HOST;
exports.port = Number(process.env.LAB_PORT);
exports.rate = Number(process.env.LAB_RATE);
exports.url = `http://${exports.host}:${exports.port}/`;

setTimeout(() => process.exit(0), Number(process.env.LAB_SECONDS) * 1000);

// Does something so often a second.
exports.paced = (todo) => setInterval(todo, 1000 / exports.rate);
