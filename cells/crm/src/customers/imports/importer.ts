import { type AuditDraft, applyPatch, audited, hiddenFields, id, withoutMasked } from "@cell/cell";
import { nameKey } from "@cell/http";
import { violatedConstraint } from "@cell/postgres";
import { type FieldProblem, Problem, unavailable } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import { v7 as uuidv7 } from "uuid";
import { duplicateInFile, formerValues, problem, rowProblem } from "../../imports/domain.ts";
import type { ImportContext, Importer, ReadRow, Row, RowOutcome, RowProblem } from "../../imports/importer.ts";
import { newCustomer } from "../domain.ts";
import { type Customer, type CustomerPatch, customer, customerPatch } from "../schema.ts";
import * as bulk from "./bulk-write.ts";

const text = (...aliases: string[]) => ({ aliases, form: "text" as const });
const ignored = { aliases: [], form: "text" as const, ignored: true as const };

const columns = {
  customerId: text("客户编号", "客户ID"),
  name: text("客户名称", "名称", "公司名称", "客户"),
  contactName: text("联系人", "联系人姓名"),
  contactPhone: text("联系电话", "电话", "手机", "手机号"),
  contactEmail: text("邮箱", "电子邮箱", "联系邮箱", "电子邮件"),
  industry: text("行业"),
  level: text("级别", "客户级别", "等级"),
  source: text("来源", "客户来源"),
  status: text("状态"),
  ownerId: text("负责人", "负责人ID"),
  address: text("地址"),
  tags: { aliases: ["标签"], form: "list" as const },
  notes: text("备注"),
  customFields: { aliases: ["自定义字段"], form: "json" as const },
  tenantId: ignored,
  createdAt: { ...ignored, aliases: ["创建时间"] },
  updatedAt: { ...ignored, aliases: ["更新时间"] },
  version: ignored,
  _masked: ignored,
  errors: { ...ignored, aliases: ["错误"] },
};

/** The values of a row: a patch, and the id by which it may be matched. */
type CustomerRow = CustomerPatch & { customerId?: string };

const customerIdField = id().optional();
const inRow = (found: FieldProblem) => rowProblem(found, "TOO_LONG");

