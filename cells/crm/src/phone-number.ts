import { compactPhone } from "@cell/cell";
import type { CountryCode, PhoneNumber } from "libphonenumber-js/min";

type Library = typeof import("libphonenumber-js/min");

let library: Promise<Library> | undefined;

/** Loaded with the first comparison of a phone number: it would slow the start down. */
function load(): Promise<Library> {
  library ??= import("libphonenumber-js/min");
  return library;
}

/** Possible prefixes: of a national number within its country, and of a country code abroad. */
const trunkPrefixes = ["", "0", "1", "8", "06"];
const internationalPrefixes = ["+", "00", "011", "0011", "810"];

/** Whether an ISO 3166-1 code is a region with a known numbering plan. */
export async function isRegion(code: string): Promise<boolean> {
  return (await load()).isSupportedCountry(code);
}

/**
 * All forms without separators in which the same number may be written in a region: international (E.164), with the prefix for calls
 * abroad, and national. An impossible number only has its own form. Stored numbers are compared with these forms, so that nothing stored
 * depends on the region.
 */
export async function phoneForms(value: string, region: string): Promise<string[]> {
  const phones = await load();
  const compact = compactPhone(value);
  const number = numberOf(phones, compact, region);
  if (!number) return [compact];
  return writtenForms(phones, number, region).filter((form) => numberOf(phones, form, region)?.number === number.number);
}

/** The parsed number of a text; undefined if it is invalid or in a form that is not searched. */
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
