// What the prelude keeps for itself before any code of a script runs, and what of the language a script does not get.
// Nothing below is looked up again later, so a script may change every prototype without reaching the prelude.

const { apply, construct, defineProperty, getPrototypeOf, ownKeys } = Reflect;
const uncurry = (fn) => (self, ...rest) => apply(fn, self, rest);

const ErrorHere = Error;
const TypeErrorHere = TypeError;
const RangeErrorHere = RangeError;
const InternalErrorHere = InternalError;
const EvalErrorHere = EvalError;
const NativePromise = Promise;
const NativeMap = Map;
const NativeSet = Set;
const PLAIN = Object.prototype;
const NativeArray = Array;
const NativeDate = Date;
const NativeString = String;
const NativeNumber = Number;
const NativeBoolean = Boolean;
const compile = eval;
const parse = JSON.parse;
const quote = JSON.stringify;
const freeze = Object.freeze;
const keysOf = Object.keys;
const hasOwn = Object.hasOwn;
const assign = Object.assign;
const isError = Error.isError;
const isArray = Array.isArray;
const isSafeInteger = Number.isSafeInteger;
const isFiniteNumber = Number.isFinite;
const joined = uncurry(Array.prototype.join);
const thenOf = uncurry(Promise.prototype.then);
const clip = uncurry(String.prototype.slice);
const trimmed = uncurry(String.prototype.trim);
const lowered = uncurry(String.prototype.toLowerCase);
const codeUnit = uncurry(String.prototype.charCodeAt);
const wellFormed = uncurry(String.prototype.toWellFormed);
const truthOf = uncurry(Boolean.prototype.valueOf);
const matches = uncurry(RegExp.prototype.exec);
const known = uncurry(WeakSet.prototype.has);
const learn = uncurry(WeakSet.prototype.add);

const SCRIPT_LINES_MAX = bounds.scriptLines;
const OPENING = '(async function () { "use strict"; ';

const property = (target, name, value, enumerable) =>
  defineProperty(target, name, { __proto__: null, value, enumerable, writable: false, configurable: false });
const locked = (target, name, value) => property(target, name, value, false);
const offered = (name, value) => property(globalThis, name, value, true);
const slot = (list, index, value) =>
  defineProperty(list, index, { __proto__: null, value, enumerable: true, writable: true, configurable: true });
const own = (record, name) => (hasOwn(record, name) ? record[name] : undefined);

// --- What goes -----------------------------------------------------------------------------------------------------

const STANDARD = new Set(
  ("Object Function Error EvalError RangeError ReferenceError SyntaxError TypeError URIError AggregateError " +
    "SuppressedError Iterator Array parseInt parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI " +
    "encodeURIComponent escape unescape Infinity NaN undefined eval Number Boolean String Math Reflect Symbol " +
    "DisposableStack AsyncDisposableStack globalThis BigInt Date RegExp JSON Proxy Map Set WeakMap WeakSet " +
    "ArrayBuffer Uint8ClampedArray Int8Array Uint8Array Int16Array Uint16Array Int32Array Uint32Array " +
    "BigInt64Array BigUint64Array Float16Array Float32Array Float64Array DataView Promise").split(" "),
);
for (const name of ownKeys(globalThis)) {
  if (typeof name === "string" && !STANDARD.has(name)) delete globalThis[name];
}

// --- Code out of strings (W31) -------------------------------------------------------------------------------------

const disable = (name, prototype) => {
  const stub = function () {
    throw new EvalErrorHere("code generation is disabled in workflow scripts");
  };
  locked(stub, "name", name);
  stub.prototype = prototype;
  locked(stub, "prototype", prototype);
  locked(prototype, "constructor", stub);
  return freeze(stub);
};
disable("AsyncFunction", getPrototypeOf(async function () {}));
disable("GeneratorFunction", getPrototypeOf(function* () {}));
disable("AsyncGeneratorFunction", getPrototypeOf(async function* () {}));
locked(globalThis, "Function", disable("Function", Function.prototype));
locked(globalThis, "eval", freeze({
  eval() {
    throw new EvalErrorHere("code generation is disabled in workflow scripts");
  },
}.eval));

// --- Clock and dice (W37, W38) -------------------------------------------------------------------------------------

const unavailable = (what, instead) =>
  new ErrorHere(`${what} is unavailable in workflow scripts, because a resumed run would go another way; ${instead}`);
const noClock = (what) => unavailable(what, "pass a timestamp in args");

function ClosedDate(...parts) {
  if (new.target === undefined) throw noClock("Date()");
  if (parts.length === 0) throw noClock("new Date() without arguments");
  return construct(NativeDate, parts, new.target);
}
locked(ClosedDate, "name", "Date");
locked(ClosedDate, "length", 7);
ClosedDate.prototype = NativeDate.prototype;
locked(ClosedDate, "prototype", NativeDate.prototype);
locked(ClosedDate, "parse", NativeDate.parse);
locked(ClosedDate, "UTC", NativeDate.UTC);
locked(ClosedDate, "now", freeze({
  now() {
    throw noClock("Date.now()");
  },
}.now));
locked(NativeDate.prototype, "constructor", ClosedDate);
locked(globalThis, "Date", freeze(ClosedDate));
locked(Math, "random", freeze({
  random() {
    throw unavailable("Math.random()", "vary by index, or pass a seed in args");
  },
}.random));

// --- Nothing depends on the place (W42) ----------------------------------------------------------------------------

const spokenAs = (prototype, name, plain) => {
  const say = uncurry(prototype[plain]);
  locked(prototype, name, freeze({
    [name]() {
      return say(this);
    },
  }[name]));
};
spokenAs(NativeDate.prototype, "toLocaleString", "toString");
spokenAs(NativeDate.prototype, "toLocaleDateString", "toDateString");
spokenAs(NativeDate.prototype, "toLocaleTimeString", "toTimeString");
spokenAs(Number.prototype, "toLocaleString", "toString");
spokenAs(BigInt.prototype, "toLocaleString", "toString");

// The frames of a script and nothing else. The prelude itself is compiled far below any line that a script can have.
ErrorHere.prepareStackTrace = (_, sites) => {
  let text = "";
  for (let i = 0; i < sites.length; i++) {
    const site = sites[i];
    const line = site.getLineNumber();
    if (site.isNative() || typeof line !== "number" || line < 1 || line > SCRIPT_LINES_MAX) continue;
    // What JSON.parse refuses has a place in its text.
    if (site.getFunction() === null && i + 1 < sites.length && sites[i + 1].getFunctionName() === "parse") continue;
    const shifted = site.getColumnNumber() - (line === 1 ? OPENING.length : 0);
    const column = shifted < 1 ? 1 : shifted;
    const name = site.getFunctionName();
    const place = `workflow.js:${line}:${column}`;
    const nameless = name === null || name === "" || name === "<anonymous>";
    text += nameless ? `    at ${place}\n` : `    at ${name} (${place})\n`;
  }
  return text;
};
locked(ErrorHere, "prepareStackTrace", undefined);
