import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import ts from "typescript";

/** One breach of the vocabulary: where, and the word or phrase with its standard term. */
export interface Breach {
  file: string;
  line: number;
  what: string;
}

/** Declared identifiers that the field has a better word for, with the term to use. */
const words: readonly [pattern: RegExp, term: string][] = [
  [/^kept(Answers?|Parts?|Questions?|ForMs)?$|^keepHere$|^replayHere$/, "stored, cached, or the aggregate store"],
  [/^remember(ed|edParts|edDays)?$/, "cache, cachedQuery"],
  [/^(told|news|newsOf|bears)$/i, "given, changesSince, toleratedChanges"],
  [/^(lane|lanes)$/i, "bulkhead, or loginPool"],
  [/^(giveBack|lent)$/, "release, leased"],
  [/^(sought|scarce|lookedAt)$/, "keyword, rareKeywords, scanSample"],
  [/^(chassis|chassisMigration|clearance|exposure|looksMasked)$/i, "cell framework, fieldAccess, responseKind, isMaskedInput"],
  [/^(handOnRows|takeRows|closedDoors|openDoors)$/, "readDataRows, readCopyData, hardening, unrevokedFunctions"],
  [/^(inTurn|turnMs|tenantTurns|waitingLine)$/i, "withRecordQueue, queueTimeoutMs, tenantConcurrency, FairWaitQueue"],
  [/^(exchange|refusal|verdict|lookAgain|answerAsOurs)$/i, "proxiedRequest, authenticationError, cachedAccess, refreshPlacement"],
  [/^on(Sent|Head|Whole)$/, "onRequestSent, onResponseStart, onResponseBody"],
  [/^(way|ways|wayOf|wayAfter|givenPast)$/i, "strategy, stageProgress, historyInput"],
  [/^(stays|staySums|departures|tense|formerly|everywhere)$/i, "stageDurations, stageExits, asOf, reconstructed, allPipelines"],
  [/^(naive|worlds|firstRows|pace|portion|walk)$/i, "reference model, generated tenants, duplicateIndex, throttle, chunk, fanOut"],
];

/** Identifiers that stay: fields of the public API, of the database or of its frozen migrations, by file. */
const exemptIdentifiers: readonly { file: RegExp; names: RegExp; reason: string }[] = [
  { file: /./, names: /^openDoors$/, reason: "a field of /ready and of the gateway's list of cells" },
  { file: /^cells\/crm\/src\/imports\//, names: /^kept$/, reason: "a field of ImportRevert and a column of imports" },
  { file: /^shared\/cell\/src\/cache\/aggregate-store\.ts$/, names: /^keptParts$/, reason: "a table of a frozen migration" },
];

/** Phrases that have to be read twice, in comments and documents. */
const phrases: readonly [pattern: RegExp, remedy: string][] = [
  [/\bbut for\b/i, "except"],
  [/\bas ever\b/i, "as always, or nothing"],
  [/\bbe it\b/i, "whether, or even if"],
  [/\blies behind\b/i, "name the cause"],
  [/\b(is|are) told\b/i, "receives, is notified"],
  [/\bwhoever\b/i, "name the subject"],
  [/\bkept answers?\b/i, "stored response"],
  [/\bchassis\b/i, "cell framework"],
  [/\bclearance\b/i, "field access"],
];

/** The declared identifiers of a source with another word than the standard term, and the comments with such a phrase. */
export function breachesIn(file: string, text: string): Breach[] {
  if (file.endsWith(".md")) return phrasesIn(file, prose(text), 1);
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineAt = (position: number) => source.getLineAndCharacterOfPosition(position).line + 1;
  const breaches: Breach[] = [];
  const seen = new Set<number>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && isDeclared(node) && !isExempt(file, node.text)) {
      for (const [pattern, term] of words) {
        if (pattern.test(node.text))
          breaches.push({ file, line: lineAt(node.getStart(source)), what: `the name ${node.text}: use ${term}` });
      }
    }
    const comments = [ts.getLeadingCommentRanges(text, node.getFullStart()), ts.getTrailingCommentRanges(text, node.getEnd())];
    for (const { pos, end } of comments.flatMap((ranges) => ranges ?? [])) {
      if (seen.has(pos)) continue;
      seen.add(pos);
      breaches.push(...phrasesIn(file, text.slice(pos, end), lineAt(pos)));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return breaches;
}

/** Whether an identifier is the name in a declaration of this source; names from elsewhere are declared there. */
function isDeclared(node: ts.Identifier): boolean {
  const { parent } = node;
  const isNamed =
    ts.isVariableDeclaration(parent) ||
    ts.isParameter(parent) ||
    ts.isFunctionDeclaration(parent) ||
    ts.isClassDeclaration(parent) ||
    ts.isInterfaceDeclaration(parent) ||
    ts.isTypeAliasDeclaration(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isBindingElement(parent);
  return isNamed && parent.name === node;
}

function isExempt(file: string, name: string): boolean {
  return exemptIdentifiers.some((exempt) => exempt.file.test(file) && exempt.names.test(name));
}

/** A document with its code emptied: identifiers and output are no prose. */
function prose(markdown: string): string {
  const blank = (code: string) => code.replace(/[^\n]/g, " ");
  return markdown.replace(/^```[\s\S]*?^```/gm, blank).replace(/`[^`\n]*`/g, blank);
}

function phrasesIn(file: string, text: string, firstLine: number): Breach[] {
  return phrases.flatMap(([pattern, remedy]) =>
    [...text.matchAll(new RegExp(pattern, "gi"))].map(({ 0: phrase, index }) => ({
      file,
      line: firstLine + text.slice(0, index).split("\n").length - 1,
      what: `"${phrase}": write ${remedy}`,
    })),
  );
}

function main(): void {
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.ts", "*.mjs", "*.md"], {
    encoding: "utf8",
  });
  const files = listed.split("\0").filter((file) => file !== "" && !file.startsWith("openapi/") && existsSync(file));
  const breaches = files.flatMap((file) => breachesIn(file, readFileSync(file, "utf8")));
  for (const { file, line, what } of breaches) console.error(`${file}:${line} ${what}`);
  console.log(`${files.length} files: ${breaches.length} words or phrases outside the vocabulary`);
  if (breaches.length > 0) process.exitCode = 1;
}

if (import.meta.main) main();
