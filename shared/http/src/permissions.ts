/** A permission, written `<area>:<action>`. */
export type Permission = `${string}:${string}`;

/** Permissions of the framework, with the same meaning in every cell. Each cell declares further ones. */
export const frameworkPermissions = ["audit:read", "pii:read", "amount:read", "pii:reveal", "pii:match", "tenant:admin"] as const;

/** The permission of the gateway's own calls to a cell; no role and no key has it. */
export const cellAdmin = "cell:admin";

export const permissionPattern = /^[a-z][a-z0-9-]{0,30}:[a-z][a-z0-9-]{0,30}$/;

/** Whether a cell may declare a permission as its own. */
export function isCellPermission(text: string): text is Permission {
  return permissionPattern.test(text) && !text.startsWith("cell:") && !(frameworkPermissions as readonly string[]).includes(text);
}
