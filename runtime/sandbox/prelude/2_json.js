// Values as JSON, with the path of whatever JSON cannot hold (W32, W170, W171). Never JSON.stringify of something that
// a script made: this tells what was lost, stops at a depth, and looks at own properties only (but honours toJSON).

// An engine that has no memory left for the message either makes the error without one.
const isOutOfMemory = (error) =>
  typeof error === "object" && error !== null && getPrototypeOf(error) === InternalErrorHere.prototype &&
  (own(error, "message") ?? "out of memory") === "out of memory";

const unserializable = (problem) => ({ __proto__: null, problem });
const ownProblem = (error) =>
  typeof error === "object" && error !== null && getPrototypeOf(error) === null ? own(error, "problem") : undefined;

const pathOf = (writer) => {
  let path = "$";
  for (let i = 0; i < writer.depth; i++) {
    const key = writer.keys[i];
    if (typeof key === "number") path += `[${key}]`;
    else path += matches(/^[A-Za-z_$][\w$]*$/, key) ? `.${key}` : `[${quote(wellFormed(clip(key, 0, 80)))}]`;
    if (path.length > 400) return `${clip(path, 0, 400)}...`;
  }
  return path;
};

const lose = (writer, value, what = "") => {
  writer.lost += 1;
  if (value !== undefined && typeof value !== "string") writer.odd ??= pathOf(writer);
  if (writer.lost <= LOSSES_TOLD_MAX) writer.losses += `${writer.lost > 1 ? ", " : ""}${pathOf(writer)}${what}`;
};

const plain = (writer, value) => {
  switch (typeof value) {
    case "string": {
      const text = wellFormed(value);
      if (text !== value) lose(writer, value);
      return quote(text);
    }
    case "number":
      if (isFiniteNumber(value)) return quote(value);
      lose(writer, value);
      return "null";
    case "object":
      return "null";
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      throw unserializable("a BigInt");
    default:
      lose(writer, value);
      return undefined;
  }
};

const unboxed = (value) => {
  if (value instanceof NativeString) return NativeString(value);
  if (value instanceof NativeNumber) return NativeNumber(value);
  return value instanceof NativeBoolean ? truthOf(value) : value;
};

// What `given` stands for, as JSON sees it.
const converted = (given, key) => {
  let value = given;
  if ((typeof value === "object" && value !== null) || typeof value === "function") {
    const convert = value.toJSON;
    if (typeof convert === "function") value = apply(convert, value, [`${key}`]);
  }
  return typeof value === "object" && value !== null ? unboxed(value) : value;
};

// What JSON takes for an object without members, though it is not one.
const hollowed = (value) => {
  const above = getPrototypeOf(value);
  if (above === PLAIN || above === null || isArray(value)) return undefined;
  if (value instanceof NativePromise) return "a promise, which has to be awaited";
  return value instanceof NativeMap ? "a Map" : value instanceof NativeSet ? "a Set" : undefined;
};

const descend = (writer, value) => {
  const depth = writer.depth;
  const hollow = hollowed(value);
  if (hollow !== undefined) lose(writer, value, ` (${hollow})`);
  if (depth >= writer.depthMax) throw unserializable(`nesting deeper than ${writer.depthMax}`);
  for (let i = 0; i < depth; i++) if (writer.frames[i].value === value) throw unserializable("a cycle");
  const keys = isArray(value) ? undefined : keysOf(value);
  const length = keys === undefined ? value.length : keys.length;
  writer.frames[depth] = { __proto__: null, value, keys, length, index: 0, empty: true };
  writer.depth = depth + 1;
  return keys === undefined ? "[" : "{";
};

// With a stack of its own, since the one of the engine is short.
const write = (writer, given) => {
  const top = converted(given, "");
  if (typeof top !== "object" || top === null) return plain(writer, top);
  let text = descend(writer, top);
  while (writer.depth > 0) {
    const frame = writer.frames[writer.depth - 1];
    const list = frame.keys === undefined;
    if (frame.index === frame.length) {
      text += list ? "]" : "}";
      writer.depth -= 1;
      writer.frames[writer.depth] = undefined;
      continue;
    }
    const key = list ? frame.index : frame.keys[frame.index];
    writer.keys[writer.depth - 1] = key;
    frame.index += 1;
    const value = converted(frame.value[key], key);
    const isNode = typeof value === "object" && value !== null;
    const leaf = isNode ? undefined : plain(writer, value) ?? (list ? "null" : undefined);
    if (!isNode && leaf === undefined) continue;
    text += frame.empty ? "" : ",";
    frame.empty = false;
    if (!list) text += `${quote(wellFormed(key))}:`;
    text += isNode ? descend(writer, value) : leaf;
  }
  return text;
};

// `text` undefined: there is nothing to write (undefined, a function, a symbol). `problem`: it cannot be JSON at all.
const encode = (value, depthMax) => {
  const writer = {
    __proto__: null, keys: { __proto__: null }, frames: { __proto__: null }, depth: 0, depthMax, lost: 0, losses: "",
    odd: undefined,
  };
  try {
    const text = write(writer, value);
    return { __proto__: null, text, lost: writer.lost, losses: writer.losses, odd: writer.odd, problem: undefined };
  } catch (error) {
    if (isOutOfMemory(error)) throw error;
    const problem = `${ownProblem(error) ?? describe(error)} at ${pathOf(writer)}`;
    return { __proto__: null, text: undefined, lost: 0, losses: "", odd: undefined, problem };
  }
};

// What was thrown, in one line for people.
const describe = (error) => {
  try {
    if (typeof error !== "object" || error === null || isError(error)) return shortened(NativeString(error));
    return shortened(encode(error, 8).text ?? NativeString(error));
  } catch (another) {
    if (isOutOfMemory(another)) throw another;
    return "something that cannot be shown";
  }
};

const shortened = (text) => wellFormed(clip(text, 0, MESSAGE_CHARS_MAX));
const stackOf = (error) => {
  try {
    const stack = isError(error) ? error.stack : "";
    return typeof stack === "string" ? shortened(stack) : "";
  } catch (another) {
    if (isOutOfMemory(another)) throw another;
    return "";
  }
};

// Where in the script a stack begins, for a message. The engine says 1:1, where `meta` is, of what it cannot place.
const placeIn = (stack, whose = "") => {
  const found = matches(/workflow\.js:(\d+:\d+)/, stack);
  return found === null || found[1] === "1:1" ? "" : ` (line ${found[1]}${whose})`;
};

const placed = (error) => `${describe(error)}${placeIn(stackOf(error))}`;

// UTF-8 length, counted only as far as it matters.
const isLongerThan = (text, bytes) => {
  if (text.length * 3 <= bytes) return false;
  if (text.length > bytes) return true;
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = codeUnit(text, i);
    count += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
    if (count > bytes) return true;
  }
  return false;
};
