import { Command, CommanderError, Option } from 'commander'
import {
  parseCodeName,
  parseGrace,
  parseLineCount,
  parseListLimit,
  parseLosses,
  parseNodeCount,
  parsePortBase,
  parseRange,
  parseRoots,
  parseSeconds,
  parseSequence,
} from './arguments.ts'
import { createContext, type Context, type GlobalOptions, type Io } from './context.ts'
import { exitCodeOf, fail } from './errors.ts'
import { VERSION } from './version.ts'
import { createPrinter, toFailure, type Printer } from './print.ts'

/** Runs one command line (without node and script) and returns the exit code: 0 ok, 1 failed, 2 usage. Commands are imported
 *  when called, so that a role process loads its role and nothing else. */
export async function run(
  argv: readonly string[],
  io: Io,
  printers: (options: { readonly json: boolean }) => Printer = createPrinter,
): Promise<0 | 1 | 2> {
  // Known before parsing, because parse errors are JSON too. After `--` everything is an operand.
  const operandsFrom = argv.indexOf('--')
  const json = argv.slice(0, operandsFrom === -1 ? argv.length : operandsFrom).includes('--json')
  const printer = printers({ json })
  try {
    const verdict: { code: 0 | 1 } = { code: 0 }
    await createProgram(printer, io, verdict).parseAsync([...argv], { from: 'user' })
    return verdict.code
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    const failure = error instanceof CommanderError ? usageFailure(error) : toFailure(error)
    printer.failure(failure)
    return exitCodeOf(failure)
  }
}

/** Commander says what was wrong; help asked for with no command at all is a usage error too. */
function usageFailure(error: CommanderError): ReturnType<typeof fail> {
  const reason = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '')
  return fail('USAGE', { reason })
}

const EXAMPLES = `
Examples:
  weightless up                         the whole network on this machine
  weightless put FILE                   store a file; prints its root
  weightless get ROOT -o FILE           read it back, verified
  weightless status                     what runs, and where
  weightless down                       stop the network; 'weightless up' resumes it

Exit codes: 0 ok, 1 failed, 2 usage. With --json every command prints one JSON document on stdout.`

