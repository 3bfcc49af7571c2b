import type { SchemaMigration } from "@cell/postgres";

export const cellDeclarations: SchemaMigration = {
  name: "0005_cell_declarations",
  sql: [
    // What each partition has declared last, so that a gateway that starts while the cell is away knows it.
    `create table gateway.cell_declarations (
      cell text not null,
      partition text not null,
      declaration text not null,
      changed_at timestamptz not null default now(),
      primary key (cell, partition)
    )`,
  ],
};
