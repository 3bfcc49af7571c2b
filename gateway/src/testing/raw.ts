import { connect, type Socket } from "node:net";

/** Opens a connection and sends text as it stands. */
export function open(url: string, text: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname, () => socket.write(text, "latin1"));
  return socket;
}

/** Sends text as it stands; resolves to what came back when the server ends the connection, or falls silent for 300 ms after answering. */
export function exchange(url: string, text: string): Promise<string> {
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
