import { StartRefused } from "./start-refused.ts";

/** The environment of a process, or a part of it. An empty value counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The environment of this process. */
export const processEnvironment: Environment = process.env;

/** Takes a message for the operator about a setting that is still accepted. */
export type Warn = (message: string) => void;

export type SettingKind = "text" | "integer" | "switch" | "choice" | "url" | "list" | "pem";

/** An environment variable that a program reads. `readEnv` and the list of settings in the documentation both follow from it. */
export interface Setting<T = unknown> {
  /** The variable, such as `DATABASE_URL`. */
  readonly name: string;
  readonly kind: SettingKind;
  /** What the setting decides, in one sentence. */
  readonly meaning: string;
  /** Whether its value must not appear in a message, a log or a document. */
  readonly isSecret: boolean;
  /** Whether the program refuses to start without it. */
  readonly isRequired: boolean;
  /** As it would be written in the environment; undefined: there is none. */
  readonly default: string | undefined;
  /** What applies when the setting is absent and has no default, in a few words. */
  readonly whenUnset: string | undefined;
  /** Of an integer, such as `ms`, `days` or `requests/s`. */
  readonly unit: string | undefined;
  /** Of an integer, both ends included. */
  readonly range: { readonly min: number; readonly max: number } | undefined;
  /** Of a choice: all that it may be. */
  readonly choices: readonly string[] | undefined;
  /** The variable that the setting was read from before; it is read for one more release. */
  readonly formerName: string | undefined;
  /** Reads the text. Throws an Error whose message continues the variable's name: `must be …`. */
  parse(text: string): T;
}

/** The settings of a program, by the names under which the program uses their values. */
export type Settings = Readonly<Record<string, Setting>>;

export type ValuesOf<S extends Settings> = { [Name in keyof S]: S[Name] extends Setting<infer T> ? T : never };

interface Options {
  meaning: string;
  isSecret?: true;
  isRequired?: true;
  whenUnset?: string;
  formerName?: string;
}

interface TextOptions extends Options {
  default?: string;
  /** Throws an Error whose message continues the variable's name: `must be …`. */
  parse?(text: string): unknown;
}

interface IntegerOptions extends Options {
  default?: number;
  unit?: string;
  /** 0 where it is absent. */
  min?: number;
  /** 3,600,000 where it is absent: an hour in milliseconds. */
  max?: number;
}

/** The type of a value that has neither a default nor to be given includes undefined. */
type Given<O, T> = O extends { isRequired: true } | { default: string | number } ? T : T | undefined;
type Parsed<O, T> = O extends { parse(text: string): infer R } ? R : T;

export function text<O extends TextOptions>(name: string, options: O): Setting<Given<O, Parsed<O, string>>> {
  return declare("text", name, options, options.parse ?? String);
}

/** An address. Without a `parse` of its own it must be an absolute URL. */
export function url<O extends TextOptions>(name: string, options: O): Setting<Given<O, Parsed<O, string>>> {
  return declare("url", name, options, options.parse ?? absoluteUrl);
}

/** Texts separated by commas, as an array unless `parse` makes something else of them. */
export function list<O extends TextOptions>(name: string, options: O): Setting<Given<O, Parsed<O, string[]>>> {
  return declare("list", name, options, options.parse ?? splitList);
}

/** Keys in PEM; line breaks may be written `\n`, as a file of settings needs it. */
export function pem<O extends TextOptions>(name: string, options: O): Setting<Given<O, Parsed<O, string>>> {
  const { parse = String } = options;
  return declare("pem", name, options, (value) => parse(value.replaceAll("\\n", "\n")));
}

/** A whole number from `min` to `max`. */
export function integer<O extends IntegerOptions>(name: string, options: O): Setting<Given<O, number>> {
  const { min = 0, max = 3_600_000, unit } = options;
  const parse = (value: string) => {
    if (!/^-?\d{1,12}$/.test(value) || Number(value) < min || Number(value) > max)
      throw new Error(`must be a whole number from ${min} to ${max}, not "${value}"`);
    return Number(value);
  };
  return { ...declare<Given<O, number>>("integer", name, options, parse), unit, range: { min, max } };
}

/** One of a few words. */
export function choice<const T extends string, O extends Options & { default?: NoInfer<T> }>(
  name: string,
  choices: readonly T[],
  options: O,
): Setting<Given<O, T>> {
  const parse = (value: string) => {
    const found = choices.find((one) => one === value);
    if (found === undefined) throw new Error(`must be one of ${choices.join(", ")}, not "${value}"`);
    return found;
  };
  return { ...declare<Given<O, T>>("choice", name, options, parse), choices };
}

/** On or off, written 1 and 0. */
export function toggle(name: string, options: Options & { default: "0" | "1" }): Setting<boolean> {
  const parse = (value: string) => {
    if (value !== "0" && value !== "1") throw new Error(`must be 1 or 0, not "${value}"`);
    return value === "1";
  };
  return { ...declare<boolean>("switch", name, options, parse), choices: ["0", "1"] };
}

/** A `parse` for a secret that travels in a header or a file: at least `length` printable characters without spaces. */
export function secretOf(length: number): (value: string) => string {
  return (value) => {
    if (value.length < length || !/^[\x21-\x7e]+$/.test(value)) throw new Error(`must be ${length} characters or more, without spaces`);
    return value;
  };
}

export interface ReadOptions<S extends Settings> {
  warn?: Warn | undefined;
  /** Compares settings with each other. A value that is missing or wrong by itself is undefined here and already reported. */
  check?(values: Partial<ValuesOf<S>>, report: (name: string, fault: string) => void): void;
}

/**
 * The values of a program's settings. Throws one StartRefused that names every setting that is missing or wrong; a secret's value is not in
 * it.
 */
export function readEnv<S extends Settings>(
  settings: S,
  env: Environment = processEnvironment,
  { warn = () => undefined, check }: ReadOptions<S> = {},
): ValuesOf<S> {
  const faults: string[] = [];
  const report = (name: string, fault: string) => void faults.push(`${name} ${fault}`);
  const values: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(settings)) {
    const name = nameIn(env, setting, warn);
    const given = env[name] || setting.default;
    if (given === undefined) {
      if (setting.isRequired) report(name, "is not set");
      continue;
    }
    try {
      values[key] = setting.parse(given);
    } catch (error) {
      report(name, (error as Error).message);
    }
  }
  const found = values as Partial<ValuesOf<S>>;
  check?.(found, report);
  if (faults.length > 0) throw new StartRefused(faults.join("; "));
  return found as ValuesOf<S>;
}

/** The variable that holds a setting: its former name only where the present one is not set. */
function nameIn(env: Environment, { name, formerName }: Setting, warn: Warn): string {
  if (formerName === undefined || !env[formerName]) return name;
  warn(`${formerName} is now named ${name}; the former name is read for one more release only`);
  return env[name] ? name : formerName;
}

function declare<T>(kind: SettingKind, name: string, options: TextOptions | IntegerOptions, parse: (value: string) => unknown): Setting<T> {
  return {
    name,
    kind,
    meaning: options.meaning,
    isSecret: options.isSecret ?? false,
    isRequired: options.isRequired ?? false,
    default: options.default?.toString(),
    whenUnset: options.whenUnset,
    unit: undefined,
    range: undefined,
    choices: undefined,
    formerName: options.formerName,
    parse: parse as (value: string) => T,
  };
}

function absoluteUrl(value: string): string {
  if (!URL.canParse(value)) throw new Error(`must be an address such as http://host:port, not "${value}"`);
  return value;
}

function splitList(value: string): string[] {
  return value.split(",").map((part) => part.trim());
}
