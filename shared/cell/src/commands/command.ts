import { setTimeout as sleep } from "node:timers/promises";
import {
  type Change,
  type Claim,
  databaseProblem,
  failedExpectation,
  isConnectionLoss,
  isRetryable,
  type StoredResponse,
  type TenantTx,
  violatedConstraint,
  type WriteSession,
} from "@cell/postgres";
import { Problem, unavailable } from "@cell/problem";
import { type AuditDraft, auditEntry } from "../audit/entries.ts";
import type { Endpoint, RequestContext } from "../http/endpoint.ts";
import type { Presenter } from "../schema/resource.ts";
import { settlesWithin } from "../workers/settles-within.ts";
import {
  assertSameRequest,
  type CommandResponse,
  cacheResponse,
  conflictText,
  findHere,
  fingerprintOf,
  type IdempotencyIdentity,
  isRetained,
  keyOf,
  nameOf,
  replay,
} from "./idempotency.ts";
import { shareResponse, withSharedBody } from "./shared-responses.ts";

/** Result of a command's work: changes with their audit entries and the response, or only the response if nothing changes. */
export type Outcome<Row extends object> = {
  status?: 200 | 201 | 202;
  body: Row;
  /** The id of the record in the response, for looking up what became of a request. */
  resourceId?: string;
  /** Error per violated unique constraint or foreign key, by the constraint's name. */
  conflicts?: Readonly<Record<string, () => Promise<Problem>>>;
  /** Runs in this process after the commit. */
  committed?(): void;
} & (
  | { changes: readonly [Change, ...Change[]]; audit: readonly [AuditDraft, ...AuditDraft[]] }
  | { changes: readonly []; audit: readonly [] }
);

export type Work<Row extends object> = (tx: TenantTx) => Promise<Outcome<Row>>;

export interface CommandOptions {
  /** The caller's idempotency key; undefined: none. */
  key: string | undefined;
  /** For a file: the body's digest instead of its JSON. */
  bodyDigest?: string;
  /** Reject a repeated key instead of replaying the response. */
  rejectRepeats: boolean;
  status: 200 | 201 | 202;
  /** Decides whether the caller may see the record at the time of a replay. */
  visibility: Endpoint["visibility"];
  /** The record whose writers are serialized, if the path does not name it. */
  serialKey?: string | undefined;
  /** Throws PAYLOAD_TOO_LARGE if the tenant's storage quota is used up; undefined: no quota. */
  assertRoom?: (() => Promise<void>) | undefined;
}

const waitMs = 2_000;
const maxAttempts = 5;
/**
 * How long a command waits in its record's queue. It is shorter than the gateway's timeout: behind a command that hangs, the others fail
 * instead of piling up.
 */
const queueTimeoutMs = 4_000;
/** Retries after a lost connection begin within this time of the start; later, the caller's own retry would come sooner. */
const retryWithinMs = 2_000;
const tooManyText = "Too many writes to the same record at once; try again";

/** Commands in progress in this process by key: a retry waits for the first request here, without a connection. */
const running = new Map<string, Promise<unknown>>();

/** Lock queue per record: serializes the commands on one record within this process, so that they do not make each other's reads stale. */
const recordQueues = new WeakMap<RequestContext["tenant"], Map<string, Promise<unknown>>>();

async function withRecordQueue<T>(context: RequestContext, options: CommandOptions, work: () => Promise<T>): Promise<T> {
  const { method, path } = context.context.req;
  const record = (context.params as { id?: string } | undefined)?.id ?? options.serialKey ?? (method === "PATCH" ? path : undefined);
  if (record === undefined) return work();
  const ofTenant = recordQueues.get(context.tenant) ?? new Map<string, Promise<unknown>>();
  recordQueues.set(context.tenant, ofTenant);
  const before = ofTenant.get(record);
  const serialKey = before ? runAfter(before, work) : work();
  // A waiter that times out keeps its place, so that later writers do not overtake.
  const ended = Promise.allSettled([before, serialKey]);
  ofTenant.set(record, ended);
  try {
    return await serialKey;
  } finally {
    if (ofTenant.get(record) === ended) ofTenant.delete(record);
  }
}

async function runAfter<T>(before: Promise<unknown>, work: () => Promise<T>): Promise<T> {
  if (!(await settlesWithin(before, queueTimeoutMs))) throw unavailable(tooManyText);
  return work();
}

/**
 * Carries out a write as one transaction with the claim of the request id, the changes, their audit entries and the stored response.
 * A repeated key gets the stored response; after a stale read, a deadlock or a serialization failure the work is retried.
 * Throws IDEMPOTENT_CONFLICT, what `work` throws, and UNAVAILABLE.
 */
export async function command<Row extends object>(
  context: RequestContext,
  response: Presenter<Row>,
  options: CommandOptions,
  work: Work<Row>,
): Promise<CommandResponse<Row>> {
  if (options.key === undefined) {
    validate(context);
    return withRecordQueue(context, options, () => executeWithRetry(context, response, options, undefined, work));
  }
  const key = keyOf(context, options.key);
  const identify = () => ({ key, fingerprint: fingerprintOf(context, options.bodyDigest) });
  const known = findHere(context, key, identify);
  if (known) return replay<Row>(context, options, known.stored, known.written);
  const identity = identify();
  const name = nameOf(context, key);
  const deadlineMs = performance.now() + waitMs;
  const first = running.get(name);
  if (first && !(await settlesWithin(first, waitMs))) throw inProgress();
  for (;;) {
    const attempt = withRecordQueue(context, options, () => executeWithRetry(context, response, options, identity, work));
    running.set(name, attempt);
    try {
      return await attempt;
    } catch (error) {
      // Another request with this key is running, here or in another process: retry until the time is up.
      if (!(error instanceof RequestInProgress)) throw error;
    } finally {
      if (running.get(name) === attempt) running.delete(name);
    }
    if (performance.now() >= deadlineMs) throw inProgress();
    await sleep(50);
  }
}

