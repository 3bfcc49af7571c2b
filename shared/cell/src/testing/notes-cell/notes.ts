import { type Parameters, selectionOf, statement, type TenantMigration, tenantTables } from "@cell/postgres";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import {
  audited,
  auditLogRoutes,
  type Cell,
  type CellDefinition,
  type ColumnTypes,
  cellSettings,
  defineSettings,
  endpoint,
  exportRoutes,
  frameworkMigrations,
  ListRunner,
  listOf,
  listQuery,
  listResponse,
  recordColumns,
  resource,
  schemaMigrations,
  settingsRoutes,
  text,
} from "../../index.ts";

const body = text(1000).meta({ description: "What was written down", examples: ["Call back on Monday"] });
const shape = {
  noteId: z.uuid(),
  tenantId: z.string(),
  ownerId: z.string().meta({ examples: ["user-001"] }),
  body,
  createdAt: z.iso.datetime(),
  version: z.int(),
};
type Note = Omit<z.infer<z.ZodObject<typeof shape>>, "tenantId">;
const note = resource("note", z.object(shape).meta({ id: "Note" }), { id: "noteId", label: "body" });

const columns = recordColumns<Note>()({
  noteId: { type: "uuid", filter: true, fixed: true },
  ownerId: { type: "text", filter: true, fixed: true },
  body: { type: "text", filter: true, sort: true },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  version: { type: "integer" },
});
const db = tenantTables<{ notes: ColumnTypes<typeof columns> }>();
const insert = statement((p: Parameters<Note>) =>
  db
    .insertInto("notes")
    .columns(columns.all)
    .expression(db.selectNoFrom(selectionOf(p, columns.all))),
);
const lists = new ListRunner<Note>({
  resource: note,
  select: () => db.selectFrom("notes").select(columns.all).$castTo<Note>(),
  fields: columns.fields,
  id: "noteId",
  defaultSort: "-createdAt",
  owner: "ownerId",
});

const notesMigration: TenantMigration = {
  name: "notes",
  sql: [
    `create table "$tenant".notes (note_id uuid primary key, owner_id text not null, body text not null, created_at timestamptz not null, version int not null)`,
    `grant select, insert on "$tenant".notes to "$login"`,
  ],
};

const common = { path: "/notes", tag: "Notes" } as const;
const listNotes = endpoint({
  ...common,
  method: "get",
  permission: "note:read",
  summary: "List notes",
  query: listQuery,
  status: 200,
  response: listOf(note, listResponse(note)),
});
const createNote = endpoint({
  ...common,
  method: "post",
  permission: "note:write",
  summary: "Create a note",
  body: z.strictObject({ body }).meta({ id: "NoteInput" }),
  status: 201,
  response: note,
  visibility: "everyone",
});

function noteRoutes(cell: Cell): void {
  cell.list(listNotes, lists);
  cell.command(createNote, async ({ body: given, caller, now }, tx) => {
    const created = { ...given, noteId: uuidv7(), ownerId: caller.userId, createdAt: now, version: 1 };
    return { changes: [tx.change(insert, created, "note inserted")], audit: [audited("create", note, {}, created)], body: created };
  });
}

const settings = defineSettings({ permission: "note:read", fields: {}, defaults: {}, example: { timezone: "Asia/Shanghai" } });

/** A cell of one resource: all else comes from the framework. */
export const notes: CellDefinition = {
  name: "notes",
  title: "Notes",
  description: "Notes of many tenants.",
  permissions: ["note:read", "note:write"],
  roles: { admin: ["note:read", "note:write"] },
  tags: ["Notes", "Exports", "Audit", "Settings", "Operations"].map((name) => ({ name, description: `${name} of this cell.` })),
  settings: cellSettings({ port: 8002 }),
  schemaMigrations: schemaMigrations("notes"),
  tenantMigrations: [...frameworkMigrations, notesMigration],
  slices: [exportRoutes({ path: "/notes", permission: "note:read", lists }), noteRoutes, auditLogRoutes, settingsRoutes(settings)],
};
