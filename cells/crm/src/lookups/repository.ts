import { foldedColumn, phoneColumn, type Visibility } from "@cell/cell";
import { type Parameters, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { atCustomerOf } from "../visibility.ts";
import type { LookupMatch } from "./schema.ts";

/** Lookups per user in `windowSeconds`, and matches per lookup. */
export const lookupLimits = { lookups: 30, windowSeconds: 60, matches: 20 } as const;

const { lookups: mostLookups, windowSeconds } = lookupLimits;

interface Sought {
  forms: string[];
  owner: Visibility;
}

/** The live customers and contacts whose phone number or e-mail address has one of these forms, newest customers first. */
function matching(kind: "phone" | "email") {
  const compared = kind === "phone" ? phoneColumn : foldedColumn;
  return statement((p: Parameters<Sought>) =>
    db
      .selectFrom(
        db
          .selectFrom("customers")
          .select([
            sql<LookupMatch["resourceType"]>`'customer'`.as("resourceType"),
            "customerId as resourceId",
            "customerId",
            "name",
            "createdAt",
          ])
          .where("deletedAt", "is", null)
          .where(sql<boolean>`${compared(sql.ref(kind === "phone" ? "contactPhone" : "contactEmail"))} = any(${p.forms}::text[])`)
          .where(sql<boolean>`(${p.owner}::text is null or owner_id = ${p.owner})`)
          .unionAll(
            db
              .selectFrom("contacts")
              .select([
                sql<LookupMatch["resourceType"]>`'contact'`.as("resourceType"),
                "contactId as resourceId",
                "customerId",
                "name",
                "createdAt",
              ])
              .where("deletedAt", "is", null)
              .where(sql<boolean>`${compared(sql.ref(kind))} = any(${p.forms}::text[])`)
              .where(sql<boolean>`(${p.owner}::text is null or ${atCustomerOf("contacts", p.owner)})`),
          )
          .as("match"),
      )
      .select(["resourceType", "resourceId", "customerId", "name"])
      .orderBy("resourceType", "desc")
      .orderBy("createdAt", "desc")
      .orderBy("resourceId")
      .limit(sql.lit(lookupLimits.matches)),
  );
}

const statements = { phone: matching("phone"), email: matching("email") };

const since = sql`now() - ${sql.lit(windowSeconds)} * interval '1 second'`;

/** Number of a user's lookups in the window, and the seconds until the first of them leaves it. */
const recent = statement((p: Parameters<{ userId: string }>) =>
  db.selectNoFrom([
    sql<number>`(select count(*)::int from "$tenant".lookups, unnest(times) as one(at) where user_id = ${p.userId} and at > ${since})`.as(
      "count",
    ),
    sql<number>`(select greatest(1, ceil(extract(epoch from min(at) - (${since}))))::int from "$tenant".lookups, unnest(times) as one(at)
      where user_id = ${p.userId} and at > ${since})`.as("leavesInSeconds"),
  ]),
);

// The row's lock serializes all processes.
const count = statement((p: Parameters<{ userId: string }>) =>
  db
    .insertInto("lookups")
    .columns(["userId", "times"])
    .expression(db.selectNoFrom([sql<string>`${p.userId}::text`.as("userId"), sql<string[]>`array[clock_timestamp()]`.as("times")]))
    .onConflict((conflict) =>
      conflict
        .column("userId")
        .doUpdateSet({ times: sql<string[]>`array(select at from unnest(lookups.times) as one(at) where at > ${since}) || excluded.times` })
        .where(sql<boolean>`(select count(*) from unnest(lookups.times) as one(at) where at > ${since}) < ${sql.lit(mostLookups)}`),
    ),
);

/** The visible records with a phone number or an e-mail address in one of these forms. */
export function find(tenant: TenantDb, kind: "phone" | "email", forms: string[], owner: Visibility): Promise<LookupMatch[]> {
  return tenant.query(statements[kind], { forms, owner });
}

/** Seconds until a user may look something up again; 0: now. */
export async function secondsToWait(tenant: TenantDb, userId: string): Promise<number> {
  const row = await tenant.first(recent, { userId });
  return row && row.count >= mostLookups ? row.leavesInSeconds : 0;
}

/** Counts a lookup of a user; if the limit is reached meanwhile, the command is retried. */
export function countOne(tx: TenantTx, userId: string) {
  return tx.change(count, { userId }, "lookup within the limit");
}