/** Another request with this key is running. */
class RequestInProgress extends Error {}

/** Thrown by the first read of a work whose response is stored already. */
class AlreadyProcessed extends Error {
  readonly stored: StoredResponse;
  constructor(stored: StoredResponse) {
    super("already processed");
    this.stored = stored;
  }
}

/** Forces body validation, even if the handler never reads the body. */
function validate(context: RequestContext): unknown {
  return context.body;
}

async function executeWithRetry<Row extends object>(
  context: RequestContext,
  response: Presenter<Row>,
  options: CommandOptions,
  identity: IdempotencyIdentity | undefined,
  work: Work<Row>,
): Promise<CommandResponse<Row>> {
  const startedMs = performance.now();
  let lost = false;
  for (let attempt = 1; ; attempt++) {
    try {
      return await executeOnce(context, response, options, identity, work);
    } catch (error) {
      if (error instanceof AlreadyProcessed && identity) {
        if (isRetained(error.stored)) {
          assertSameRequest(error.stored, identity);
          const stored = await withSharedBody(context.tenant, error.stored);
          cacheResponse(context, identity.key, stored);
          return replay<Row>(context, options, stored);
        }
        // Past its retention, but not swept yet.
        await context.tenant.forgetStoredResponse(identity.key);
        continue;
      }
      const again = isRetryable(error) || failedExpectation(error) !== undefined;
      if (again && attempt < maxAttempts) {
        // Random back-off: commands that collided would otherwise collide again.
        if (isRetryable(error)) await sleep(Math.random() * 5 * 2 ** attempt);
        continue;
      }
      if (failedExpectation(error) !== undefined) throw unavailable(tooManyText);
      if (!isConnectionLoss(error)) throw databaseProblem(error);
      // The outcome of the commit is unknown. With a key it is safe to look it up and, if it failed, to retry once.
      if (!identity) throw unavailable("The connection was lost while writing; whether it was carried out is not known", 1, error);
      if (lost || performance.now() - startedMs > retryWithinMs) throw databaseProblem(error);
      lost = true;
    }
  }
}

async function executeOnce<Row extends object>(
  context: RequestContext,
  response: Presenter<Row>,
  options: CommandOptions,
  identity: IdempotencyIdentity | undefined,
  work: Work<Row>,
): Promise<CommandResponse<Row>> {
  const session = context.tenant.writer();
  let failure: unknown;
  try {
    if (identity) session.guard = guard(session, identity.key);
    const outcome = await work(session.tx);
    const { changes, audit } = outcome;
    const status = outcome.status ?? options.status;
    const body = response.pick(outcome.body, context.tenant.tenantId);
    if (changes.length > 0 || options.bodyDigest !== undefined) await options.assertRoom?.();
    const text = JSON.stringify(body);
    const shared = identity && changes.length === 0 ? shareResponse(session.tx, text, context.now) : undefined;
    const claim: Claim | undefined = identity && {
      ...identity,
      status,
      body: shared?.reference ?? text,
      resourceId: outcome.resourceId ?? audit[0]?.resourceId ?? null,
      createdAt: context.now,
    };
    if (!claim && changes.length === 0 && !session.begun) return { status, body, replayed: false };
    const entries = audit.map((draft) => auditEntry(context, draft));
    const result = await session
      .commit(claim, shared ? [shared.change] : changes, entries)
      .catch((error) => refusedByConstraint(error, outcome.conflicts));
    if (result.outcome === "written") {
      if (identity && claim) cacheResponse(context, identity.key, { ...claim, body: text });
      outcome.committed?.();
      return { status, body, replayed: false };
    }
    if (result.outcome === "running") throw new RequestInProgress();
    throw new AlreadyProcessed(result.stored);
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    await session.end(failure);
  }
}

/** Turns the violation of an expected constraint into the caller's error. */
async function refusedByConstraint(error: unknown, conflicts: Outcome<object>["conflicts"] = {}): Promise<never> {
  const constraint = violatedConstraint(error);
  const name = constraint && Object.keys(conflicts).find((known) => constraint.startsWith(known));
  throw (name && (await conflicts[name]?.())) || error;
}

/** For work under a key: checks for a stored response beside the first read, or at the start of the transaction. */
function guard(session: WriteSession, key: Buffer): (begun: boolean) => Promise<void> {
  return async (begun) => {
    if (begun && !(await session.lockKey(key))) throw new RequestInProgress();
    const stored = await session.findStoredResponse(key);
    if (stored) throw new AlreadyProcessed(stored);
  };
}

function inProgress(): Problem {
  return new Problem("IDEMPOTENT_CONFLICT", `${conflictText}: the first request with it still runs`, {
    details: { reason: "IN_PROGRESS" },
    headers: { "retry-after": "1" },
  });
}
