import { type DemoCustomer, pick, randomOf } from "./demo-data.ts";

/** An opportunity as `POST /opportunities/import` takes it. */
export interface DemoOpportunity {
  customerName: string;
  name: string;
  amount: number;
  currency: string;
  ownerId: string;
  stage: string;
  stageHistory: { stage: string; enteredAt: string }[];
  expectedCloseDate: string | null;
  probability?: number;
  lostReason?: string;
}

const stages = ["prospecting", "qualification", "proposal", "negotiation", "won"] as const;
const usualDays = [8, 12, 16, 14];
const products = [
  ["年度采购", "Annual supply"],
  ["设备升级", "Equipment upgrade"],
  ["产线改造", "Line retrofit"],
  ["仓储系统", "Warehouse system"],
  ["售后服务包", "Service package"],
  ["备件供应", "Spare parts"],
  ["样品试单", "Trial order"],
  ["数字化平台", "Digital platform"],
  ["包装材料", "Packaging"],
  ["检测仪器", "Test instruments"],
  ["员工培训", "Staff training"],
  ["物流外包", "Logistics outsourcing"],
] as const;
const lostReasons = ["价格偏高", "选择了竞争对手", "预算取消", "项目延期", "price", "no decision"] as const;
const dayMs = 24 * 60 * 60 * 1000;

/** An instant at working hours, this many days before a day. */
export function daysBefore(day: string, days: number, hour = 2): string {
  return new Date(Date.parse(day) - Math.round(days) * dayMs + hour * 3_600_000).toISOString();
}

/**
 * Two years of opportunities up to a day: the same for the same arguments. A customer's opportunities have different names; inactive
 * customers only have lost ones, leads no won ones.
 */
export function demoOpportunities(
  tenantId: string,
  customers: readonly DemoCustomer[],
  count: number,
  currencies: readonly [string, ...string[]],
  day: string,
): DemoOpportunity[] {
  const random = randomOf(`${tenantId} opportunities`);
  const buyers = {
    won: customers.filter(({ status }) => status === "active"),
    open: customers.filter(({ status }) => status !== "inactive"),
    lost: customers,
  };
  const dealt = new Map<string, number>();
  return Array.from({ length: count }, (_, index) => {
    // A third is from the last quarter, so that many are still open.
    const age = random() < 0.35 ? 2 + random() * 88 : 90 + random() * 640;
    const history = historyOf(random, day, Math.round(age));
    const [last] = history.slice(-1);
    const stage = last?.stage ?? "prospecting";
    const status = stage === "won" || stage === "lost" ? stage : "open";
    const customer = buyers[status][Math.floor(random() * buyers[status].length)];
    if (!customer) throw new Error("demo opportunities need customers of every status");
    const { name: customerName, ownerId } = customer;
    const before = dealt.get(customerName) ?? customers.indexOf(customer);
    dealt.set(customerName, before + 1);
    const [zh, en] = pick(products, before);
    const year = daysBefore(day, age).slice(0, 4);
    const currency = pick(currencies, index);
    const amount = 8_000 * 10 ** (random() * 1.9);
    const closes = status === "open" ? random() * 135 - 25 : random() * 30 - 15 - (last?.daysAgo ?? 0);
    return {
      customerName,
      name: /[一-龥]/.test(customerName) ? `${year}年${zh}` : `${en} ${year}`,
      amount: currency === "USD" ? Math.round(amount / 700) * 100 : Math.round(amount / 500) * 500,
      currency,
      ownerId,
      stage,
      stageHistory: history.map(({ stage: entered, daysAgo }, step) => ({
        stage: entered,
        enteredAt: daysBefore(day, daysAgo, 1 + ((index + step) % 8)),
      })),
      expectedCloseDate: status === "open" && index % 23 === 0 ? null : daysBefore(day, -closes).slice(0, 10),
      ...(status === "open" && index % 11 === 0 ? { probability: 5 * Math.ceil(random() * 19) } : {}),
      ...(status === "lost" ? { lostReason: pick(lostReasons, index) } : {}),
    };
  });
}

/** The stages of one opportunity: mostly forward, some skipped, some back, some lost ones reopened, some untouched for months. */
function historyOf(random: () => number, day: string, age: number): { stage: string; daysAgo: number }[] {
  const started = workday(day, age);
  // If the next working day would be after the current moment, the Friday before is used.
  let daysAgo = started < 1 ? age + 1 : started;
  let position = 0;
  const history = [{ stage: "prospecting", daysAgo }];
  for (;;) {
    const isLost = history.at(-1)?.stage === "lost";
    if (position === 4 || (isLost && random() > 0.08)) return history;
    const usual = isLost ? 60 : (usualDays[position] ?? 10);
    const forgotten = random() < 0.05 ? 60 + random() * 240 : 0;
    daysAgo = workday(day, daysAgo - Math.ceil(usual * (0.2 + 1.6 * random()) + forgotten));
    if (daysAgo < 1) return history;
    const chance = random();
    if (isLost) position = 1;
    else if (chance < (position === 0 ? 0.22 : 0.15)) {
      history.push({ stage: "lost", daysAgo });
      continue;
    } else if (chance < 0.23 && position > 0) position -= 1;
    else position = Math.min(4, position + (chance > 0.93 ? 2 : 1));
    history.push({ stage: stages[position] ?? "won", daysAgo });
  }
}

/** This many days ago, or less if that is a weekend. */
function workday(day: string, daysAgo: number): number {
  const weekday = new Date(daysBefore(day, daysAgo)).getUTCDay();
  return daysAgo - (weekday === 6 ? 2 : weekday === 0 ? 1 : 0);
}
