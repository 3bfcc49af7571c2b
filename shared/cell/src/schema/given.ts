/** What a schema makes of JSON, which has no `undefined`: an optional field has a value, or the object does not have the field. */
export type Given<T> = T extends object
  ? { [Name in keyof T]: Given<undefined extends T[Name] ? Exclude<T[Name], undefined> : T[Name]> }
  : T;
