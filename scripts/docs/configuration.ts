import { join } from "node:path";
import type { Setting, Settings } from "@cell/http";

const root = join(import.meta.dirname, "../..");

interface Row {
  setting: Setting;
  programs: string[];
}

interface ProgramSettings {
  program: string;
  settings: Settings;
}

/** The page of settings, as the programs declare them. */
export function configurationPage(programs: readonly ProgramSettings[]): string {
  const rows = rowsOf(programs);
  const former = rows.filter(({ setting }) => setting.formerName !== undefined);
  return [
    "# Configuration",
    "<!-- Generated from the settings that the programs declare, by npm run docs. -->",
    `Programs read their settings from the environment. An empty variable counts as not set. A program whose settings are missing or invalid
names all of them and ends with exit code 2. \`npm start\` makes the secrets and passes them to the programs; see [Secrets](secrets.md).`,
    table(
      ["variable", "program", "type", "default", "range", "secret", "meaning"],
      rows.map(({ setting, programs: of }) => [
        `\`${setting.name}\``,
        of.join(", "),
        typeOf(setting),
        defaultOf(setting),
        rangeOf(setting),
        setting.isSecret ? "yes" : "",
        setting.meaning,
      ]),
    ),
    "## Former names",
    "The former names are read for one more release, with a warning in the log.",
    table(
      ["former name", "variable"],
      former.map(({ setting }) => [`\`${setting.formerName}\``, `\`${setting.name}\``]),
    ),
    "## Elsewhere",
    `What a tenant decides for itself is in its [settings](../api/settings.md). Timeouts and budgets are explained in [Limits](limits.md).
Compose passes its variables on to the programs: see \`docker-compose.yml\`.`,
  ]
    .join("\n\n")
    .concat("\n");
}

/** A row for each setting, those of one name together; programs that declare the same one alike share it. */
function rowsOf(programs: readonly ProgramSettings[]): Row[] {
  const rows = new Map<string, Row>();
  for (const { program, settings } of programs) {
    for (const setting of Object.values(settings)) {
      const key = JSON.stringify([setting.name, setting.meaning, setting.default, setting.range, setting.isRequired]);
      const row = rows.get(key);
      if (row) row.programs.push(program);
      else rows.set(key, { setting, programs: [program] });
    }
  }
  return [...Map.groupBy(rows.values(), ({ setting }) => setting.name).values()].flat();
}

function typeOf({ kind, choices, unit }: Setting): string {
  if (choices) return choices.map((choice) => `\`${choice}\``).join(", ");
  return unit === undefined ? kind : `${kind} (${unit})`;
}

function defaultOf({ default: value, whenUnset, isRequired }: Setting): string {
  if (value !== undefined) return `\`${value.startsWith(root) ? value.slice(root.length + 1) : value}\``;
  return isRequired ? "required" : (whenUnset ?? "none");
}

function rangeOf({ range }: Setting): string {
  return range ? `${range.min}–${range.max}` : "";
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(header), `|${header.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
}
