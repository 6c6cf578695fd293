// What the server says. Change it, save, and ask again.
export const greeting = "hello from Node, version 1";