/** Importer of customers. */
export const customerImport: Importer<CustomerRow, Known, Plan> = {
  type: customer.type,
  path: "/customers",
  columns,
  sensitive: customer.sensitive,
  examples: [
    { name: "某某公司", contactPhone: "13800138000", level: "A" },
    { name: "Example Trading Ltd", contactPhone: "+442079460000", level: "B" },
  ],
  keys: { name: "name", id: "customerId" },

  read(item, options, actor): ReadRow<CustomerRow> {
    const values: Record<string, unknown> = {};
    for (const [field, value] of Object.entries(item)) {
      if (field !== "customerId" && !(Object.hasOwn(columns, field) && "ignored" in columns[field as keyof typeof columns]))
        values[field] = value;
    }
    const problems: RowProblem[] = [];
    const given = customerIdField.safeParse(item.customerId ?? undefined);
    const customerId = given.success ? given.data : null;
    if (customerId === null) problems.push(problem("customerId", "INVALID_FORMAT", "is not an id (UUID)"));
    if (options.matchBy === "customerId" && options.mode === "update" && customerId === undefined) {
      problems.push(problem("customerId", "REQUIRED", "is required"));
    }
    const parsed = customerPatch.safeParse(values, { reportInput: true });
    const needsName = options.mode === "create" || options.matchBy === "name" || customerId === undefined;
    if (needsName && values.name === undefined && options.matchBy !== "customerId")
      problems.push(problem("name", "REQUIRED", "is required"));
    if (!parsed.success) problems.push(...fieldProblems(parsed.error).map(inRow));
    else if (actor.ownOnly && parsed.data.ownerId !== undefined && parsed.data.ownerId !== actor.userId) {
      problems.push(problem("ownerId", "INVALID_FORMAT", "can only be yourself"));
    }
    if (problems.length > 0 || !parsed.success || customerId === null) return { problems };
    const patch = parsed.data as CustomerPatch;
    const data: CustomerRow = customerId === undefined ? patch : { ...patch, customerId };
    return { data, nameKey: data.name === undefined ? null : nameKey(data.name), idKey: data.customerId ?? null };
  },

  async lookUp(tx, rows) {
    const ids = rows.flatMap(({ data }) => data.customerId ?? []);
    const found = await bulk.live(
      tx,
      ids,
      rows.flatMap(({ data }) => (data.name === undefined ? [] : nameKey(data.name))),
    );
    return {
      byId: new Map(found.map((one) => [one.customerId, one])),
      byName: new Map(found.map((one) => [nameKey(one.name), one])),
      touchedBy: new Map(),
    };
  },

  plan(rows, known, context) {
    return rows.map((row) => {
      const planned = planRow(row, known, context);
      if (planned.write?.kind !== "update") return planned;
      const { customerId } = planned.write.after;
      const first = known.touchedBy.get(customerId);
      if (first !== undefined) return failed(row, duplicateInFile("customerId", first));
      known.touchedBy.set(customerId, row.row);
      return planned;
    });
  },

  async write(tx, plans, importId) {
    const writes = (kind: "insert" | "update") => plans.flatMap((planned) => (planned.write?.kind === kind ? planned.write.after : []));
    const inserted = await bulk.insert(tx, writes("insert"), importId);
    const updated = await write(() => bulk.update(tx, writes("update")));
    const missed = plans.filter(
      (planned) => planned.write && !(planned.write.kind === "insert" ? inserted : updated).has(planned.write.after.customerId),
    );
    return new Set(missed.map((planned) => planned.outcome.row));
  },

  ownedBy: bulk.ownedBy,

  async revert(tx, changes, { now }) {
    const current = new Map(
      (
        await bulk.live(
          tx,
          changes.map(({ resourceId }) => resourceId),
          [],
        )
      ).map((found) => [found.customerId, found]),
    );
    const formerNames = changes.flatMap(({ changes: fields }) =>
      fields.filter(({ field, before }) => field === "name" && typeof before === "string"),
    );
    const holders = new Map(
      (
        await bulk.live(
          tx,
          [],
          formerNames.map(({ before }) => nameKey(String(before))),
        )
      ).map((found) => [nameKey(found.name), found.customerId]),
    );
    const stored: { id: string; reason: string }[] = [];
    const removed: Customer[] = [];
    const restored: { before: Customer; after: Customer; named: string[] }[] = [];
    for (const { resourceId, action, resourceVersion, changes: fields } of changes) {
      const record = current.get(resourceId);
      if (!record) stored.push({ id: resourceId, reason: "DELETED_SINCE" });
      else if (record.version !== resourceVersion) stored.push({ id: resourceId, reason: "CHANGED_SINCE" });
      else if (action === "create") removed.push(record);
      else {
        const former = formerValues(customer, fields) as Partial<Customer>;
        const holder = former.name === undefined ? undefined : holders.get(nameKey(former.name));
        if (holder !== undefined && holder !== resourceId) stored.push({ id: resourceId, reason: "DUPLICATE_NAME" });
        else {
          const after = { ...record, ...former, updatedAt: now, version: record.version + 1 };
          restored.push({ before: record, after, named: Object.keys(former).filter((field) => field in customer.sensitive) });
        }
      }
    }
    const gone = await bulk.remove(tx, removed, now);
    const back = await write(() =>
      bulk.update(
        tx,
        restored.map(({ after }) => after),
      ),
    );
    const audit: AuditDraft[] = [];
    for (const record of removed) {
      if (gone.has(record.customerId)) audit.push(audited("delete", customer, record, { ...record, version: record.version + 1 }));
      else stored.push({ id: record.customerId, reason: "CHANGED_SINCE" });
    }
    for (const { before, after, named } of restored) {
      if (back.has(after.customerId)) audit.push(audited("update", customer, before, after, named));
      else stored.push({ id: after.customerId, reason: "CHANGED_SINCE" });
    }
    return { audit, kept: stored };
  },
};

/** The live customers that rows may refer to. */
interface Known {
  byId: ReadonlyMap<string, Customer>;
  byName: ReadonlyMap<string, Customer>;
  /** The row that updated a customer, by customer id. */
  touchedBy: Map<string, number>;
}

