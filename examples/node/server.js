// A small HTTP server that can be restarted under load without losing a request.

import http from "node:http";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { greeting } from "./lib/greeting.js";
import { sockets } from "./lib/listen.js";

const pages = {
  "/": () => greeting,
  "/healthz": () => "ok",
  "/pid": () => String(process.pid),
};

let draining = false;

function answer(request, response) {
  const page = pages[request.url.split("?")[0]];
  response.statusCode = page ? 200 : 404;
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.setHeader("Cache-Control", "no-store");
  if (draining) response.setHeader("Connection", "close");
  response.end(`${page ? page() : "there is /, /healthz and /pid"}\n`);
}

const servers = sockets().map((where) => {
  const server = http.createServer(answer);
  server.on("error", (error) => {
    console.error(`hello: ${error.message}`);
    process.exit(1);
  });
  return server.listen(...where, () => {
    const { address, port } = server.address();
    console.log(`hello: listening on http://${address}:${port}`);
  });
});

async function drain() {
  if (draining) return;
  draining = true;
  // Stop accepting. What waits in the queue of a socket that was handed on stays there for the successor.
  // Not http's own close(): it also hangs up on keep-alive clients whose next request is on its way.
  for (const server of servers) net.Server.prototype.close.call(server);
  // They get this long to say something; every answer now closes its connection.
  await sleep(200);
  for (const server of servers) server.closeIdleConnections();
  // The process ends with its last connection, or here.
  await sleep(4000, undefined, { ref: false });
  for (const server of servers) server.closeAllConnections();
}

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, drain);
