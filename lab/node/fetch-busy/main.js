"use strict";
const lab = require("../lab.js");

const work = async () => {
  const answer = await fetch(lab.url);
  await answer.text();
};

lab.paced(() => {
  for (let call = 0; call < 4; call++) work();
});
