import type { Program } from "../harness/program.ts";
import type { LoadRequest } from "../harness/requests.ts";
import type { Stack } from "../harness/stack.ts";

/** Another product that serves the same customers from the same PostgreSQL. */
export interface Product {
  /** Its name and version. */
  name: string;
  /** Name of its folder, its database and its process. */
  id: string;
  /** Installs it if needed and starts it. Rejects with a sentence if that is not possible here. */
  start(place: Place): Promise<Peer>;
}

/** What a product is given. */
export interface Place {
  stack: Stack;
  /** A folder for its packages, kept between runs. */
  dir: string;
  /** URL of its own, empty database. */
  databaseUrl: string;
  /** The port of 127.0.0.1 to listen on. */
  port: number;
  /** Number of customers that it must have. */
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
  /** Creates a customer and responds with all fields; `fields` have our API's names. */
  create(fields: Readonly<Record<string, unknown>>): LoadRequest;
}
