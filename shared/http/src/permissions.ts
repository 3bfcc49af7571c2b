/** `<area>:<action>`. The framework has those below; each cell declares its own. */
export type Permission = `${string}:${string}`;

/** The permissions that the cell framework and the gateway check alike in every cell. */
export const frameworkPermissions = ["audit:read", "pii:read", "amount:read", "pii:reveal", "pii:match", "tenant:admin"] as const;

/** Of the gateway's own calls to a cell: no role and no key has it. */
export const cellAdmin = "cell:admin";

/** The form of a permission. */
export const permissionPattern = /^[a-z][a-z0-9-]{0,30}:[a-z][a-z0-9-]{0,30}$/;

/** Whether a cell may declare a permission as its own. */
export function isCellPermission(text: string): text is Permission {
  return permissionPattern.test(text) && !text.startsWith("cell:") && !(frameworkPermissions as readonly string[]).includes(text);
}
