/** The introduction of the OpenAPI document. Generated from docs/api/administration.md by `npm run docs`. */
export const introduction = `The control plane of Cell CRM: tenants, API keys, moves between partitions, backups.

- The routes below \`/api/admin\` take the operator's key (\`OPERATOR_KEY\`) as the bearer token. The routes of keys also take a tenant's key.
- What tenants work with is in the documents of the cells, each at \`/openapi/{cell}.json\`. Their paths are below \`/api/v1/{cell}\`.
- Errors have the same form as those of the cells.`;
