// The options of agent() (W47 to W49): each key is read once, checked by name and type, and written as JSON.

const wrong = (name, expected) => new TypeErrorHere(`agent(): option "${name}" must be ${expected}`);

const text = (name, value) => {
  if (typeof value !== "string" || trimmed(value) === "") throw wrong(name, "a string that is not empty");
  if (value.length > TEXT_CHARS_MAX) throw wrong(name, `at most ${TEXT_CHARS_MAX} characters long`);
  return quote(wellFormed(value));
};
const oneOf = (...words) => (name, value) => {
  for (let i = 0; i < words.length; i++) if (value === words[i]) return quote(value);
  throw wrong(name, `one of ${joined(words, ", ")}`);
};
const effort = (name, value) => efforts(name, typeof value === "string" ? lowered(value) : value);
const efforts = oneOf("low", "medium", "high", "xhigh", "max");
const COUNT_MAX = NativeNumber.MAX_SAFE_INTEGER;
const whole = (least, most) => (name, value) => {
  if (!isSafeInteger(value) || value < least || value > most) {
    throw wrong(name, `a whole number${most === COUNT_MAX ? `, at least ${least}` : ` from ${least} to ${most}`}`);
  }
  return quote(value);
};
const count = whole(1, COUNT_MAX);
const dollars = (name, value) => {
  if (typeof value !== "number" || !isFiniteNumber(value) || value <= 0) throw wrong(name, "a number above 0");
  return quote(value);
};
const names = (name, value) => {
  if (!isArray(value)) throw wrong(name, "an array of names of tools");
  const length = value.length;
  if (length > TOOLS_MAX) throw wrong(name, `an array of at most ${TOOLS_MAX} names`);
  let list = "[";
  for (let i = 0; i < length; i++) list += (i ? "," : "") + text(name, value[i]);
  return `${list}]`;
};
const truth = (name, value) => {
  if (typeof value !== "boolean") throw wrong(name, "true or false");
  return value ? "true" : "false";
};
const schema = (name, value) => {
  if (typeof value !== "object" || value === null || isArray(value)) throw wrong(name, "a JSON Schema object");
  const encoded = encode(value, RESULT_DEPTH_MAX);
  const odd = encoded.odd === undefined ? undefined : `something that JSON cannot hold at ${encoded.odd}`;
  const problem = encoded.problem ?? odd;
  if (problem !== undefined || encoded.text === undefined) {
    const text = `agent(): option "schema" is not JSON: ${problem ?? "nothing is left of it"}`;
    throw coded(new TypeErrorHere(text), "schema_invalid");
  }
  return encoded.text;
};

const OPTIONS = {
  __proto__: null,
  label: text,
  phase: text,
  schema,
  model: text,
  effort,
  agentType: text,
  isolation: oneOf("worktree"),
  tools: names,
  disallowedTools: names,
  maxTurns: count,
  maxTokens: count,
  maxCostUsd: dollars,
  timeoutMs: count,
  idleTimeoutMs: count,
  retries: whole(0, 5),
  onLimit: oneOf("null", "throw", "partial"),
  cache: oneOf("auto", "never"),
  evidence: truth,
};
const OPTION_NAMES = joined(keysOf(OPTIONS), ", ");

// `null` and `undefined` stand for an option that was not given.
const readOptions = (options) => {
  if (options === undefined || options === null) return { __proto__: null, text: "{}", label: undefined };
  if (typeof options !== "object" || isArray(options)) {
    throw new TypeErrorHere("agent() expects an object of options as the second argument");
  }
  const keys = keysOf(options);
  let written = "{";
  let label;
  for (let i = 0; i < keys.length; i++) {
    const name = keys[i];
    const check = OPTIONS[name];
    if (check === undefined) {
      refuseOption(name);
      continue;
    }
    const value = options[name];
    if (value === undefined || value === null) continue;
    written += `${written.length > 1 ? "," : ""}"${name}":${check(name, value)}`;
    if (name === "label") label = value;
  }
  return { __proto__: null, text: `${written}}`, label };
};

const refuseOption = (name) => {
  const shown = quote(wellFormed(clip(name, 0, 80)));
  if (program.strictOptions) throw new TypeErrorHere(`agent() has no option ${shown}; it has ${OPTION_NAMES}`);
  if (warnedOptions[shown]) return;
  warnedOptions[shown] = true;
  warn("unknown_option", `agent() has no option ${shown}, which was ignored`);
};
