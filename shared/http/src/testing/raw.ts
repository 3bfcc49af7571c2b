import { connect, type Socket } from "node:net";

/** Opens a connection and sends a text unchanged. */
export function open(url: string, text: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname, () => socket.write(text, "latin1"));
  return socket;
}

/** Sends a text unchanged; resolves to the received text when the server ends the connection, or 300 ms after the last byte. */
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
 * Sends bytes unchanged, and with `leave` ends the sending side; resolves to all received bytes when the server has ended the connection.
 * Rejects if that takes longer than 5 s.
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
    // An error after bytes had arrived: they count.
    socket.on("error", ended);
  });
}
