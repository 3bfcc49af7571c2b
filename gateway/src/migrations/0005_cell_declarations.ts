import type { SchemaMigration } from "@cell/postgres";

export const cellDeclarations: SchemaMigration = {
  name: "0005_cell_declarations",
  sql: [
    // The last declaration of each partition, for gateways that start while the cell is not reachable.
    `create table gateway.cell_declarations (
      cell text not null,
      partition text not null,
      declaration text not null,
      changed_at timestamptz not null default now(),
      primary key (cell, partition)
    )`,
  ],
};
