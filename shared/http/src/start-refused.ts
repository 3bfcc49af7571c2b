/** A program cannot start. The message is for the operator; the process ends with exit code 2 and without a stack trace. */
export class StartRefused extends Error {}
