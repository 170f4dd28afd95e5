// Indices of the k largest of every row of `scores` [rows, m], ascending, to `indices` [rows, k];
// 1 <= k <= m. NaN, of either sign, is the largest of all; 0 and -0 are equal; of equals the lower
// index is kept. A block takes a row at a time and reads it five times: four times to find the k-th
// largest, eight bits of its key a time, and once to write down what is above it.

const unsigned THREADS = 256;  // a bin of the histogram each, and a power of two
const unsigned ITEMS = 8;      // neighbours that a thread takes in the last pass

// A number that orders as the score does.
__device__ unsigned key_of(float score) {
    if (score != score) return 0xffffffffu;
    if (score == 0.0f) return 0x80000000u;
    const unsigned bits = __float_as_uint(score);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The sum of `own` over this thread and those before it; that of all threads in `sums[THREADS - 1]`
// until the next barrier.
__device__ unsigned sum_up_to(unsigned own, unsigned *sums) {
    const unsigned thread = threadIdx.x;
    sums[thread] = own;
    __syncthreads();
    for (unsigned step = 1; step < THREADS; step *= 2) {
        const unsigned before = thread >= step ? sums[thread - step] : 0;
        __syncthreads();
        own += before;
        sums[thread] = own;
        __syncthreads();
    }
    return own;
}

extern "C" __global__ void top_k(const float *scores, unsigned *indices, unsigned long long rows,
                                 unsigned m, unsigned k) {
    __shared__ unsigned histogram[THREADS];
    __shared__ unsigned sums[THREADS];
    __shared__ unsigned chosen[2];
    const unsigned thread = threadIdx.x;

    for (unsigned long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *own = scores + row * m;
        unsigned *out = indices + row * k;

        // The k-th largest key, from its highest bits down: of those that share the bits found so
        // far, the `wanted` largest are among the k.
        unsigned bar = 0, found = 0, wanted = k;
        for (int shift = 24; shift >= 0; shift -= 8) {
            histogram[thread] = 0;
            __syncthreads();
            for (unsigned long long i = thread; i < m; i += THREADS) {
                const unsigned key = key_of(own[i]);
                if ((key & found) == bar) atomicAdd(&histogram[(key >> shift) & 0xff], 1u);
            }
            __syncthreads();
            // Summed from the highest bin down, thread 0 has bin 255.
            const unsigned bin = THREADS - 1 - thread, count = histogram[bin];
            const unsigned up_to = sum_up_to(count, sums), above = up_to - count;
            if (above < wanted && wanted <= up_to) {
                chosen[0] = bin;
                chosen[1] = wanted - above;
            }
            __syncthreads();
            bar |= chosen[0] << shift;
            found |= 0xffu << shift;
            wanted = chosen[1];
        }

        // All above the bar, and the first `wanted` at it, tile by tile. Two counts share a number:
        // a tile has 2,048 entries.
        unsigned larger = 0, equal = 0;
        for (unsigned long long tile = 0; tile < m; tile += THREADS * ITEMS) {
            const unsigned long long first = tile + thread * ITEMS;
            unsigned counts = 0;
            for (unsigned item = 0; item < ITEMS && first + item < m; item++) {
                const unsigned key = key_of(own[first + item]);
                counts += key > bar ? 1u : key == bar ? 1u << 16 : 0u;
            }
            const unsigned before = sum_up_to(counts, sums) - counts, all = sums[THREADS - 1];
            unsigned larger_here = larger + (before & 0xffff), equal_here = equal + (before >> 16);
            for (unsigned item = 0; item < ITEMS && first + item < m && counts != 0; item++) {
                const unsigned key = key_of(own[first + item]);
                const bool at_bar = key == bar && equal_here < wanted;
                if (key > bar || at_bar) {
                    out[larger_here + (equal_here < wanted ? equal_here : wanted)] =
                        (unsigned)(first + item);
                }
                larger_here += key > bar;
                equal_here += key == bar;
            }
            larger += all & 0xffff;
            equal += all >> 16;
            __syncthreads();
            if (larger + wanted == k && equal >= wanted) break;
        }
    }
}
