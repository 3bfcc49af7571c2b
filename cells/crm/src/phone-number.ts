import { compactPhone } from "@cell/cell";
import type { CountryCode, PhoneNumber } from "libphonenumber-js/min";

type Library = typeof import("libphonenumber-js/min");

let library: Promise<Library> | undefined;

/** Loaded with the first phone number that is compared: a process that starts has no use for it. */
function load(): Promise<Library> {
  library ??= import("libphonenumber-js/min");
  return library;
}

/** What may stand before a national number within its country, and before a country code abroad. */
const trunkPrefixes = ["", "0", "1", "8", "06"];
const internationalPrefixes = ["+", "00", "011", "0011", "810"];

/** Whether a code of ISO 3166-1 names a region whose numbering plan is known. */
export async function isRegion(code: string): Promise<boolean> {
  return (await load()).isSupportedCountry(code);
}

/**
 * All forms without separators in which the same number may be written in a region: in full (E.164), with the prefix for calls abroad, and as
 * people at home write it. What is no possible number there is itself alone. Stored numbers are compared with these forms, so that nothing
 * that is stored depends on the region.
 */
export async function phoneForms(value: string, region: string): Promise<string[]> {
  const phones = await load();
  const compact = compactPhone(value);
  const number = numberOf(phones, compact, region);
  if (!number) return [compact];
  return writtenForms(phones, number, region).filter((form) => numberOf(phones, form, region)?.number === number.number);
}

/** The number that a text stands for; undefined where it is none, or is written in no form that is looked for. */
function numberOf(phones: Library, compact: string, region: string): PhoneNumber | undefined {
  const number = phones.parsePhoneNumberFromString(compact, region as CountryCode);
  return number?.isPossible() && writtenForms(phones, number, region).includes(compact) ? number : undefined;
}

function writtenForms({ getCountryCallingCode }: Library, { countryCallingCode, nationalNumber }: PhoneNumber, region: string): string[] {
  const abroad = internationalPrefixes.flatMap((prefix) => [
    `${prefix}${countryCallingCode}${nationalNumber}`,
    `${prefix}${countryCallingCode}0${nationalNumber}`,
  ]);
  if (getCountryCallingCode(region as CountryCode) !== countryCallingCode) return abroad;
  return [...abroad, `${countryCallingCode}${nationalNumber}`, ...trunkPrefixes.map((prefix) => `${prefix}${nationalNumber}`)];
}
