// parallel and pipeline (W70 to W82). Each item works in its own branch: `scope` is set before an item's function is
// called, and is the parent's again before the group is resolved (W158).

const listOf = (given, name) => {
  if (!isArray(given)) throw new TypeErrorHere(`${name}() expects an array as the first argument`);
  const length = given.length;
  if (length > ITEMS_MAX) throw new RangeErrorHere(`${name}() takes at most ${ITEMS_MAX} items, not ${length}`);
  const list = { __proto__: null, length };
  for (let i = 0; i < length; i++) list[i] = given[i];
  return list;
};

const needFunction = (value, place, hint) => {
  if (typeof value === "function") return;
  const what = value === null ? "null" : isError(value) ? "an error" : isThenable(value) ? "a promise" : typeof value;
  throw new TypeErrorHere(`${place} is not a function but ${what}; ${hint}`);
};
const isThenable = (value) => typeof value === "object" && value !== null && value instanceof NativePromise;

const beginGroup = (call, name, count) => {
  const parent = scope;
  const index = groups[parent] ?? 0;
  const group = `${parent}/${index}`;
  if (group.length > SCOPE_CHARS_MAX) {
    throw coded(new RangeErrorHere("parallel() and pipeline() are nested too deeply"), "limit");
  }
  groups[parent] = index + 1;
  emit(`{"op":"group","scope":${quote(parent)},"group":${quote(group)},"items":${count}}`);
  const results = new NativeArray(count);
  for (let i = 0; i < count; i++) slot(results, i, null);
  const told = `${name}()${placeIn(new ErrorHere().stack)}`;
  return { __proto__: null, call, parent, group, told, results, left: count };
};

const enterItem = (place, index) => {
  scope = `${place.group}.${index}`;
};

const settleItem = (place, index, value) => {
  slot(place.results, index, value);
  place.left -= 1;
  if (place.left > 0) return;
  scope = place.parent;
  place.call.resolve(place.results);
};

const dropItem = (place, index, error) => {
  if (isOutOfMemory(error)) outOfMemory = true;
  tellDropped(place, index, error);
  settleItem(place, index, null);
};

// What the API itself refused is in the census; what the script got wrong would be silent without this.
const tellDropped = (place, index, error) => {
  if (over || (typeof error === "object" && error !== null && known(ours, error))) return;
  if (shared.throwsTold >= THROWS_TOLD_MAX) return;
  shared.throwsTold += 1;
  warn("item_threw", `item ${index} of ${place.told} is null, because it threw ${placed(error)}`);
};

const watch = (start, resolved, rejected) => {
  let value;
  try {
    value = start();
  } catch (error) {
    rejected(error);
    return;
  }
  thenOf(new Call((resolve) => resolve(value)), resolved, rejected);
};

const runStage = (place, work, index, stage, previous) => {
  enterItem(place, index);
  watch(
    () => apply(work.stages[stage], undefined, [previous, work.items[index], index]),
    (result) => {
      const ended = stage + 1 === work.stages.length || (result === null && program.pipelineNull === "stop");
      if (ended) settleItem(place, index, result);
      else runStage(place, work, index, stage + 1, result);
    },
    (error) => dropItem(place, index, error),
  );
};

const combine = {
  parallel(thunks) {
    if (over || flooded) return never;
    const call = open();
    try {
      const list = listOf(thunks, "parallel");
      for (let i = 0; i < list.length; i++) needFunction(list[i], `parallel(): element ${i}`, "write () => agent(...)");
      if (list.length === 0) {
        call.resolve([]);
        return call.promise;
      }
      const place = beginGroup(call, "parallel", list.length);
      for (let i = 0; i < list.length; i++) {
        enterItem(place, i);
        watch(
          () => apply(list[i], undefined, []),
          (value) => settleItem(place, i, value),
          (error) => dropItem(place, i, error),
        );
      }
      scope = place.parent;
    } catch (error) {
      return fail(call, error);
    }
    return call.promise;
  },

  pipeline(given, ...stages) {
    if (over || flooded) return never;
    const call = open();
    try {
      const items = listOf(given, "pipeline");
      if (stages.length === 0) throw new TypeErrorHere("pipeline() expects at least one stage after the array");
      const hint = "write (previous, item, index) => ...";
      for (let i = 0; i < stages.length; i++) needFunction(stages[i], `pipeline(): stage ${i + 1}`, hint);
      if (items.length === 0) {
        call.resolve([]);
        return call.promise;
      }
      const place = beginGroup(call, "pipeline", items.length);
      const work = { __proto__: null, items, stages };
      for (let i = 0; i < items.length; i++) runStage(place, work, i, 0, items[i]);
      scope = place.parent;
    } catch (error) {
      return fail(call, error);
    }
    return call.promise;
  },
};
