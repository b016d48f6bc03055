"use strict";
const lab = require("../lab.js");

const answers = [];

lab.paced(async () => {
  const answer = await fetch(lab.url);
  // Kept for later, which never comes; a body that nobody holds is cancelled
  // by the garbage collector some day.
  answers.push(answer);
});
