// How the driver speaks to this context: one function that no script can reach. Texts in, texts and numbers out.

const deepFrozen = (top) => {
  const waiting = { __proto__: null, 0: top };
  for (let count = 1; count > 0; ) {
    const value = waiting[--count];
    if (typeof value !== "object" || value === null) continue;
    const keys = keysOf(value);
    for (let i = 0; i < keys.length; i++) waiting[count++] = value[keys[i]];
    freeze(value);
  }
  return top;
};

let ended = "";

const finish = (text) => {
  if (over) return;
  tellLoose();
  tellDroppedLogs();
  ended = text;
  over = true;
};

const threw = (error) => {
  // A heap that is too full for an error throws null, and a script that throws null looks the same.
  if (isOutOfMemory(error) || error === null) outOfMemory = true;
  finish(`{"end":"threw","message":${quote(describe(error))},"stack":${quote(stackOf(error))}}`);
};

const returned = (value) => {
  if (value === undefined) return finish('{"end":"returned","value":null}');
  const encoded = encode(value, RESULT_DEPTH_MAX);
  const problem = encoded.problem ?? (encoded.text === undefined ? `a ${typeof value} at $` : undefined);
  if (problem !== undefined) {
    const message = quote(shortened(`the result cannot be JSON: ${problem}`));
    return finish(`{"end":"threw","code":"result_not_serializable","message":${message}}`);
  }
  if (encoded.lost > 0) {
    const more = encoded.lost > LOSSES_TOLD_MAX ? ` and ${encoded.lost - LOSSES_TOLD_MAX} more` : "";
    warn("result_lossy", `JSON does not hold all of the result: ${encoded.losses}${more}`);
  }
  return finish(`{"end":"returned","value":${encoded.text}}`);
};

const guarded = (end) => (value) => {
  try {
    end(value);
  } catch (error) {
    if (isOutOfMemory(error)) outOfMemory = true;
    else finish(`{"end":"threw","message":${quote(describe(error))}}`);
  }
};

const start = (text, index, root) => {
  program = parse(text);
  nested = index;
  scope = root;
  shared.spent = program.spent;
  for (const group of [api, combine, speak]) {
    for (const name of keysOf(group)) offered(name, group[name]);
  }
  defineProperty(api.agent, "lastError", { __proto__: null, value: freeze(lastError) });
  for (const group of [api, combine, speak]) for (const name of keysOf(group)) freeze(group[name]);
  offered("console", freeze({ log: say, info: say, warn: say, error: say }));
  const budget = budgetOf(program.total);
  freeze(budget.spent);
  freeze(budget.remaining);
  offered("budget", freeze(budget));
  offered("meta", deepFrozen(own(program, "meta")));
  offered("args", own(program, "args"));
  begin(program.body);
};

const begin = (body) => {
  let main;
  try {
    main = compile(`${OPENING}${body}\n})`);
  } catch (error) {
    return guarded(threw)(error);
  }
  program.body = "";
  return watch(() => apply(main, undefined, []), guarded(returned), guarded(threw));
};

const fire = (timer) => {
  shared.timers -= 1;
  try {
    apply(timer.callback, undefined, timer.rest);
  } catch (error) {
    if (isOutOfMemory(error)) outOfMemory = true;
    else if (!over) warn("unhandled_rejection", `a timer's function threw ${placed(error)}`);
  }
};

const remember = (label, reason) => {
  lastReason = reason;
  if (label === undefined) return;
  if (reason === undefined) delete lastReasons[label];
  else lastReasons[label] = reason;
};

const deliver = (text) => {
  const settled = parse(text);
  const record = pending[settled.id];
  shared.spent = own(settled, "spent") ?? 0;
  if (record === undefined) return;
  delete pending[settled.id];
  scope = settled.scope;
  if (record.kind === "timer") return fire(record);
  const thrown = own(settled, "thrown");
  remember(record.label, thrown === undefined ? own(settled, "reason") : own(thrown, "code"));
  if (thrown === undefined) return record.call.resolve(own(settled, "value"));
  const error = thrownError(thrown, record.place);
  if (record.kind === "agent") learn(ours, error);
  return fail(record.call, error);
};

// A nested workflow ended: what it returned or threw is settled here as if the host had sent it.
const conclude = (id, text) => {
  const record = pending[id];
  delete pending[id];
  scope = record.scope;
  const end = parse(text);
  if (own(end, "end") === "returned") return record.call.resolve(own(end, "value"));
  const message = `${own(end, "message")}${placeIn(own(end, "stack") ?? "", " of the nested workflow")}`;
  const thrown = { __proto__: null, message, code: own(end, "code") ?? "nested_workflow" };
  return fail(record.call, thrownError(thrown, record.place));
};

// The engine joins long strings lazily, and its binding takes none that is not joined yet.
const flat = (text) => joined({ __proto__: null, 0: text, length: 1 }, "");

// JSON.stringify of an object would look at Array.prototype.
const sharedText = () => {
  let text = "";
  for (let i = 0; i < SHARED_NAMES.length; i++) {
    text += `${i ? "," : ""}"${SHARED_NAMES[i]}":${shared[SHARED_NAMES[i]]}`;
  }
  return `{${text}}`;
};
const SHARED_NAMES = keysOf(shared);

// The state that all contexts share, how this one stands, whether there is more to take, and some of the operations.
const take = () => {
  if (!flooded && !over) tellDroppedLogs();
  let text = "";
  while (queue.first < queue.last && text.length < SLICE_CHARS) {
    text += (text ? "," : "") + queue.texts[queue.first];
    delete queue.texts[queue.first];
    queue.first += 1;
  }
  const more = queue.first < queue.last ? 1 : 0;
  if (!more) queue.first = queue.last = queue.chars = queue.count = 0;
  const standing = flooded ? "flooded" : outOfMemory ? "memory" : over ? "ended" : "waiting";
  return flat(`${shared.nextId} ${standing} ${more} ${sharedText()}\n${text}`);
};

return (verb, first, second, third) => {
  switch (verb) {
    case "start":
      return start(first, second, third);
    case "deliver":
      return deliver(first);
    case "conclude":
      return conclude(first, second);
    case "enter":
      return assign(shared, parse(first));
    case "take":
      return take();
    case "over":
      return over || outOfMemory || flooded;
    case "flooded":
      return flooded;
    case "inner":
      return pending[first]?.inner;
    default:
      return flat(ended);
  }
};
