import { describe } from 'vitest'
import { seedsHold } from './hold.ts'

// Seeds that have found something, each with what it was.
describe('what was promised holds where it once did not, in the world of', () =>
  seedsHold(
    [
      // The gateway never asked a home whose slot another node had filled, so an entry stayed one copy short for ever; and it took
      // a node that refused damaged bytes for a liar.
      487,
      552, 624,
      // An entry whose content was final under another number, with a liar among its homes: official clients are told that all is
      // there, and the gateway only asked for signatures and never for a third copy.
      1240,
      1523, 1571,
    ],
    { world: 'copies', reorgDepthMax: 0 },
  ))

describe('what was promised under codes holds where it once did not, in the world of', () =>
  seedsHold(
    [
      // A home that lost its index knew the certificate of the lesser of two codes, and looked for no other.
      20101,
      // Receipts of a version of the registry that was over, of which nobody told the list: no upload could be certified any more.
      30025,
      // A stranger's bogus parity came first in the log, and a liar said that he had the data slot that was gone: readers went by the
      // data slots that the bogus one names, again and again, and never by the right one.
      61075,
      // The gateway paid for parity of what nobody had given it: an object of our own client that a reorganisation had left short of copies.
      63077,
      // Of 1+2 one slot of parity was left, at a node that had lost its index, and nobody knew the certificate: nobody computed the data.
      81058,
      // A copy beyond those of one entry's code was given up, though another entry of the same bytes asked for it.
      80751,
    ],
    { world: 'codes', reorgDepthMax: 8 },
  ))

describe('what was promised under codes holds where it once did not, without reorganisations, in the world of', () =>
  seedsHold(
    [
      // The homes of an official upload fetched copies from each other while its parity was paid for and not spread: the entry was
      // final, and its parity forgotten.
      51302,
      // Pieces of an object were read by a stranger's bogus parity and by the right one at the same time, and what the bogus one gave was
      // held against the right one.
      54866,
      // A home that had lost its index made a smaller certificate for another entry of the same bytes, and `info` told that one.
      56169,
    ],
    { world: 'codes', reorgDepthMax: 0 },
  ))

describe('what was promised under codes holds where the simulator once thought that it did not, in the world of', () =>
  seedsHold(
    [
      // Two paid for the same parity at the same time, and a home proved it by the entry of the other.
      40078,
      // Two entries of the same bytes: the certificate of the first was made before the last shard came, and that of the second keeps both.
      103907,
    ],
    { world: 'codes', reorgDepthMax: 0 },
  ))
