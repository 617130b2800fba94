/** What browser and kernel share. */

/** Sets traits that differ and hands them to the kernel, which may be busy, or gone. */
export function setTraits(model, patch) {
  let changed = false;
  for (const [name, value] of Object.entries(patch)) {
    if (model.get(name) === value) continue;
    model.set(name, value);
    changed = true;
  }
  if (changed) model.save_changes();
}
