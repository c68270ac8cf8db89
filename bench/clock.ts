/** Milliseconds, the same in all threads of a process. */
export const clock = (): number => performance.timeOrigin + performance.now();
