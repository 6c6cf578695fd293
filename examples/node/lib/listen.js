// Where the listening sockets come from: handed on by whoever started us, or our own.
//
// The convention is systemd's: the sockets are descriptors 3, 4, ..., their number is in LISTEN_FDS, and
// LISTEN_PID names the process they are meant for. Behind `npm start` that process is npm, not this one: start
// the server with `node server.js`.

const FIRST_FD = 3;

// Node calls listen() again on a socket it is given, and would cut its queue down to 511.
const BACKLOG = 4096;

/** One entry per socket: the arguments for `server.listen`. Without any handed on, 127.0.0.1:$PORT (8080). */
export function sockets(env = process.env) {
  const meantForUs = !env.LISTEN_PID || Number(env.LISTEN_PID) === process.pid;
  const count = meantForUs ? Number(env.LISTEN_FDS ?? 0) : 0;
  if (count > 0) {
    return Array.from({ length: count }, (_, i) => [{ fd: FIRST_FD + i }, BACKLOG]);
  }
  return [[Number(env.PORT ?? 8080), "127.0.0.1", BACKLOG]];
}
