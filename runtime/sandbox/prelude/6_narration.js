// phase, log, console and budget (W83 to W90, W112).

const narrate = (line) => {
  if (over) return;
  const cut = line.length > LOG_CHARS_MAX ? `${clip(line, 0, LOG_CHARS_MAX - CUT_MARK.length)}${CUT_MARK}` : line;
  const text = wellFormed(cut);
  const bytes = bytesOf(text);
  if (shared.logLines >= LOG_LINES_MAX || shared.logBytes + bytes > LOG_BYTES_MAX) {
    // Nothing is kept after the first line that was not, so that the lines that are there have no gaps.
    shared.logLines = LOG_LINES_MAX;
    shared.logsDropped += 1;
    queue.dropped += 1;
    return;
  }
  shared.logLines += 1;
  shared.logBytes += bytes;
  emit(`{"op":"log","text":${quote(text)},"nested":${nested}}`);
};
const CUT_MARK = "... [cut]";

const bytesOf = (text) => {
  let count = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = codeUnit(text, i);
    if (unit >= 0x80) count += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return count;
};

const lineOf = (message) => {
  if (typeof message === "string") return message;
  try {
    if (isError(message)) return describe(message);
    const encoded = encode(message, RESULT_DEPTH_MAX);
    return encoded.problem === undefined && encoded.text !== undefined ? encoded.text : NativeString(message);
  } catch (error) {
    if (isOutOfMemory(error)) throw error;
    return "[unprintable]";
  }
};

const speak = {
  phase(title, body) {
    if (typeof body === "function") {
      throw new TypeErrorHere("phase() is not a wrapper: call phase(title), and what follows belongs to it");
    }
    if (typeof title !== "string" || trimmed(title) === "") {
      throw new TypeErrorHere("phase() expects a title, a string that is not empty");
    }
    if (over) return;
    emit(`{"op":"phase","title":${quote(wellFormed(clip(title, 0, TEXT_CHARS_MAX)))},"nested":${nested}}`);
  },

  log(message) {
    narrate(lineOf(message));
  },
};

const say = freeze({
  say(...parts) {
    let line = "";
    for (let i = 0; i < parts.length; i++) line += (i ? " " : "") + lineOf(parts[i]);
    narrate(line);
  },
}.say);

const tellDroppedLogs = () => {
  if (queue.dropped === 0) return;
  queue.dropped = 0;
  emit(`{"op":"log","text":"","dropped":${shared.logsDropped},"nested":${nested}}`);
};

const budgetOf = (total) => ({
  total,
  spent() {
    return shared.spent;
  },
  remaining() {
    if (total === null) return Infinity;
    return total > shared.spent ? total - shared.spent : 0;
  },
});
