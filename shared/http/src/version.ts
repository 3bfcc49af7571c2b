import manifest from "../../../package.json" with { type: "json" };

/** The product's version: of the programs, the packages and the OpenAPI documents. Its one place is the root's package.json. */
export const version: string = manifest.version;
