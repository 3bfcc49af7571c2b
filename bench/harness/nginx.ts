import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** An nginx with one worker that passes everything on over connections that it keeps. */
export interface Nginx {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

export async function startNginx(program: string, dir: string, port: number, target: string): Promise<Nginx> {
  const home = join(dir, "nginx");
  mkdirSync(home, { recursive: true });
  writeFileSync(
    join(home, "nginx.conf"),
    `daemon off;
worker_processes 1;
pid ${home}/nginx.pid;
error_log ${home}/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${home}/${name};`).join("\n  ")}
  keepalive_requests 1000000;
  upstream cell { server ${new URL(target).host}; keepalive 64; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://cell; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  const child = spawn(program, ["-p", home, "-c", join(home, "nginx.conf"), "-e", join(home, "error.log")], { stdio: "ignore" });
  await listening(child, port);
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    async stop() {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    },
  };
}

async function listening(child: ChildProcess, port: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < 5_000; waitedMs += 20) {
    if (child.exitCode !== null) throw new Error(`nginx ends at once with ${child.exitCode}: is port ${port} taken?`);
    const answer = await fetch(`http://127.0.0.1:${port}/small`).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    await sleep(20);
  }
  throw new Error(`nginx does not answer on port ${port}`);
}
