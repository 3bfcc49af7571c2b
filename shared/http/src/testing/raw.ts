import { connect, type Socket } from "node:net";

/** Opens a connection and sends text as it stands. */
export function open(url: string, text: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname, () => socket.write(text, "latin1"));
  return socket;
}

/** Sends text as it stands; resolves to what came back when the server ends the connection, or falls silent for 300 ms after answering. */
export function sendRaw(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = open(url, text);
    let received = "";
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => {
      received += data;
      socket.setTimeout(300);
    });
    socket.on("timeout", () => socket.destroy());
    socket.on("close", () => resolve(received));
    socket.on("error", (error: NodeJS.ErrnoException) => (received === "" ? reject(error) : resolve(received)));
  });
}

/**
 * Sends bytes as they stand, and with `leave` that no more will come; resolves to all that came back when the server has ended the
 * connection. Rejects when it does not within 5 s.
 */
export function untilClosed(url: string, bytes: string | Buffer, { leave = false } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true }, () => {
      socket.write(bytes, "latin1");
      if (leave) socket.end();
    });
    let received = "";
    const patience = setTimeout(() => {
      socket.destroy();
      reject(new Error(`the server keeps the connection open; it has sent ${JSON.stringify(received)}`));
    }, 5_000);
    const ended = () => {
      clearTimeout(patience);
      socket.destroy();
      resolve(received);
    };
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => {
      received += data;
    });
    socket.on("end", ended);
    // Closed while bytes were still on their way: what had come before counts.
    socket.on("error", ended);
  });
}
