// The peer of `weightless bench erasure`: Intel's ISA-L on one thread, tables prepared once, on the same bytes as ours.
//   cc -O2 -o isal packages/cli/bench/isal.c -lisal     (Debian: libisal-dev)
//   WEIGHTLESS_ISAL=./isal npm run bench -- erasure
// Arguments: k, m, bytes of a shard, milliseconds to spend on each of the two. Prints
//   {"encode":MB/s of data,"decode":the same,"encodeAvx2":with 32 bytes at once,"encodeSse":with 16,
//    "widest":"what this processor lets ISA-L use","parity":"FNV-1a of the parity"}
// by CPU time. Decoding rebuilds the first min(k, m) data shards from what is left; what the processor lacks is 0.
#include <isa-l.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void Combine(int length, int k, int rows, unsigned char *tables, unsigned char **in, unsigned char **out);

static double rate(Combine *combine, int ms, int length, int k, int rows, unsigned char *tables, unsigned char **in,
                   unsigned char **out) {
  combine(length, k, rows, tables, in, out);
  const clock_t started = clock();
  clock_t now;
  long passes = 0;
  do {
    for (int i = 0; i < 4; i++, passes++) combine(length, k, rows, tables, in, out);
    now = clock();
  } while (now - started < (clock_t)ms * (CLOCKS_PER_SEC / 1000));
  return (double)passes * k * length / ((double)(now - started) / CLOCKS_PER_SEC) / 1e6;
}

static unsigned char *rowOf(int length) {
  unsigned char *row = aligned_alloc(64, ((size_t)length + 63) / 64 * 64);
  if (row == NULL) exit(1);
  return row;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const int k = atoi(argv[1]), m = atoi(argv[2]), length = atoi(argv[3]), ms = atoi(argv[4]);
  if (k < 1 || m < 1 || k + m > 255 || length < 1) return 2;
  const int lost = k < m ? k : m;
  unsigned char *matrix = malloc((size_t)(k + m) * k), *kept = malloc((size_t)k * k), *inverse = malloc((size_t)k * k);
  unsigned char *tables = malloc((size_t)32 * k * m);
  unsigned char *shards[256], *rebuilt[256];
  uint32_t state = 1;
  for (int i = 0; i < k + m; i++) shards[i] = rowOf(length);
  for (int i = 0; i < lost; i++) rebuilt[i] = rowOf(length);
  for (int i = 0; i < k; i++) {
    for (int at = 0; at < length; at++) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      shards[i][at] = (unsigned char)state;
    }
  }
  gf_gen_cauchy1_matrix(matrix, k + m, k);
  ec_init_tables(k, m, matrix + k * k, tables);
  double encodeAvx2 = 0, encodeSse = 0;
  const char *widest = "";
#ifdef __x86_64__
  if (__builtin_cpu_supports("ssse3")) {
    widest = "SSE";
    encodeSse = rate(ec_encode_data_sse, ms, length, k, m, tables, shards, shards + k);
  }
  if (__builtin_cpu_supports("avx2")) {
    widest = __builtin_cpu_supports("avx512bw") ? "AVX-512" : "AVX2";
    encodeAvx2 = rate(ec_encode_data_avx2, ms, length, k, m, tables, shards, shards + k);
  }
#endif
  const double encode = rate(ec_encode_data, ms, length, k, m, tables, shards, shards + k);
  uint32_t sum = 2166136261u;
  for (int j = 0; j < m; j++)
    for (int at = 0; at < length; at++) sum = (sum ^ shards[k + j][at]) * 16777619u;

  // What is left: data shards from `lost` on, then as many parity shards as are needed.
  memcpy(kept, matrix + (size_t)lost * k, (size_t)k * k);
  if (gf_invert_matrix(kept, inverse, k) != 0) return 1;
  ec_init_tables(k, lost, inverse, tables);
  const double decode = rate(ec_encode_data, ms, length, k, lost, tables, shards + lost, rebuilt);
  for (int i = 0; i < lost; i++)
    if (memcmp(rebuilt[i], shards[i], length) != 0) return 1;
  printf("{\"encode\":%.1f,\"decode\":%.1f,\"encodeAvx2\":%.1f,\"encodeSse\":%.1f,\"widest\":\"%s\",\"parity\":\"%08x\"}\n",
         encode, decode, encodeAvx2, encodeSse, widest, sum);
  return 0;
}
