import { expect, test } from 'vitest'
import { metricLines } from './metricLines.ts'

const TEXT = `# HELP a_bytes Bytes.
# TYPE a_bytes gauge
a_bytes 12
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{le="0.1",route="/v1 x"} 3
took_seconds_sum 0.5
took_seconds_count 3

stray 1
`

test('every sample becomes "type value" under its name and labels', () => {
  expect(metricLines(TEXT, '')).toEqual({
    a_bytes: 'gauge 12',
    'took_seconds_bucket{le="0.1",route="/v1 x"}': 'histogram 3',
    took_seconds_sum: 'histogram 0.5',
    took_seconds_count: 'histogram 3',
    stray: 'untyped 1',
  })
})

test('a prefix leaves the others out', () => {
  expect(metricLines(TEXT, 'a_')).toEqual({ a_bytes: 'gauge 12' })
  expect(metricLines(TEXT, 'nothing')).toEqual({})
})