/** The outcome planned for a row, and the write that it needs. */
interface Plan {
  outcome: RowOutcome;
  write: { kind: "insert" | "update"; after: Customer } | undefined;
}

function planRow(row: Row<CustomerRow>, { byId, byName }: Known, context: ImportContext): Plan {
  const { options, actor } = context;
  const { customerId, ...values } = row.data;
  const visible = (found: Customer | undefined) => (found && (!actor.ownOnly || found.ownerId === actor.userId) ? found : undefined);
  const same = visible(customerId === undefined ? undefined : byId.get(customerId));
  const holder = values.name === undefined ? undefined : byName.get(nameKey(values.name));
  const named = visible(holder);
  const match =
    options.mode === "create" ? undefined : options.matchBy === "customerId" ? same : options.matchBy === "name" ? named : (same ?? named);
  if (match) return planUpdate(row, match, values, holder, context);
  if (same && options.mode === "create" && unchanged(same, values, context)) return skipped(row);
  if (options.mode === "update") {
    const field = options.matchBy ?? (customerId === undefined ? "name" : "customerId");
    return failed(row, problem(field, "NOT_FOUND", "is not the id of a customer that you may see"));
  }
  if (holder && options.onDuplicate === "skip") return skipped(row);
  if (named && options.onDuplicate === "update") return planUpdate(row, named, values, holder, context);
  if (holder) return failed(row, duplicateName(named));
  return planInsert(row, values, context);
}

function planInsert(row: Row<CustomerRow>, values: CustomerPatch, { actor, now }: ImportContext): Plan {
  const { name } = values;
  if (name === undefined) return failed(row, problem("name", "REQUIRED", "is required"));
  const unmasked = readable(undefined, values);
  if (Array.isArray(unmasked)) return failed(row, ...unmasked);
  const after = newCustomer({ ...unmasked, name }, actor, { customerId: uuidv7(), now });
  return { outcome: { row: row.row, outcome: "created", audit: audited("create", customer, {}, after) }, write: { kind: "insert", after } };
}

function planUpdate(
  row: Row<CustomerRow>,
  current: Customer,
  values: CustomerPatch,
  holder: Customer | undefined,
  { actor, now }: ImportContext,
): Plan {
  const patch = readable(current, values);
  if (Array.isArray(patch)) return failed(row, ...patch);
  const hidden = hiddenFields(customer.sensitive, patch, new Set(actor.readable));
  const after = applyPatch(current, patch, now, hidden);
  if (after === current) return skipped(row);
  if (holder && holder.customerId !== current.customerId && after.name !== current.name)
    return failed(row, duplicateName(!actor.ownOnly || holder.ownerId === actor.userId ? holder : undefined));
  return {
    outcome: { row: row.row, outcome: "updated", audit: audited("update", customer, current, after, hidden) },
    write: { kind: "update", after },
  };
}

/** Whether a row would change nothing in a customer, as far as its importer may know. */
function unchanged(current: Customer, values: CustomerPatch, { actor, now }: ImportContext): boolean {
  const patch = readable(current, values);
  if (Array.isArray(patch) || hiddenFields(customer.sensitive, patch, new Set(actor.readable)).length > 0) return false;
  return applyPatch(current, patch, now) === current;
}

/** The values without masked ones that were sent back, or the problems with these. */
function readable(current: Customer | undefined, values: CustomerPatch): CustomerPatch | RowProblem[] {
  try {
    return withoutMasked(customer.sensitive, current, values);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return ((error.details?.fields ?? []) as FieldProblem[]).map(inRow);
  }
}

function duplicateName(existing: Customer | undefined): RowProblem {
  return problem("name", "DUPLICATE_NAME", "is the name of an existing customer", existing?.customerId ?? null);
}

function skipped({ row }: Row<CustomerRow>): Plan {
  return { outcome: { row, outcome: "skipped" }, write: undefined };
}

function failed({ row }: Row<CustomerRow>, ...problems: RowProblem[]): Plan {
  return { outcome: { row, outcome: "failed", problems }, write: undefined };
}

/** Retries everything if a name was taken between the lookup and the write. */
async function write<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw violatedConstraint(error) ? unavailable("Other requests are writing the same customers; try again", 1, error) : error;
  }
}
