interface Flight {
  result: Promise<unknown>;
  /** Begins when `result` has settled. */
  next: Promise<unknown> | undefined;
}

const flights = new Map<string, Flight>();
const ignore = () => undefined;

/**
 * Shares one run of the work among concurrent callers of the same name. At most one run at a time; callers that arrive during a run share
 * the next one, so that no caller gets data read before its call. Rejects as the work does.
 */
export function singleFlight<T>(name: string, work: () => Promise<T>): Promise<T> {
  const current = flights.get(name);
  if (!current) return begin(name, work);
  current.next ??= current.result.catch(ignore).then(() => begin(name, work));
  return current.next as Promise<T>;
}

function begin<T>(name: string, work: () => Promise<T>): Promise<T> {
  const result = work();
  const flight: Flight = { result, next: undefined };
  flights.set(name, flight);
  result.catch(ignore).then(() => {
    if (flights.get(name) === flight && !flight.next) flights.delete(name);
  });
  return result;
}
