import type { Kind, Write } from "./history.ts";

interface Opportunity {
  id: string;
  version: number;
}

const stages = ["prospecting", "qualification", "proposal", "negotiation"];
/** Records that many clients write concurrently. */
const sharedRecords = 24;

/** The clients' knowledge, and the next write based on it; a tenant's clients share one. */
export class Workload {
  readonly #run: string;
  readonly #random: () => number;
  readonly #customers: string[] = [];
  readonly #opportunities: Opportunity[] = [];
  readonly #contracts: string[] = [];
  readonly #payments: string[] = [];
  #next = 0;

  /** `run` makes the ids of this workload its own. */
  constructor(run: string, random: () => number) {
    this.#run = run;
    this.#random = random;
  }

  /** The next write, of a kind chosen at random as far as there are records for it. */
  next(): Write {
    const customer = this.#pick(this.#customers);
    if (customer === undefined || this.#customers.length < 8) return this.#customer();
    const opportunity = this.#pick(this.#opportunities.slice(-sharedRecords));
    const contract = this.#pick(this.#contracts.slice(-sharedRecords));
    if (opportunity === undefined || this.#opportunities.length < 8) return this.#opportunity(customer);
    if (contract === undefined || this.#contracts.length < 8) return this.#contract(customer);
    const dice = this.#random();
    if (dice < 0.22) return this.#customer();
    if (dice < 0.36) return this.#opportunity(customer);
    if (dice < 0.54) return this.#change(opportunity, undefined);
    if (dice < 0.64) return this.#change(opportunity, opportunity.version);
    if (dice < 0.68) return this.#contract(customer);
    if (dice < 0.72) return this.#nonsense(customer);
    const payment = this.#pick(this.#payments);
    if (dice < 0.75 && payment !== undefined) return this.#void(payment);
    return this.#payment(contract);
  }

  /** Many customers at once, in the background: each named by the write and its number. */
  import(rows: number): Write {
    const items = (id: string) => Array.from({ length: rows }, (_, row) => ({ name: `${id}/${row}` }));
    return this.#write("import", "/customers/import", (id) => ({ items: items(id), async: true }));
  }

  /** Learns from the first successful response to a write. */
  succeeded({ kind, subject }: Write, text: string): void {
    const body = JSON.parse(text) as Record<"customerId" | "opportunityId" | "contractId" | "paymentId", string> & { version: number };
    if (kind === "customer") this.#customers.push(body.customerId);
    if (kind === "opportunity") this.#opportunities.push({ id: body.opportunityId, version: body.version });
    if (kind === "contract") this.#contracts.push(body.contractId);
    if (kind === "payment") this.#payments.push(body.paymentId);
    const changed = kind === "change" ? this.#opportunities.find(({ id }) => id === subject) : undefined;
    if (changed) changed.version = Math.max(changed.version, body.version);
  }

  #pick<Item>(items: readonly Item[]): Item | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }

  #write(kind: Kind, path: string, body: (id: string) => Record<string, unknown>, rest: Partial<Write> = {}): Write {
    const id = `${this.#run}-${++this.#next}`;
    return {
      id,
      kind,
      method: "POST",
      path,
      body: body(id),
      ifMatch: undefined,
      subject: undefined,
      rejections: [],
      attempts: [],
      acknowledged: undefined,
      refused: undefined,
      differing: [],
      ...rest,
    };
  }

  #money(): string {
    return `${1 + Math.floor(this.#random() * 900)}.${String(Math.floor(this.#random() * 100)).padStart(2, "0")}`;
  }

  #customer(): Write {
    return this.#write("customer", "/customers", (id) => ({ name: id, contactPhone: "13800138000", tags: ["chaos"] }));
  }

  #opportunity(customerId: string): Write {
    return this.#write("opportunity", "/opportunities", (id) => ({
      customerId,
      name: id,
      amount: this.#money(),
      stage: this.#pick(stages),
    }));
  }

  /** Never the current amount: each one is a change. */
  #change({ id: subject }: Opportunity, ifMatch: number | undefined): Write {
    const body = () => ({ amount: `${this.#next}.25`, stage: this.#pick(stages) });
    const rejections = ifMatch === undefined ? [] : [412];
    return this.#write("change", `/opportunities/${subject}`, body, { method: "PATCH", subject, ifMatch, rejections });
  }

  #contract(customerId: string): Write {
    return this.#write("contract", "/contracts", (id) => ({ customerId, name: id, amount: "5000.00", status: "active" }));
  }

  /** Without a reference, whose unique index would hide a duplicate payment. */
  #payment(contractId: string): Write {
    const body = (id: string) => ({ contractId, amount: this.#money(), paidAt: "2026-01-31", notes: id });
    return this.#write("payment", "/payments", body, { subject: contractId });
  }

  #void(paymentId: string): Write {
    return this.#write("void", `/payments/${paymentId}/void`, () => ({}), { subject: paymentId });
  }

  /** A request that must be rejected without a trace. */
  #nonsense(customerId: string): Write {
    if (this.#random() < 0.5) return this.#write("nonsense", "/customers", (id) => ({ name: id, level: 7 }), { rejections: [400] });
    const body = (id: string) => ({ customerId, name: id, amount: "1.00", stage: "nowhere" });
    return this.#write("nonsense", "/opportunities", body, { rejections: [400, 404] });
  }
}
