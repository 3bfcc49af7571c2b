import { type FunnelInput, funnelOf } from "./cohort-funnel.ts";
import { countOf, percent } from "./money.ts";

export interface MetricsInput extends Omit<FunnelInput, "sums" | "mode"> {
  customers: number;
  /** Of all times. */
  sums: FunnelInput["sums"];
  /** Of the window. */
  cohort: FunnelInput["sums"];
}

/** A pipeline's key figures. */
export function metricsOf({ customers, sums, cohort, ...input }: MetricsInput) {
  const { currency, converted, missingRates, ...funnel } = funnelOf({ ...input, sums: cohort, mode: "reached" });
  const ofType = (type: string) => countOf(sums.filter(({ stageType }) => stageType === type));
  const { window, link } = input;
  return {
    currency,
    converted,
    missingRates,
    window,
    customers,
    opportunities: {
      open: ofType("open"),
      won: ofType("won"),
      lost: ofType("lost"),
      links: { open: link({ status: "open" }), won: link({ status: "won" }), lost: link({ status: "lost" }) },
    },
    winRate: percent(ofType("won"), ofType("won") + ofType("lost")),
    conversionRate: funnel.overallConversion,
    funnel,
  };
}
