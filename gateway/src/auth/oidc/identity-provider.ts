import type { Logger } from "@cell/http";
import { unavailable } from "@cell/problem";
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWSHeaderParameters, type LocalJWKSet } from "jose";
import type { GatewayMetrics } from "../../metrics.ts";
import type { OidcConfig } from "./config.ts";
import { fetchJson, isFetchable } from "./fetch-json.ts";
import { formsOf } from "./issuer.ts";

/**
 * `fresh`: the last read of the issuer's keys succeeded; `kept`: it failed, and earlier keys are in use; `missing`: no keys were ever read.
 */
export type KeyState = "fresh" | "kept" | "missing";

interface KeySet {
  find: LocalJWKSet;
  text: string;
}

/** Without any keys every token waits for them: they are read more often. */
const firstRetryMs = 1_000;

/** The keys of an OIDC issuer: found by discovery, refreshed in the background, and kept while the issuer is not reachable. */
export class IdentityProvider {
  readonly #config: OidcConfig;
  readonly #metrics: GatewayMetrics;
  readonly #log: Logger;
  #keys: KeySet | undefined;
  #isFresh = false;
  #loading: Promise<void> | undefined;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(config: OidcConfig, metrics: GatewayMetrics, log: Logger) {
    this.#config = config;
    this.#metrics = metrics;
    this.#log = log;
  }

  get state(): KeyState {
    if (this.#keys === undefined) return "missing";
    return this.#isFresh ? "fresh" : "kept";
  }

  /** Begins to read the keys periodically. Does not wait for them: API keys need none. */
  start(): void {
    void this.#load();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** The key in a token's header. Rejects with jose's error for an unknown key, and with UNAVAILABLE before any were read. */
  async key(header: JWSHeaderParameters) {
    if (this.#keys === undefined) await this.#loading;
    const known = this.#keys;
    if (known === undefined) throw unavailable("The identity provider cannot be reached, and its keys are not known yet; try again");
    try {
      return await known.find(header);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#refetchKeys();
      if (this.#keys === known || this.#keys === undefined) throw error;
      return this.#keys.find(header);
    }
  }

  /** An unknown key may be a new one; the cooldown keeps invented key ids from causing a request each. */
  async #refetchKeys(): Promise<void> {
    if (this.#loading === undefined && performance.now() - this.#triedAtMs < this.#config.keysCooldownMs) return;
    await this.#load();
  }

  /** Reads the keys, never concurrently. Never rejects: earlier keys stay. */
  #load(): Promise<void> {
    this.#loading ??= this.#read()
      .then(
        () => {
          this.#isFresh = true;
          this.#metrics.keysReadAt.setToCurrentTime();
        },
        (error) => {
          this.#isFresh = false;
          this.#log.warn({ err: error, issuer: this.#config.issuer, keys: this.state }, "the identity provider's keys cannot be read");
        },
      )
      .finally(() => {
        this.#loading = undefined;
        this.#triedAtMs = performance.now();
        this.#schedule();
      });
    return this.#loading;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const { keysRefreshMs, keysCooldownMs } = this.#config;
    const delayMs = { fresh: keysRefreshMs, kept: Math.min(keysCooldownMs, keysRefreshMs), missing: firstRetryMs }[this.state];
    this.#timer = setTimeout(() => this.#load(), delayMs).unref();
  }

  async #read(): Promise<void> {
    const { issuer, timeoutMs, allowLoopback } = this.#config;
    const signal = AbortSignal.timeout(timeoutMs);
    const forms = formsOf(issuer);
    const discovered = await fetchJson(`${forms[0]}/.well-known/openid-configuration`, signal);
    if (!forms.includes(String(discovered.issuer))) throw new Error(`the discovery document belongs to another issuer than ${issuer}`);
    const { jwks_uri: url } = discovered;
    if (typeof url !== "string" || !isFetchable(url, allowLoopback)) throw new Error("jwks_uri is not an https address");
    const keys = (await fetchJson(url, signal)) as Record<string, unknown> & JSONWebKeySet;
    const text = JSON.stringify(keys);
    // The same set keeps the imported keys.
    if (text === this.#keys?.text) return;
    const find = createLocalJWKSet(keys);
    if (keys.keys.length === 0) throw new Error("the set of keys is empty");
    this.#keys = { find, text };
    this.#log.info({ issuer, keyIds: keys.keys.map(({ kid }) => kid) }, "the identity provider's keys have been read");
  }
}
