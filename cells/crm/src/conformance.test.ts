import { describeConformance } from "@cell/cell/conformance";
import { crmDocument } from "./openapi.ts";
import { startCrm } from "./testing.ts";

describeConformance(crmDocument(), startCrm);
