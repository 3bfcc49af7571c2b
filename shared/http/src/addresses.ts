import { BlockList, isIP } from "node:net";

/** A set of networks. */
export type Networks = Pick<BlockList, "check">;

/** The networks in IANA's IPv4 special-purpose address registry, and multicast. */
const specialIPv4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];
const globalIPv6 = ["2000::/3"];
/** Special networks within 2000::/3: protocol assignments with Teredo, documentation, 6to4 (embeds an IPv4 address), AS112. */
const specialIPv6 = ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];

const special = networksOf([...specialIPv4, ...specialIPv6]);
const global6 = networksOf(globalIPv6);

/**
 * Whether an IP address belongs to the public Internet: it is not loopback, private, link-local, shared, multicast or reserved, and not an
 * IPv6 address that embeds an IPv4 one (mapped, NAT64, 6to4, Teredo).
 */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !special.check(address, "ipv4");
  return family === 6 && global6.check(address, "ipv6") && !special.check(address, "ipv6");
}

/** Whether an address lies in one of the networks. */
export function isIn(networks: Networks, address: string): boolean {
  return networks.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");
}

/** Reads a comma-separated list of networks, such as `10.1.0.0/16,fd00::/8,192.0.2.7`. Throws an Error that names the invalid one. */
export function parseNetworks(text: string): Networks {
  return networksOf(text.split(",").map((part) => part.trim()));
}

function networksOf(ranges: readonly string[]): Networks {
  const networks = new BlockList();
  for (const range of ranges) {
    const [address = "", length, more] = range.split("/");
    const family = isIP(address);
    const longest = family === 4 ? 32 : 128;
    const prefix = length === undefined ? longest : Number(length);
    if (family === 0 || more !== undefined || !/^\d{0,3}$/.test(length ?? "") || length === "" || prefix > longest)
      throw new Error(`must hold networks such as 10.1.0.0/16, fd00::/8 or 192.0.2.7, not "${range}"`);
    networks.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  }
  return networks;
}
