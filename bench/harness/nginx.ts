import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Program, startProgram } from "./program.ts";
import type { Stack } from "./stack.ts";

/** An nginx with one worker that forwards everything over kept-alive connections. */
export interface Nginx extends Program {
  url: string;
}

/** In front of the cell that only answers. */
export async function startNginx(program: string, stack: Stack): Promise<Nginx> {
  const { dataDir, ports } = stack.config;
  const home = join(dataDir, "nginx");
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
  upstream cell { server ${new URL(stack.echo).host}; keepalive 64; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${ports.nginx};
    location / { proxy_pass http://cell; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  const url = `http://127.0.0.1:${ports.nginx}`;
  const started = await startProgram({
    name: "nginx",
    program,
    args: ["-p", home, "-c", join(home, "nginx.conf"), "-e", join(home, "error.log")],
    cwd: home,
    url: `${url}/small`,
    logPath: join(home, "output.log"),
    onPid: (pid) => stack.record("nginx", pid),
  });
  return { ...started, url };
}
