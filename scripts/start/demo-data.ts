/** A customer as `POST /customers/import` takes it. */
export interface DemoCustomer {
  name: string;
  contactName: string;
  contactPhone: string;
  contactEmail: string;
  industry: string;
  level: string;
  source: string;
  status: "lead" | "active" | "inactive";
  ownerId: string;
  address: string;
  tags: string[];
  notes: string;
}

/** A person at a customer as `POST /contacts` takes it, without the customer's id. */
export interface DemoContact {
  customerName: string;
  ownerId: string;
  name: string;
  title: string;
  phone: string;
  email: string;
  isPrimary: boolean;
}

const places = [
  { zh: "上海", en: "Shanghai", road: "世纪大道" },
  { zh: "北京", en: "Beijing", road: "建国路" },
  { zh: "深圳", en: "Shenzhen", road: "科技园路" },
  { zh: "杭州", en: "Hangzhou", road: "文三路" },
  { zh: "广州", en: "Guangzhou", road: "天河北路" },
  { zh: "成都", en: "Chengdu", road: "天府大道" },
  { zh: "苏州", en: "Suzhou", road: "星湖街" },
  { zh: "宁波", en: "Ningbo", road: "中山东路" },
] as const;
const brands = [
  ["华兴", "Huaxing"],
  ["明德", "Mingde"],
  ["远航", "Yuanhang"],
  ["金桥", "Golden Bridge"],
  ["瑞丰", "Ruifeng"],
  ["东方", "Orient"],
  ["恒通", "Hengtong"],
  ["新宇", "New Horizon"],
  ["博雅", "Boya"],
  ["中科", "Zhongke"],
  ["蓝海", "Blue Sea"],
] as const;
const industries = [
  ["贸易", "Trading", "Trade"],
  ["科技", "Technology", "Technology"],
  ["制造", "Manufacturing", "Manufacturing"],
  ["物流", "Logistics", "Logistics"],
  ["医疗器械", "Medical", "Healthcare"],
  ["食品", "Foods", "Food"],
  ["新能源", "New Energy", "Energy"],
] as const;
const people = [
  ["王伟", "wang.wei"],
  ["李娜", "li.na"],
  ["张敏", "zhang.min"],
  ["刘洋", "liu.yang"],
  ["陈静", "chen.jing"],
  ["杨帆", "yang.fan"],
  ["Anna Berg", "anna.berg"],
  ["赵磊", "zhao.lei"],
  ["David Chen", "david.chen"],
  ["周婷", "zhou.ting"],
  ["Maria Rossi", "maria.rossi"],
  ["吴强", "wu.qiang"],
  ["孙悦", "sun.yue"],
] as const;
const titles = ["采购经理", "总经理", "Buyer", "财务主管", "Plant manager"] as const;
const levels = ["A", "B", "B", "C", "C", "C"] as const;
const sources = ["exhibition", "website", "referral", "cold call", "partner"] as const;
const statuses = ["active", "lead", "active", "lead", "inactive"] as const;
const tags = ["重点", "VIP", "华东", "出口", "long-term", "price-sensitive", "2026展会"] as const;
const notes = ["", "季度末有采购计划", "Prefers e-mail.", "需要开具增值税专用发票", "Asked for a sample in spring."] as const;

/** The same customers for the same arguments; names are unique within a tenant, and every owner gets an equal share. */
export function demoCustomers(tenantId: string, count: number, ownerIds: readonly [string, ...string[]]): DemoCustomer[] {
  const shift = [...tenantId].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
  return Array.from({ length: count }, (_, index) => demoCustomer(index, shift, ownerIds));
}

/** One or two people at two of three customers: the same for the same customers. */
export function demoContacts(customers: readonly DemoCustomer[]): DemoContact[] {
  return customers.flatMap((customer, index) => Array.from({ length: index % 3 }, (_, at) => demoContact(customer, index, at)));
}

function demoContact({ name: customerName, ownerId, contactEmail }: DemoCustomer, index: number, at: number): DemoContact {
  const n = index + 4 * at + 1;
  const [name, mailbox] = pick(people, n);
  const phone = `139${String((n * 6_007 + index * 92_821) % 100_000_000).padStart(8, "0")}`;
  const email = `${mailbox}@${contactEmail.split("@")[1]}`;
  return { customerName, ownerId, name, title: pick(titles, n), phone, email, isPrimary: at === 0 };
}

function demoCustomer(index: number, shift: number, ownerIds: readonly [string, ...string[]]): DemoCustomer {
  // Lists of coprime lengths, iterated in parallel, repeat a pair only after the product of their lengths.
  const n = index + shift;
  const [brandZh, brandEn] = pick(brands, n);
  const [industryZh, industryEn, industry] = pick(industries, n);
  const place = pick(places, n);
  const [contactName, mailbox] = pick(people, n);
  const chinese = index % 3 !== 0;
  const domain = `${brandEn}-${industryEn}-${place.en}`.toLowerCase().replaceAll(" ", "");
  return {
    name: chinese ? `${place.zh}${brandZh}${industryZh}有限公司` : `${brandEn} ${industryEn} (${place.en}) Co., Ltd.`,
    contactName,
    contactPhone: `138${String((n * 7_919 + shift * 104_729) % 100_000_000).padStart(8, "0")}`,
    contactEmail: `${mailbox}@${domain}.example`,
    industry,
    level: pick(levels, n),
    source: pick(sources, n),
    status: pick(statuses, n),
    ownerId: pick(ownerIds, index),
    address: `${place.zh}市${place.road}${(n % 280) + 1}号`,
    tags: n % 4 === 0 ? [] : [...new Set([pick(tags, n), pick(tags, n * 3 + 1)])],
    notes: pick(notes, n),
  };
}

/** Seeded pseudo-random numbers from 0 to 1. */
export function randomOf(seed: string): () => number {
  let state = [...seed].reduce((sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0), 7);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An element of a list that repeats endlessly. */
export function pick<List extends readonly [unknown, ...unknown[]]>(list: List, index: number): List[number] {
  return list[index % list.length] ?? list[0];
}
