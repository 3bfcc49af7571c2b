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
  .option("--gateway <url>", "the gateway's address (CRM_GATEWAY)")
  .option("--key <key>", "the key to call it with (CRM_KEY)")
  .option("--json", "print the result as one JSON document, and what went wrong as one on stderr")
  .addHelpText(
    "after",
    "\nExit codes: 0; 1 when rows of an import failed, a moved tenant has a fault or the doctor finds one; 2 when a command was not carried out.",
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

/** An action of a command: what it comes to is printed here alone. */
function action<Args extends unknown[]>(work: (...args: Args) => Promise<CommandResult | undefined>): (...args: Args) => Promise<void> {
  return async (...args) => {
    process.exitCode = await runCommand(async () => work(...args), isJson());
  };
}

/** The command that resumes following an import. */
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
    .description("refuse a tenant's requests")
    .action(action((id: string) => setTenantStatus(operator(), id, "suspended")));
  tenant
    .command("resume <id>")
    .description("take a tenant's requests again")
    .action(action((id: string) => setTenantStatus(operator(), id, "active")));
  tenant
    .command("quota <id> <bytes>")
    .description("limit what a tenant stores in each cell, indexes included; none takes the limit away")
    .action(action((id: string, bytes: string) => setTenantQuota(operator(), id, bytes)));
  tenant
    .command("drop <id>")
    .description("delete a tenant with all its data")
    .option("--yes", "it is meant")
    .action(action((id: string, options: { yes?: boolean }) => dropTenant(operator(), id, options)));
  addMoveCommands(tenant);
}

function addMoveCommands(tenant: Command): void {
  tenant
    .command("move <id>")
    .description("move a tenant to another partition while it goes on; says for how long its writes were paused")
    .option("--to <partition>", "such as crm-2")
    .option("--back", "to where it came from")
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
    .description("write a tenant's rows, all of one moment, to a file, or those of all tenants of a partition")
    .option("--to <file>", "by default <tenant>.tenant.zst; with --partition a folder")
    .option("--cell <name>", "of which cell", "crm")
    .option("--partition <name>", "all tenants of it, such as crm-1")
    .action(action((tenantId: string | undefined, options: BackupOptions) => backup(operator(), tenantId, options)));
  program
    .command("restore <files...>")
    .description("bring tenants back from their files, into a cell that does not have them")
    .option("--as <tenant>", "refuse a file of any other tenant")
    .action(action((files: string[], options: { as?: string }) => restore(operator(), files, options)));
}

function addKeyCommands(): void {
  const key = program.command("key").description("API keys");
  key
    .command("issue")
    .description("issue a key; it is printed once, on stdout")
    .option("--tenant <id>", "the operator has to say which")
    .requiredOption("--user <id>")
    .requiredOption("--role <role>", "admin, manager, sales, auditor or integrator")
    .option("--permissions <list>", "instead of the role's, separated by commas")
    .option("--expires <time>", "such as 2027-01-01T00:00:00Z")
    .option("--act-as", "may act for other users of the tenant")
    .option("--name <name>")
    .action(action((options: IssueOptions) => issueKey(operator(), options)));
  key
    .command("list")
    .description("list the keys: the operator those of all tenants, an administrator or auditor those of their own")
    .option("--tenant <id>")
    .action(action((options: { tenant?: string }) => listKeys(operator(), options)));
  key
    .command("rotate <keyId>")
    .description("replace a key by a new one of the same rights")
    .option("--grace <seconds>", "how long the old one stays valid")
    .action(action((keyId: string, options: { grace?: string }) => rotateKey(operator(), keyId, options)));
  key
    .command("revoke <keyId>")
    .description("refuse a key from now on")
    .action(action((keyId: string) => revokeKey(operator(), keyId)));
}

function addDataCommands(): void {
  const imports = program.command("import").description("bring data in");
  imports
    .command("customers <file>")
    .description("import a .csv or .json file; exit code 1 when rows failed")
    .requiredOption("--tenant <id>")
    .option("--mode <mode>", "create, upsert or update")
    .option("--match-by <field>")
    .option("--on-duplicate <what>", "error, skip or update")
    .option("--dry-run", "report what would happen and write nothing")
    .option("--atomic", "all rows or none")
    .option("--errors <file>", "save the failed rows as CSV")
    .action(
      action((file: string, options: ImportOptions & { tenant: string }) =>
        importCustomers(tenantClient(options.tenant), file, options, watchCommand(options.tenant)),
      ),
    );
  imports
    .command("watch <importId>")
    .description("follow an import that runs")
    .requiredOption("--tenant <id>")
    .option("--errors <file>", "save the failed rows as CSV")
    .action(
      action((importId: string, options: { tenant: string; errors?: string }) =>
        watchImport(tenantClient(options.tenant), importId, options, watchCommand(options.tenant)),
      ),
    );
  program
    .command("export")
    .description("get data out")
    .command("customers")
    .description("export customers as CSV")
    .requiredOption("--tenant <id>")
    .option("--out <file>", "instead of stdout")
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
  .description("look whether all is well")
  .action(action(() => doctor(settings())));

endWithReader();
try {
  await program.parseAsync();
} catch (error) {
  // What is wrong with the arguments has been said; help is none of that.
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : 2;
}
