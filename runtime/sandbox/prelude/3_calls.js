// What a script asks for: operations are queued as JSON texts, in program order, and the driver takes them between two
// drains. No function of the host is ever called from here.

const ITEMS_MAX = bounds.items;
const TIMERS_MAX = bounds.timers;
const TIMER_MS_MAX = bounds.timerMs;
const PROMPT_BYTES_MAX = bounds.promptBytes;
const ARGS_BYTES_MAX = bounds.argsBytes;
const RESULT_DEPTH_MAX = bounds.resultDepth;
const LOG_CHARS_MAX = bounds.logChars;
const LOG_LINES_MAX = bounds.logLines;
const LOG_BYTES_MAX = bounds.logBytes;
const MESSAGE_CHARS_MAX = bounds.messageChars;
const OPS_PER_DRAIN_MAX = bounds.opsPerDrain;
const CHARS_PER_DRAIN_MAX = bounds.charsPerDrain;
const SCOPE_CHARS_MAX = bounds.scopeChars;
const TEXT_CHARS_MAX = bounds.textChars;
const TOOLS_MAX = bounds.tools;
const LABEL_CHARS_MAX = bounds.labelChars;
const LABEL_SOURCE_CHARS = 4096;
const SLICE_CHARS = 1 << 20;
const LOSSES_TOLD_MAX = 10;
const THROWS_TOLD_MAX = 10;

// Shared by all contexts of a run: the driver carries it from one to the next.
const shared = {
  __proto__: null, nextId: 0, logLines: 0, logBytes: 0, logsDropped: 0, timers: 0, spent: 0, throwsTold: 0,
};

let scope = "";
let nested = 0;
let over = false;
let outOfMemory = false;
let flooded = false;
let program = { __proto__: null };

const queue = { __proto__: null, texts: { __proto__: null }, first: 0, last: 0, chars: 0, count: 0, dropped: 0 };
const pending = { __proto__: null };
const groups = { __proto__: null };
const nests = { __proto__: null };
const lastReasons = { __proto__: null };
let lastReason = null;
const warnedOptions = { __proto__: null };

const emit = (text) => {
  queue.count += 1;
  queue.chars += text.length;
  if (flooded || queue.count > OPS_PER_DRAIN_MAX || queue.chars > CHARS_PER_DRAIN_MAX) {
    flooded = true;
    queue.first = queue.last;
    queue.texts = { __proto__: null };
    throw new RangeErrorHere("the script asks for too much without waiting for any of it");
  }
  queue.texts[queue.last] = text;
  queue.last += 1;
};

const warn = (code, message) =>
  emit(`{"op":"warn","code":${quote(code)},"message":${quote(shortened(message))}}`);

// --- Promises of the API -------------------------------------------------------------------------------------------

const handled = new WeakSet();
const ours = new WeakSet();
const loose = { __proto__: null, count: 0 };

// A promise that knows whether anybody looks at it; what is derived from it is an ordinary one.
class Call extends NativePromise {
  static get [Symbol.species]() {
    return NativePromise;
  }
  then(resolved, rejected) {
    learn(handled, this);
    return thenOf(this, resolved, rejected);
  }
}
freeze(Call);
freeze(Call.prototype);

const open = () => {
  const call = { __proto__: null, promise: undefined, resolve: undefined, reject: undefined };
  call.promise = new Call((resolve, reject) => {
    call.resolve = resolve;
    call.reject = reject;
  });
  return call;
};

// What a script gets that nobody listens to any more.
const never = open().promise;

const fail = (call, error) => {
  call.reject(error);
  if (!known(handled, call.promise)) {
    loose[loose.count] = { __proto__: null, promise: call.promise, message: placed(error) };
    loose.count += 1;
  }
  return call.promise;
};

const tellLoose = () => {
  for (let i = 0, told = 0; i < loose.count && told < THROWS_TOLD_MAX; i++) {
    if (known(handled, loose[i].promise)) continue;
    told += 1;
    warn("unhandled_rejection", loose[i].message);
  }
};

// Errors are made here, in the realm of the script, from copied fields (W30).
const coded = (error, code) => {
  property(error, "code", code, true);
  return error;
};

const RESERVED = { __proto__: null, code: true, message: true, name: true, stack: true };

// `place`: where the call was made, since nothing of the script is on the stack when it fails.
const thrownError = (thrown, place) => {
  const message = own(thrown, "message");
  const error = own(thrown, "code") === "invalid_call" ? new TypeErrorHere(message) : new ErrorHere(message);
  coded(error, own(thrown, "code"));
  slot(error, "stack", place);
  const fields = own(thrown, "fields");
  if (fields === undefined) return error;
  const keys = keysOf(fields);
  for (let i = 0; i < keys.length; i++) {
    if (!RESERVED[keys[i]]) slot(error, keys[i], fields[keys[i]]);
  }
  return error;
};

// The id is taken only once its operation is in the queue, so that ids stay dense when memory runs out in between.
const ask = (record, text) => {
  const id = shared.nextId;
  pending[id] = record;
  emit(text);
  shared.nextId = id + 1;
  return id;
};

