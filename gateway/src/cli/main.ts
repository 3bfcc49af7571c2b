import { version } from "@cell/http";
import { Command, CommanderError } from "commander";
import { type BackupOptions, backup, restore } from "./backup.ts";
import { Client } from "./client.ts";
import { type CommonOptions, readSettings } from "./config.ts";
import { doctor } from "./doctor.ts";
import { type ExportOptions, exportCustomers } from "./export.ts";
import { type ImportOptions, importCustomers, watchImport } from "./import.ts";
import { type IssueOptions, issueKey, listKeys, revokeKey, rotateKey } from "./keys.ts";
import { forgetCopies, listMoves, type MoveOptions, moveTenant } from "./moves.ts";
import { type CommandResult, endWithReader, runCommand } from "./output.ts";
import { createTenant, dropTenant, listTenants, setTenantQuota, setTenantStatus } from "./tenants.ts";

const program = new Command("crm")
  .description("Operates Cell CRM through its gateway")
  .version(version)
  .option("--gateway <url>", "address of the gateway (CRM_GATEWAY)")
  .option("--key <key>", "key for the calls (CRM_KEY)")
  .option("--json", "print the result as one JSON document, and errors as one on stderr")
  .addHelpText(
    "after",
    "\nExit codes: 0; 1 if rows of an import failed, a moved tenant has a fault or the doctor finds one; 2 if a command was not carried out.",
  )
  .exitOverride();

const isJson = () => program.opts<CommonOptions>().json ?? false;
const settings = () => readSettings(program.opts<CommonOptions>());

function operator(): Client {
  const { gateway, operatorKey } = settings();
  return new Client(gateway, operatorKey);
}

function tenantClient(tenantId: string): Client {
  const { gateway, tenantKey } = settings();
  return new Client(gateway, tenantKey(tenantId), tenantId);
}

/** The action of a command: its result is printed only here. */
function action<Args extends unknown[]>(work: (...args: Args) => Promise<CommandResult | undefined>): (...args: Args) => Promise<void> {
  return async (...args) => {
    process.exitCode = await runCommand(async () => work(...args), isJson());
  };
}

/** The command that follows an import again. */
function watchCommand(tenantId: string): (importId: string) => string {
  const { gateway } = program.opts<CommonOptions>();
  return (importId) => `crm import watch ${importId} --tenant ${tenantId}${gateway === undefined ? "" : ` --gateway ${gateway}`}`;
}

function addTenantCommands(): void {
  const tenant = program.command("tenant").description("tenants");
  tenant
    .command("create <id>")
    .description("create a tenant in every cell; a failed creation is finished by the same command")
    .requiredOption("--name <name>")
    .action(action((id: string, options: { name: string }) => createTenant(operator(), id, options)));
  tenant
    .command("list")
    .description("list the tenants")
    .action(action(() => listTenants(operator())));
  tenant
    .command("suspend <id>")
    .description("reject a tenant's requests")
    .action(action((id: string) => setTenantStatus(operator(), id, "suspended")));
  tenant
    .command("resume <id>")
    .description("accept a tenant's requests again")
    .action(action((id: string) => setTenantStatus(operator(), id, "active")));
  tenant
    .command("quota <id> <bytes>")
    .description("limit the bytes that a tenant stores in each cell, indexes included; none removes the limit")
    .action(action((id: string, bytes: string) => setTenantQuota(operator(), id, bytes)));
  tenant
    .command("drop <id>")
    .description("delete a tenant with all its data")
    .option("--yes", "confirm the deletion")
    .action(action((id: string, options: { yes?: boolean }) => dropTenant(operator(), id, options)));
  addMoveCommands(tenant);
}

function addMoveCommands(tenant: Command): void {
  tenant
    .command("move <id>")
    .description("move a tenant to another partition while it is served; reports how long its writes were paused")
    .option("--to <partition>", "such as crm-2")
    .option("--back", "back to the previous partition")
    .action(action((id: string, options: MoveOptions) => moveTenant(operator(), id, options)));
  tenant
    .command("moves [id]")
    .description("list the moves, newest first")
    .action(action((id: string | undefined) => listMoves(operator(), id)));
  tenant
    .command("forget <id>")
    .description("drop the copies that moves have left on other partitions")
    .action(action((id: string) => forgetCopies(operator(), id)));
}

