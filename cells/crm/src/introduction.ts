/** The introduction of the OpenAPI document. Generated from docs/api/introduction.md by `npm run docs`. */
export const introduction = `Customers, contacts, opportunities, pipelines, contracts, payments and reports of many tenants.

- **Address**: the gateway serves the paths of this document below \`/api/v1/crm\`.
- **Authentication**: each request sends \`Authorization: Bearer\` with an API key or an access token, and \`X-Tenant-Id\` with the token's tenant.
- **Permissions**: each route names the permission that it needs. A record outside the caller's scope is 404.
- **Writes** are idempotent by \`X-Request-ID\`: the same request with the same id gets the first response again.
- **Versions**: a record has an \`ETag\`. A write with \`If-Match\` changes nothing when the record is at another version (412).
- **Lists** take \`filter\`, \`sort\`, \`keyword\`, and either \`page\` or \`cursor\`.
- **Masking**: phone numbers, e-mail addresses and amounts are masked in lists and in the responses of writes. \`_masked\` names the fields.
- **Errors** are \`{code, message, requestId, details}\`. A field that the route does not know is refused.
- **Times** are RFC 3339 in UTC. A date without a time is a day in the tenant's timezone.
- **Money** is a decimal string with a currency. Input takes a string or a number. Different currencies are never added.`;
