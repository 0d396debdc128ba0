"use strict";

// Starts a worker that holds one model; ask(method, argument) promises its answer.
function startRemote() {
  const source = document.getElementById("network").textContent;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, result } }) => {
    waiting.get(id)(result);
    waiting.delete(id);
  };
  worker.onerror = () => say("This browser could not run the networks: please try another one.");
  return (method, argument) =>
    new Promise((resolve) => {
      waiting.set(++last, resolve);
      worker.postMessage({ id: last, method, argument });
    });
}

let atWork = 0;

async function whileBusy(work) {
  const main = document.querySelector("main");
  main.setAttribute("aria-busy", String(++atWork > 0));
  try {
    return await work();
  } finally {
    main.setAttribute("aria-busy", String(--atWork > 0));
  }
}

// Wraps a slow function: of the calls that come while it works, only the newest is made.
function newestOnly(work) {
  let next = null;
  let running = null;
  async function run() {
    while (next) {
      const [argument] = next;
      next = null;
      await work(argument);
    }
    running = null;
  }
  return (argument) => {
    next = [argument];
    running ??= whileBusy(run);
    return running;
  };
}

function say(text) {
  document.getElementById("status").textContent = text;
}
