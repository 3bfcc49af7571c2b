import { connect, createServer, type Socket } from "node:net";

export interface DatabaseSwitch {
  /** The database's URL through the relay. */
  url: string;
  /** Closes all connections and rejects new ones. */
  cut(): void;
  mend(): void;
  close(): void;
}

/** A TCP relay to the database that can be interrupted. */
export async function startDatabaseSwitch(target: string): Promise<DatabaseSwitch> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let away = false;
  const relay = createServer((client) => {
    if (away) {
      client.destroy();
      return;
    }
    const server = connect(Number(port), hostname);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  const url = new URL(target);
  const address = relay.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  url.host = `127.0.0.1:${address.port}`;
  return {
    url: url.href,
    cut() {
      away = true;
      for (const socket of sockets) socket.destroy();
    },
    mend() {
      away = false;
    },
    close: () => relay.close(),
  };
}
