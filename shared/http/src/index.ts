export { type Networks, parseNetworks } from "./addresses.ts";
export {
  type AssertionKeys,
  type Caller,
  derivedKeys,
  type Principal,
  parseAssertionKeys,
  signAssertion,
  verifyAssertion,
} from "./assertion.ts";
export { parseJsonBytes, readBytes, readJson, readJsonBytes, readOptionalJsonBytes } from "./body.ts";
export { bearerChallenge, insufficientScope } from "./challenge.ts";
export {
  type BulkheadName,
  type CellDeclaration,
  type CredentialClass,
  closedPolicy,
  declarationPath,
  type ErrorForm,
  parseDeclaration,
  type RateClass,
  type RouteDeclaration,
  type RoutePolicy,
} from "./declaration.ts";
export {
  choice,
  type Environment,
  integer,
  list,
  pem,
  processEnvironment,
  readEnv,
  type Setting,
  type Settings,
  secretOf,
  text,
  toggle,
  url,
  type ValuesOf,
  type Warn,
} from "./env.ts";
export { checkTarget } from "./head.ts";
export { parseJson } from "./json.ts";
export { JsonElements, type JsonElementsOptions } from "./json-elements.ts";
export { createLogger, type Logger } from "./log.ts";
export { Counter, createHttpMetrics, Gauge, type HttpMetrics, Registry } from "./metrics.ts";
export { type MetricsAccess, requireMetricsToken, serveMetrics } from "./metrics-access.ts";
export { Outbound, OutboundError, type OutboundFailure, outboundFailures } from "./outbound.ts";
export { cellAdmin, frameworkPermissions, type Permission, permissionPattern } from "./permissions.ts";
export { configure, startLog } from "./program.ts";
export type { ReaderRate } from "./reader-watch.ts";
export { methodNotAllowed, problemBody, problemResponse, securityHeaders, sendProblem, toProblem } from "./render.ts";
export { newRequestId, readRequestId, requestIdPattern } from "./request-id.ts";
export { type HttpBindings, type ServeOptions, type Server, serve, stopOnSignals } from "./serve.ts";
export { checkMetricsPort, databaseUrl, logLevel, metricsAccessOf, serverSettings } from "./server-settings.ts";
export { StartRefused } from "./start-refused.ts";
export { abortSent, latin1, sendStream, sendWhenReady, sendWhole } from "./stream.ts";
export { isInvisible, nameKey, type StorableText, storable, trimmed, trimTexts } from "./text.ts";
export { version } from "./version.ts";