function addBackupCommands(): void {
  program
    .command("backup [tenant]")
    .description("write a tenant's rows from one snapshot to a file, or those of all tenants of a partition")
    .option("--to <file>", "default: <tenant>.tenant.zst; with --partition a folder")
    .option("--cell <name>", "the cell", "crm")
    .option("--partition <name>", "all tenants of this partition, such as crm-1")
    .action(action((tenantId: string | undefined, options: BackupOptions) => backup(operator(), tenantId, options)));
  program
    .command("restore <files...>")
    .description("restore tenants from their files into a cell that does not have them")
    .option("--as <tenant>", "reject a file of any other tenant")
    .action(action((files: string[], options: { as?: string }) => restore(operator(), files, options)));
}

function addKeyCommands(): void {
  const key = program.command("key").description("API keys");
  key
    .command("issue")
    .description("issue a key; it is printed once, on stdout")
    .option("--tenant <id>", "required for the operator")
    .requiredOption("--user <id>")
    .requiredOption("--role <role>", "admin, manager, sales, auditor or integrator")
    .option("--permissions <list>", "instead of the role's, separated by commas")
    .option("--expires <time>", "such as 2027-01-01T00:00:00Z")
    .option("--act-as", "may act for other users of the tenant")
    .option("--name <name>")
    .action(action((options: IssueOptions) => issueKey(operator(), options)));
  key
    .command("list")
    .description("list the keys: of all tenants for the operator, of their own tenant for administrators and auditors")
    .option("--tenant <id>")
    .action(action((options: { tenant?: string }) => listKeys(operator(), options)));
  key
    .command("rotate <keyId>")
    .description("replace a key by a new one with the same rights")
    .option("--grace <seconds>", "how long the old key stays valid")
    .action(action((keyId: string, options: { grace?: string }) => rotateKey(operator(), keyId, options)));
  key
    .command("revoke <keyId>")
    .description("revoke a key")
    .action(action((keyId: string) => revokeKey(operator(), keyId)));
}

function addDataCommands(): void {
  const imports = program.command("import").description("import data");
  imports
    .command("customers <file>")
    .description("import a .csv or .json file; exit code 1 if rows failed")
    .requiredOption("--tenant <id>")
    .option("--mode <mode>", "create, upsert or update")
    .option("--match-by <field>")
    .option("--on-duplicate <what>", "error, skip or update")
    .option("--dry-run", "report the result without writing anything")
    .option("--atomic", "all rows or none")
    .option("--errors <file>", "save the failed rows as CSV")
    .action(
      action((file: string, options: ImportOptions & { tenant: string }) =>
        importCustomers(tenantClient(options.tenant), file, options, watchCommand(options.tenant)),
      ),
    );
  imports
    .command("watch <importId>")
    .description("follow a running import")
    .requiredOption("--tenant <id>")
    .option("--errors <file>", "save the failed rows as CSV")
    .action(
      action((importId: string, options: { tenant: string; errors?: string }) =>
        watchImport(tenantClient(options.tenant), importId, options, watchCommand(options.tenant)),
      ),
    );
  program
    .command("export")
    .description("export data")
    .command("customers")
    .description("export customers as CSV")
    .requiredOption("--tenant <id>")
    .option("--out <file>", "file instead of stdout")
    .option("--filter <filter>", "such as 'status[eq]:active and createdAt[gte]:2026-01-01'")
    .option("--keyword <text>")
    .option("--sort <fields>", "such as -createdAt,name")
    .action(action((options: ExportOptions & { tenant: string }) => exportCustomers(tenantClient(options.tenant), options, isJson())));
}

addTenantCommands();
addBackupCommands();
addKeyCommands();
addDataCommands();
program
  .command("doctor")
  .description("check the system")
  .action(action(() => doctor(settings())));

endWithReader();
try {
  await program.parseAsync();
} catch (error) {
  // The error has already been reported; help is not an error.
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : 2;
}
