import { randomBytes } from "node:crypto";
import { Client, type DatabaseError } from "pg";

/** The superuser's name in data directories of earlier versions. */
const earlierName = "crm";
/** A session cannot rename its own role, so this superuser does. */
const helper = "cell_crm_rename";

/**
 * Connects as the superuser of an embedded server. In a data directory where that role still has the earlier name, which is now the cell's
 * role, it is renamed first; its password stays.
 */
export async function connectSuperuser(url: string): Promise<Client> {
  try {
    return await connect(url);
  } catch (error) {
    // PostgreSQL does not tell an unknown role from a wrong password.
    if ((error as DatabaseError).code !== "28P01") throw error;
    await rename(url);
    return await connect(url);
  }
}

async function rename(url: string): Promise<void> {
  const password = randomBytes(24).toString("base64url");
  const earlier = await connect(withUser(url, earlierName));
  try {
    await earlier.query(`drop role if exists ${helper}`);
    await earlier.query(`create role ${helper} superuser login password '${password}'`);
  } finally {
    await earlier.end();
  }
  const client = await connect(withUser(url, helper, password));
  try {
    await client.query(`alter role ${earlierName} rename to "${new URL(url).username}"`);
  } finally {
    await client.end();
  }
  const superuser = await connect(url);
  try {
    await superuser.query(`drop role ${helper}`);
  } finally {
    await superuser.end();
  }
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}

function withUser(url: string, username: string, password?: string): string {
  return Object.assign(new URL(url), password === undefined ? { username } : { username, password }).href;
}