/** `verdict`: the exit code of a command that ends well and says that something else does not. */
function createProgram(printer: Printer, io: Io, verdict: { code: 0 | 1 }): Command {
  const program = new Command('weightless')
    .description('0G storage on your own machine: start a network, store files, read them back verified.')
    .version(VERSION)
    .option('--dir <path>', 'directory of the local network', '.weightless')
    .option('--json', 'print one JSON document on stdout; logs go to stderr', false)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      outputError: () => undefined,
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => printer.note(text.trimEnd()),
    })
    .exitOverride()
    .addHelpText('after', EXAMPLES)

  /** Subcommands inherit settings only when made by the parent, so every one is made here. */
  const command = (name: string, description: string, parent: Command = program): Command =>
    parent.command(name).description(description)
  /** Binds a lazily imported command: operands, own options, then the context. */
  const action = (target: Command, start: (context: Context, ...args: never[]) => Promise<void>): Command =>
    target.action(async (...args: unknown[]) => {
      const own = args.slice(0, -1) as never[]
      await start(createContext(target.optsWithGlobals<GlobalOptions>(), printer, io), ...own)
    })
  const timeout = (seconds: string): Option =>
    new Option('--timeout <seconds>', 'give up after this long').argParser(parseSeconds).default(parseSeconds(seconds))

  action(
    command('up', 'start the whole network on this machine; ready when it has proved itself')
      .option(
        '--port-base <port>',
        'first port: chain, +1 gateway, +2 admin, +10 storage nodes; 0 = any free ports (default: 8600)',
        parsePortBase,
      )
      .option(
        '--nodes <count>',
        'storage nodes of a new network (default: 6, or one for each slot of --code)',
        parseNodeCount,
      )
      .option(
        '--grace <seconds>',
        'of a new network: a node that is silent for twice as long is taken out of the active set (default: 30)',
        parseGrace,
      )
      .option(
        '--code <k+m>',
        'erasure code of uploads that name none, those of official clients among them; none = three copies (default: 4+2, with fewer than six nodes none)',
        parseCodeName,
      )
      .option('--reset', 'give up what the directory holds and start anew', false)
      .option('--detach', 'return when the network is ready; it runs on in the background', false)
      .addOption(timeout('60'))
      .addHelpText(
        'after',
        '\nStarting again resumes, on the same ports and with the same data. Ctrl-C or `weightless down` stops everything.',
      ),
    async (context, options: UpOptions) => {
      await (await import('./commands/up.ts')).upCommand(options, context)
    },
  )
  action(
    command('status', 'what runs, where, and how full it is')
      .option('--wait', 'wait until the network is ready', false)
      .addOption(timeout('60')),
    async (context, options: { wait: boolean; timeout: number }) =>
      (await import('./commands/status.ts')).statusCommand(options, context),
  )
  action(
    command('down', 'stop the network; its data stays').addOption(timeout('60')),
    async (context, options: { timeout: number }) => (await import('./commands/down.ts')).downCommand(options, context),
  )
  action(
    command('doctor', 'find out what is wrong, and what to do about it').addHelpText(
      'after',
      '\nLooks at versions, ports, disk, clock, chain, keys, nodes, logs and processes; works with nothing running too. Exit code 1 when something failed.',
    ),
    async (context) => {
      if ((await (await import('./commands/doctor.ts')).doctorCommand(context)) === 'ill') verdict.code = 1
    },
  )
  action(
    command('logs', 'the logs of the network or of one role')
      .argument('[role]', 'up, chain, gateway, or a storage node such as node-0')
      .option('-f, --follow', 'keep printing what is added', false)
      .option('-n, --lines <count>', 'lines per role to begin with', parseLineCount, 100),
    async (context, role: string | undefined, options: { follow: boolean; lines: number }) =>
      (await import('./commands/logs.ts')).logsCommand(role, options, context),
  )

  const node = command('node', 'storage nodes of the local network, or roles on a real machine')
  action(
    command('add', 'add a storage node', node)
      .option('--replace <id>', 'take the place of this node, which hands off what it has, leaves and is removed')
      .option('--timeout <seconds>', 'give up after this long (default: 60, with --replace 3600)', parseSeconds),
    async (context, options: { replace?: string; timeout?: number }) =>
      (await import('./commands/node.ts')).nodeAddCommand(options, context),
  )
  for (const [name, description] of [
    ['start', 'start a storage node that is down'],
    ['stop', 'stop a storage node; it stays down until it is started'],
  ] as const) {
    action(
      command(name, description, node).argument('<id>', 'such as node-0').addOption(timeout('60')),
      async (context, id: string, options: { timeout: number }) =>
        (await import('./commands/node.ts')).nodeChangeCommand(name, id, options, context),
    )
  }
  action(
    command('drain', 'take a storage node out of the active set, and wait until others have all that it has', node)
      .argument('<id>', 'such as node-0')
      .option('--no-wait', 'return at once; `weightless status` says when it is safe to remove')
      .addOption(timeout('3600'))
      .addHelpText('after', '\nWhatever ends this command, the drain goes on.'),
    async (context, id: string, options: { wait: boolean; timeout: number }) =>
      (await import('./commands/node.ts')).nodeDrainCommand(id, options, context),
  )
  action(
    command('rm', 'drain a storage node, let it leave the registry with its stake, and remove its data', node)
      .argument('<id>', 'such as node-0')
      .option('--force', 'at once, with what only this node has', false)
      .addOption(timeout('3600'))
      .addHelpText('after', '\nRefused, with nothing removed, while something would be lost with the node.'),
    async (context, id: string, options: { force: boolean; timeout: number }) =>
      (await import('./commands/node.ts')).nodeRemoveCommand(id, options, context),
  )
  action(
    command('run', 'run the roles of a configuration file in the foreground', node)
      .requiredOption('--config <file>', "our TOML, or the official storage node's TOML")
      .addOption(new Option('--exit-with-parent', 'stop when standard input ends').hideHelp().default(false)),
    async (context, options: { config: string; exitWithParent: boolean }) =>
      (await import('./commands/nodeRun.ts')).nodeRunCommand(options, context),
  )

  action(
    command('put', 'store a file; prints its root, transaction, stage and receipts')
      .argument('<file>', 'a file, or - for standard input')
      .option(
        '--code <k+m>',
        'erasure code, such as 4+2: any m of k + m nodes may be lost; none = three copies (default: that of the network, while nodes enough for it answer)',
        parseCodeName,
      )
      .option(
        '--losses <n>',
        'with --code: losses it must survive to be durable, 0 to m (default: half of m, rounded up)',
        parseLosses,
      )
      .addOption(
        new Option('--until <stage>', 'return at this stage')
          .choices(['accepted', 'anchored', 'durable', 'final'])
          .default('durable'),
      )
      .option('--key-file <file>', 'private key that signs and pays (default: accounts[1] of network.json)')
      .addOption(timeout('3600'))
      .addHelpText(
        'after',
        '\nWhatever ends it, even kill -9: the same command goes on where it was and pays once. Its state is in DIR/uploads.',
      ),
    async (context, file: string, options: PutOptions) => {
      await (await import('./commands/put.ts')).putCommand(file, options, context)
    },
  )
  action(
    command('get', 'read a file back, every segment verified before it is written')
      .argument('<roots>', 'ROOT, or ROOT,ROOT,... for the fragments of one file', parseRoots)
      .option('-o, --output <file>', 'write here; - is standard output (default: -)')
      .option('--range <A-B>', 'only bytes A to B, both included, counted from 0; A- reads to the end', parseRange)
      .addOption(timeout('3600'))
      .addHelpText(
        'after',
        '\nFILE is written beside its place, as FILE.part, and renamed when complete: a failed read leaves what was there before.\nThe same command goes on with FILE.part, after it has verified it.',
      ),
    async (context, roots: GetRoots, options: GetOptions) =>
      (await import('./commands/get.ts')).getCommand(roots, options, context),
  )
  action(
    command('ls', 'the entries of the log, oldest first')
      .option('--after <seq>', 'only entries after this sequence number', parseSequence)
      .option('--limit <count>', 'at most this many', parseListLimit, 1000)
      .addOption(timeout('60')),
    async (context, options: { after?: number; limit: number; timeout: number }) =>
      (await import('./commands/ls.ts')).lsCommand(options, context),
  )
  action(
    command('info', 'what the network knows about a root')
      .argument('<root>', '0x and 64 hex digits', parseRoots)
      .addOption(timeout('60')),
    async (context, roots: GetRoots, options: { timeout: number }) => {
      if (roots.length !== 1) throw fail('USAGE', { reason: 'info takes one root', count: roots.length })
      await (await import('./commands/info.ts')).infoCommand(roots[0]!, options, context)
    },
  )
  action(
    command('bench', 'measure this machine against the official SDK; without a name, list the scenarios')
      .argument('[name]', 'a scenario')
      .option('--quick', 'small sizes: shows that it runs, proves nothing', false),
    async (context, name: string | undefined, options: { quick: boolean }) =>
      (await import('./commands/bench.ts')).benchCommand(name, options, context),
  )

  for (const [name, description, instead] of NOT_BUILT) {
    const target = command(name, `${description} (not built yet)`)
      .argument('[words...]')
      .allowUnknownOption()
      .allowExcessArguments()
    action(target, async () => {
      throw fail('NOT_BUILT', { part: `weightless ${name}`, today: instead })
    })
  }
  return program
}

/** Parts of the contract that come later: refused, never half there. */
const NOT_BUILT = [
  ['tour', 'a guided tour', 'weightless up; weightless put FILE; weightless get ROOT'],
  ['kv', 'key-value streams', 'weightless put; weightless get'],
  ['da', 'data availability', 'weightless put; weightless get'],
  ['models', 'models on offer', 'weightless status'],
  ['chat', 'talk to a model', 'weightless status'],
] as const

export type UpOptions = {
  readonly portBase?: number
  readonly nodes?: number
  readonly grace?: number
  /** `4+2`, or `none`. */
  readonly code?: string
  readonly reset: boolean
  readonly detach: boolean
  readonly timeout: number
}
export type PutOptions = {
  /** `4+2`, or `none`. */
  readonly code?: string
  readonly losses?: number
  readonly until: 'accepted' | 'anchored' | 'durable' | 'final'
  readonly keyFile?: string
  readonly timeout: number
}
export type GetOptions = {
  readonly output?: string
  readonly range?: ReturnType<typeof parseRange>
  readonly timeout: number
}
export type GetRoots = ReturnType<typeof parseRoots>
