/** A day of them, one each 15 seconds. */
const HEARTBEATS_LOW = 5_760

/** Whether the account of a member pays for so few heartbeats more that somebody should send it coins; not while nobody knows for how
 *  many. */
export function areFundsLow(heartbeatsLeft: number | null | undefined): boolean {
  return heartbeatsLeft != null && heartbeatsLeft < HEARTBEATS_LOW
}
