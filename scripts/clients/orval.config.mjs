export default {
  crm: {
    input: { target: "../../openapi/crm.json" },
    output: {
      target: "./dist/orval.ts",
      client: "fetch",
      // A function for each media type of a body: one for all of them would not type-check.
      override: { splitByContentType: true },
    },
  },
};
