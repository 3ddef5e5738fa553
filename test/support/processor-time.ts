/** Processor time of this process so far, in ms. A bound on work holds by it also while other processes have the cores. */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
