import type { Program } from "../harness/program.ts";
import type { LoadRequest } from "../harness/requests.ts";
import type { Stack } from "../harness/stack.ts";

/** Another product that serves the same customers out of the same PostgreSQL. */
export interface Product {
  /** Its name and version. */
  name: string;
  /** The name that its folder, its database and its process have. */
  id: string;
  /** Installs it as far as needed and starts it. Rejects with a sentence where that cannot be done here. */
  start(place: Place): Promise<Peer>;
}

/** What a product is given. */
export interface Place {
  stack: Stack;
  /** A folder for its packages, kept between runs. */
  dir: string;
  /** Of a database of its own, which is empty. */
  databaseUrl: string;
  /** The port of 127.0.0.1 to listen on. */
  port: number;
  /** How many customers it has to have. */
  customers: number;
  log(line: string): void;
}

/** A product that runs. */
export interface Peer extends Program {
  url: string;
  /** One customer with all fields. */
  get(id: string): LoadRequest;
  /** The 20 newest customers with all fields, without their total. */
  list: LoadRequest;
  /** Makes a customer, which is answered with all fields; `fields` are named as our callers name them. */
  create(fields: Readonly<Record<string, unknown>>): LoadRequest;
}
