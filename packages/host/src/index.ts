export { nodeBytes } from './base64.ts'
export { aesCtr } from './cipher.ts'
export * from './child.ts'
export { systemClock } from './clock.ts'
export { crc32 } from './crc32.ts'
export { lockDirectory, type DirectoryLock, type LockOptions } from './directoryLock.ts'
export { nodeDisk } from './disk.ts'
export { hostErrors } from './errors.ts'
export { openFileSource, type FileSource } from './fileSource.ts'
export { createPrivateKey, ensureDirectory, readPrivateKey, writeFileAtomic, type WriteFileOptions } from './files.ts'
export { headFeed, type Head, type HeadFeedDeps, type HeadFeedOptions } from './headFeed.ts'
export {
  HTTP_LIMITS,
  serveHttp,
  type HttpHandler,
  type HttpInfo,
  type HttpLimits,
  type HttpServer,
  type ServeHttpOptions,
} from './http.ts'
export { openLmdbIndex, type LmdbOptions } from './lmdbIndex.ts'
export { createLogger, type LoggerOptions, type LogLevel } from './log.ts'
export { createMetrics, type HistogramSettings, type Labels, type Metrics, type MetricsOptions } from './metrics.ts'
export { systemNet } from './net.ts'
export { platform, resolvePackageFile, type Platform } from './packageFile.ts'
export { exitWithParent } from './parent.ts'
export { openPastCache, type PastCache } from './pastCache.ts'
export { freePorts, isPortFree } from './ports.ts'
export { isProcess } from './process.ts'
export { systemRandom } from './random.ts'
export { withRelaxedSimd } from './relaxedSimd.ts'
export { createSpoolFile, type SpoolFile } from './spool.ts'
export { parseToml } from './toml.ts'
export * from './websocket.ts'
export * from './workers.ts'
