// Runs top_k.cu on the host: emulated SCORES INDICES ROWS M K BLOCKS ORDER.
//
// A block's threads are contexts that run one after another, each up to its next barrier, from the
// first, from the last, or in an order that is drawn anew after every barrier: what needs a barrier
// that is not there goes wrong. Behind the scores and the indices lies memory that must not be touched.

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

struct Index {
    unsigned x;
};
static Index threadIdx, blockIdx, gridDim;
#define __device__ static
#define __global__
#define __shared__ static

static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static unsigned atomicAdd(unsigned *at, unsigned value) {
    const unsigned before = *at;
    *at += value;
    return before;
}

static void __syncthreads();

#include "top_k.cu"

static const float *scores;
static unsigned *indices;
static unsigned long long rows, m, k;

struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    bool ended;
};
static Thread threads[THREADS];
static ucontext_t scheduler;

static void __syncthreads() {
    const unsigned own = threadIdx.x;
    swapcontext(&threads[own].context, &scheduler);
    threadIdx.x = own;
}

static void run() {
    const unsigned own = threadIdx.x;
    top_k(scores, indices, rows, (unsigned)m, (unsigned)k);
    threads[own].ended = true;
}

static void block(int order) {
    unsigned turns[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        turns[i] = order == 1 ? THREADS - 1 - i : i;
        Thread &own = threads[i];
        own.stack.resize(1 << 16);
        own.ended = false;
        getcontext(&own.context);
        own.context.uc_stack.ss_sp = own.stack.data();
        own.context.uc_stack.ss_size = own.stack.size();
        own.context.uc_link = &scheduler;
        makecontext(&own.context, run, 0);
    }
    for (unsigned left = THREADS; left > 0;) {
        for (unsigned i = THREADS - 1; order == 2 && i > 0; i--) {
            const unsigned other = std::rand() % (i + 1), kept = turns[i];
            turns[i] = turns[other];
            turns[other] = kept;
        }
        const unsigned before = left;
        for (unsigned turn : turns) {
            threadIdx.x = turn;
            swapcontext(&scheduler, &threads[turn].context);
            left -= threads[turn].ended;
        }
        if (left != 0 && left != before) {
            std::fprintf(stderr, "some threads ended while others wait\n");
            std::exit(3);
        }
    }
}

// Memory that ends where none may be touched.
static void *guarded(size_t bytes) {
    const size_t page = 4096, held = (bytes + page - 1) / page * page;
    char *start = (char *)mmap(0, held + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + held, page, PROT_NONE) != 0) std::exit(4);
    return start + held - bytes;
}

int main(int count, char **words) {
    if (count != 8) return 2;
    rows = std::strtoull(words[3], 0, 10);
    m = std::strtoull(words[4], 0, 10);
    k = std::strtoull(words[5], 0, 10);
    gridDim.x = (unsigned)std::atoi(words[6]);
    float *read = (float *)guarded(rows * m * sizeof(float));
    std::FILE *file = std::fopen(words[1], "rb");
    if (!file || std::fread(read, sizeof(float), rows * m, file) != rows * m) return 2;
    std::fclose(file);
    scores = read;
    indices = (unsigned *)guarded(rows * k * sizeof(unsigned));
    std::memset(indices, 0xff, rows * k * sizeof(unsigned));
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) block(std::atoi(words[7]));
    file = std::fopen(words[2], "wb");
    if (!file || std::fwrite(indices, sizeof(unsigned), rows * k, file) != rows * k) return 2;
    return std::fclose(file) == 0 ? 0 : 2;
}
