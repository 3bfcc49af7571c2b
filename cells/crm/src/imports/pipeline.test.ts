import { expect, test } from "vitest";
import { Pipeline } from "./pipeline.ts";

/** Items that end when the test says so, and a log of what happens to them. */
function items(names: readonly string[]) {
  const log: string[] = [];
  const gates = Object.fromEntries(names.map((name) => [name, Promise.withResolvers<string>()]));
  const begin = (name: string) => () => {
    log.push(`${name} begins`);
    return gates[name]?.promise ?? Promise.reject(new Error("no such item"));
  };
  const settle = async (name: string) => {
    log.push(`${name} is settled`);
  };
  return { log, gates, push: (pipeline: Pipeline, name: string) => pipeline.push(begin(name), settle) };
}

test("a pipeline has as many items under way as its depth, and settles them in their order", async () => {
  const { log, gates, push } = items(["one", "two", "three"]);
  const pipeline = new Pipeline(2);
  await push(pipeline, "one");
  await push(pipeline, "two");
  const third = push(pipeline, "three");
  gates.two?.resolve("two");
  await Promise.resolve();
  expect(log).toEqual(["one begins", "two begins"]);
  gates.one?.resolve("one");
  await third;
  gates.three?.resolve("three");
  await pipeline.end();
  expect(log.filter((line) => line.endsWith("begins"))).toEqual(["one begins", "two begins", "three begins"]);
  expect(log.filter((line) => line.endsWith("settled"))).toEqual(["one is settled", "two is settled", "three is settled"]);
});

test("a pipeline ends with its first failure, after everything under way has ended, and settles nothing behind it", async () => {
  const { log, gates, push } = items(["one", "two"]);
  const pipeline = new Pipeline(2);
  await push(pipeline, "one");
  await push(pipeline, "two");
  let ended = false;
  const end = pipeline.end().finally(() => {
    ended = true;
  });
  gates.two?.reject(new Error("the cause"));
  await Promise.allSettled([gates.two?.promise]);
  expect(ended).toBe(false);
  gates.one?.reject(new Error("its consequence"));
  await expect(end).rejects.toThrow("the cause");
  await expect(push(pipeline, "three")).rejects.toThrow("its consequence");
  expect(log).toEqual(["one begins", "two begins"]);
});
