import { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** Counters, gauges and histograms of one process, and their Prometheus text. Names carry base units: `_seconds`, `_bytes`, `_total`. */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const registry = new Registry()
  if (options.processMetrics ?? true) addProcessMetrics(registry)
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    counter: (name, help, labelNames = []) => {
      const counter = new Counter({ name, help, labelNames: [...labelNames], registers: [registry] })
      return { inc: (by = 1, labels = {}) => counter.inc(labels, by) }
    },
    gauge: (name, help, labelNames = []) => {
      const gauge = new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] })
      return { set: (value, labels = {}) => gauge.set(labels, value) }
    },
    gaugeOf: (name, help, read) => {
      registry.registerMetric(
        new Gauge({
          name,
          help,
          registers: [],
          collect() {
            this.set(read())
          },
        }),
      )
    },
    gaugesOf: (name, help, label, read) => {
      registry.registerMetric(
        new Gauge({
          name,
          help,
          labelNames: [label],
          registers: [],
          collect() {
            for (const [value, amount] of Object.entries(read())) this.set({ [label]: value }, amount)
          },
        }),
      )
    },
    histogram: (name, help, settings = {}) => {
      const buckets = [...(settings.buckets ?? SECONDS_BUCKETS)]
      const histogram = new Histogram({
        name,
        help,
        labelNames: [...(settings.labelNames ?? [])],
        buckets,
        registers: [registry],
      })
      return { observe: (value, labels = {}) => histogram.observe(labels, value) }
    },
  }
}

export type MetricsOptions = { readonly processMetrics?: boolean | undefined }
export type Labels = { readonly [name: string]: string | number }
export type Metrics = {
  readonly contentType: string
  render(): Promise<string>
  counter(name: string, help: string, labelNames?: readonly string[]): { inc(by?: number, labels?: Labels): void }
  gauge(name: string, help: string, labelNames?: readonly string[]): { set(value: number, labels?: Labels): void }
  /** A gauge whose value is read when somebody asks. */
  gaugeOf(name: string, help: string, read: () => number): void
  /** One gauge for each value of a label; the values are always the same few. */
  gaugesOf(name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void
  histogram(name: string, help: string, settings?: HistogramSettings): { observe(value: number, labels?: Labels): void }
}
export type HistogramSettings = { readonly labelNames?: readonly string[]; readonly buckets?: readonly number[] }

/** From a page-cache read to the longest answer that a client waits for. */
const SECONDS_BUCKETS: readonly number[] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Four numbers, read on request only: prom-client's own set keeps timers and observers running. */
function addProcessMetrics(registry: Registry): void {
  const add = (name: string, help: string, read: () => number): void => {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(read())
        },
      }),
    )
  }
  add('process_cpu_seconds', 'CPU time of this process, user and system.', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  add('process_resident_memory_bytes', 'Memory of this process in RAM.', () => process.memoryUsage.rss())
  add('process_heap_used_bytes', 'Memory of JavaScript objects.', () => process.memoryUsage().heapUsed)
  add('process_uptime_seconds', 'Time since this process started.', () => process.uptime())
}
