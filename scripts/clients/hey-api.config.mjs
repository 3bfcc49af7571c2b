export default {
  input: "../../openapi/crm.json",
  output: { path: "./dist/hey-api", importFileExtension: ".ts" },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
  logs: { level: "error" },
};
