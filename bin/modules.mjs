// How this program's modules are found. Node reads a package's description anew for every file that it loads of it, and
// that of drizzle-orm takes it a millisecond each time, for 300 files: half a second of a start that takes one. Its form
// for CommonJS is the same code in files for which Node does not look. Tests load this, too.
import module from 'node:module';

const found = new Map();

module.registerHooks({
  resolve(name, context, next) {
    if (!name.startsWith('drizzle-orm')) return next(name, context);
    if (!found.has(name)) found.set(name, { ...next(name, { ...context, conditions: ['node', 'require'] }), shortCircuit: true });
    return found.get(name);
  },
});