// --- agent ---------------------------------------------------------------------------------------------------------

const promptOf = (prompt) => {
  if (typeof prompt !== "string" || trimmed(prompt) === "") {
    throw new TypeErrorHere("agent() expects a prompt, a string that is not empty, as the first argument");
  }
  if (isLongerThan(prompt, PROMPT_BYTES_MAX)) {
    throw new TypeErrorHere(`agent(): the prompt is longer than ${PROMPT_BYTES_MAX} bytes`);
  }
  return wellFormed(prompt);
};

// The name of a call that was given none: the beginning of its prompt, with white space folded.
const labelOf = (prompt) => {
  let label = "";
  let gap = "";
  for (let i = 0; i < prompt.length && i < LABEL_SOURCE_CHARS && label.length < LABEL_CHARS_MAX; i++) {
    const letter = clip(prompt, i, i + 1);
    if (trimmed(letter) === "") {
      gap = label === "" ? "" : " ";
    } else {
      label += gap + letter;
      gap = "";
    }
  }
  return clip(label, 0, LABEL_CHARS_MAX);
};

// What is kept of a call until it settles.
const recordOf = (kind, call, label, inner) =>
  ({ __proto__: null, kind, call, label, scope, place: new ErrorHere().stack, inner });

const api = {
  agent(prompt, options) {
    if (over || flooded) return never;
    const call = open();
    try {
      const text = promptOf(prompt);
      const given = readOptions(options);
      ask(
        recordOf("agent", call, given.label ?? labelOf(text)),
        `{"op":"agent","id":${shared.nextId},"scope":${quote(scope)},"prompt":${quote(text)},` +
          `"options":${given.text},"nested":${nested}}`,
      );
    } catch (error) {
      return fail(call, error);
    }
    return call.promise;
  },

  workflow(ref, args) {
    if (over || flooded) return never;
    const call = open();
    try {
      if (nested) {
        const text = "workflow() cannot be called inside a workflow that was started by workflow(): one level only";
        throw coded(new ErrorHere(text), "nested_workflow");
      }
      const wanted = refOf(ref);
      const passed = argsOf(args);
      const index = nests[scope] ?? 0;
      nests[scope] = index + 1;
      ask(
        recordOf("workflow", call, undefined, `${scope}/w${index}`),
        `{"op":"workflow","id":${shared.nextId},"scope":${quote(scope)},${wanted}${passed}}`,
      );
    } catch (error) {
      return fail(call, error);
    }
    return call.promise;
  },

  setTimeout(callback, delay, ...rest) {
    if (typeof callback !== "function") {
      throw new TypeErrorHere("setTimeout() expects a function as the first argument");
    }
    if (shared.timers >= TIMERS_MAX) throw new RangeErrorHere(`at most ${TIMERS_MAX} timers may be pending`);
    const asked = +delay;
    const ms = asked > 0 ? (asked < TIMER_MS_MAX ? asked - (asked % 1) : TIMER_MS_MAX) : 0;
    if (over) return -1;
    const text = `{"op":"timer","id":${shared.nextId},"ms":${ms},"scope":${quote(scope)}}`;
    const id = ask({ __proto__: null, kind: "timer", callback, rest, scope }, text);
    shared.timers += 1;
    return id;
  },

  clearTimeout(id) {
    if (over || typeof id !== "number" || !isSafeInteger(id) || pending[id]?.kind !== "timer") return;
    delete pending[id];
    shared.timers -= 1;
    emit(`{"op":"clear","id":${id}}`);
  },
};

const refOf = (ref) => {
  if (typeof ref === "string" && trimmed(ref) !== "") {
    return `"name":${quote(wellFormed(clip(ref, 0, TEXT_CHARS_MAX)))}`;
  }
  const path = typeof ref === "object" && ref !== null && hasOwn(ref, "scriptPath") ? ref.scriptPath : undefined;
  if (typeof path === "string" && trimmed(path) !== "") {
    return `"script_path":${quote(wellFormed(clip(path, 0, TEXT_CHARS_MAX)))}`;
  }
  throw new TypeErrorHere("workflow() expects the name of a workflow or {scriptPath} as the first argument");
};

const argsOf = (args) => {
  if (args === undefined) return "";
  const encoded = encode(args, RESULT_DEPTH_MAX);
  const problem = encoded.problem ?? (encoded.text === undefined ? "a function or a symbol" : undefined);
  if (problem !== undefined) throw new TypeErrorHere(`workflow(): args cannot be passed on: ${problem}`);
  if (isLongerThan(encoded.text, ARGS_BYTES_MAX)) {
    throw new TypeErrorHere(`workflow(): args are longer than ${ARGS_BYTES_MAX} bytes`);
  }
  return `,"args":${encoded.text}`;
};

const lastError = {
  lastError(label) {
    return (label === undefined ? lastReason : lastReasons[`${label}`]) ?? null;
  },
}.lastError;
