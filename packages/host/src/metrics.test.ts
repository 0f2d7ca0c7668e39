import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'

test('counters, gauges and histograms are rendered as Prometheus text', async () => {
  const metrics = createMetrics({ processMetrics: false })
  const written = metrics.counter('storage_segments_written_total', 'Segments written.', ['result'])
  written.inc(1, { result: 'ok' })
  written.inc(2, { result: 'ok' })
  metrics.gauge('storage_peers', 'Peers.').set(6)
  metrics.gaugeOf('storage_used_bytes', 'Bytes.', () => 42)
  metrics.gaugesOf('storage_object_bytes', 'Bytes.', 'losses', () => ({ lost: 0, '2': 7 }))
  metrics.histogram('storage_segment_write_seconds', 'Time.', { buckets: [0.1, 1] }).observe(0.5)
  const text = await metrics.render()
  for (const line of [
    '# HELP storage_segments_written_total Segments written.',
    'storage_segments_written_total{result="ok"} 3',
    'storage_peers 6',
    'storage_used_bytes 42',
    'storage_object_bytes{losses="lost"} 0',
    'storage_object_bytes{losses="2"} 7',
    'storage_segment_write_seconds_bucket{le="0.1"} 0',
    'storage_segment_write_seconds_bucket{le="1"} 1',
    'storage_segment_write_seconds_sum 0.5',
  ])
    expect(text.split('\n')).toContain(line)
  expect(metrics.contentType).toContain('text/plain')
})

test('two sets of metrics in one process know nothing of each other', async () => {
  const [one, two] = [createMetrics({ processMetrics: false }), createMetrics({ processMetrics: false })]
  one.counter('a_total', 'A.').inc()
  two.counter('a_total', 'A.')
  expect(await two.render()).toContain('a_total 0')
})

test('the process tells its memory, its CPU time and its age', async () => {
  const text = await createMetrics().render()
  for (const name of [
    'process_cpu_seconds',
    'process_resident_memory_bytes',
    'process_heap_used_bytes',
    'process_uptime_seconds',
  ]) {
    expect(Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])).toBeGreaterThan(0)
  }
})
