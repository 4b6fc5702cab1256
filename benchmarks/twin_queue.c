/* The peer of twin_queue.py in C: an M/M/c queue, and nothing else.
 *
 *     twin_queue REQUESTS SEED C MEAN_NS EVERY_NS
 *
 * Events are in the heap that the twin uses, 4-ary, by time and then by the order in which they were
 * made, with a hole at the top for the first event that an event leads to. Draws are xoshiro256++
 * (Blackman, Vigna 2019) and the C library's logarithm. Prints how many nanoseconds of CPU the run
 * took, and the mean wait in ns.
 */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct { int64_t at; uint64_t order; int64_t index; int64_t kind; } Event;
enum { ARRIVAL, DEPARTURE };

static Event *heap;
static int64_t used, hole;
static uint64_t sequence;
static uint64_t state[4];

static inline uint64_t turned(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static inline uint64_t bits(void) {
    uint64_t result = turned(state[0] + state[3], 23) + state[0], t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = turned(state[3], 45);
    return result;
}

static inline double exponential(void) { return -log(((bits() >> 12) + 0.5) * 0x1p-52); }

static inline int before(const Event *a, const Event *b) {
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void fall(Event one) {
    int64_t place = 0;
    for (;;) {
        int64_t below = 4 * place + 1;
        if (below >= used) break;
        int64_t end = below + 4 < used ? below + 4 : used, least = below;
        for (int64_t i = below + 1; i < end; i++)
            if (before(&heap[i], &heap[least])) least = i;
        if (before(&one, &heap[least])) break;
        heap[place] = heap[least];
        place = least;
    }
    heap[place] = one;
}

static void push(int64_t at, int64_t kind, int64_t index) {
    Event one = {at, sequence++, index, kind};
    if (hole) {
        hole = 0;
        fall(one);
        return;
    }
    int64_t place = used++;
    while (place > 0 && before(&one, &heap[(place - 1) >> 2])) {
        heap[place] = heap[(place - 1) >> 2];
        place = (place - 1) >> 2;
    }
    heap[place] = one;
}

static void fill_hole(void) {
    hole = 0;
    used--;
    if (used > 0) fall(heap[used]);
}

int main(int count, char **words) {
    if (count != 6) return 2;
    int64_t requests = atoll(words[1]);
    uint64_t seed = strtoull(words[2], NULL, 10);
    int64_t servers = atoll(words[3]);
    double mean = atof(words[4]), every = atof(words[5]);
    for (int i = 0; i < 4; i++) { /* SplitMix64 */
        uint64_t z = (seed += 0x9E3779B97F4A7C15);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        state[i] = z ^ (z >> 31);
    }
    int64_t room = 1 << 20, head = 0, tail = 0, busy = 0, made = 0, done = 0;
    int64_t *queue = malloc(room * sizeof *queue);
    heap = malloc((servers + 2) * sizeof *heap);
    if (!queue || !heap) return 1;
    double waited = 0;
    clock_t began = clock();
    push((int64_t)(every * exponential()), ARRIVAL, 0);
    while (done < requests) {
        Event now = heap[0];
        hole = 1;
        if (now.kind == ARRIVAL) {
            if (++made < requests)
                push(now.at + (int64_t)(every * exponential()), ARRIVAL, made);
            if (busy < servers) {
                busy++;
                push(now.at + (int64_t)(mean * exponential()), DEPARTURE, made);
            } else {
                if (tail - head == room) return 1;
                queue[tail++ & (room - 1)] = now.at;
            }
        } else {
            done++;
            if (head < tail) {
                waited += (double)(now.at - queue[head++ & (room - 1)]);
                push(now.at + (int64_t)(mean * exponential()), DEPARTURE, made);
            } else {
                busy--;
            }
        }
        if (hole) fill_hole();
    }
    double took = (double)(clock() - began) / CLOCKS_PER_SEC;
    printf("%.0f %.1f\n", took * 1e9, waited / (double)requests);
    return 0;
}
