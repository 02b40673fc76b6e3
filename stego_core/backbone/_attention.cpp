// Attention in bfloat16 on processors that multiply it: softmax(scale · Q Kᵀ) V.
//
// Written by hand because torch's CPU kernel takes a quarter of a vision transformer's time, three
// to four times what the products need, and torch.compile needs a minute and a compiler.
//
// For each head, K and V are rearranged once as the instructions read them: pairs of values that are
// multiplied and added in one go lie side by side. Then sixteen queries at a time, which stay in the
// first cache: their scores with all keys, the softmax, and the mean of the values. Products sum in
// float32; the weights of the mean are rounded to bfloat16, as the instructions take nothing else.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && __GNUC__ >= 11
#define COMPILED 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace py = pybind11;

namespace {

#ifdef COMPILED
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")

constexpr int ROWS = 16;   // queries of a block; columns of a tile
constexpr int PAIRS = 16;  // pairs of bfloat16 in a row of 64 bytes
constexpr int TILE = ROWS * PAIRS;

struct Shape {
    int64_t batch, heads, tokens, depth;
    int64_t queries() const { return (tokens + ROWS - 1) / ROWS; }
    int64_t deep() const { return (depth + 31) / 32; }       // steps of 32 channels
    int64_t long_steps() const { return (tokens + 31) / 32; }  // steps of 32 keys
    int64_t width() const { return 32 * long_steps(); }        // keys, filled up
    int64_t columns() const { return (depth + 15) / 16; }
};

// Memory for tiles, aligned to lines of the cache; not set to zero.
struct Tiles {
    std::unique_ptr<uint32_t[]> store;
    uint32_t* at;
    explicit Tiles(int64_t count) : store(new uint32_t[TILE * count + PAIRS]) {
        at = reinterpret_cast<uint32_t*>((reinterpret_cast<uintptr_t>(store.get()) + 63) / 64 * 64);
    }
};

// Where tokens of a head begin: bfloat16 with these distances between batches, heads and tokens.
struct View {
    const uint16_t* data;
    int64_t batch, head, token;
    const uint16_t* at(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

// Rows of keys or queries, filled up with zeros to whole tiles: (blocks, steps, 16 rows, 32).
void pack_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t depth, uint32_t* to) {
    const int64_t steps = (depth + 31) / 32;
    for (int64_t block = 0; block * ROWS < rows; block++)
        for (int64_t step = 0; step < steps; step++, to += TILE) {
            const int64_t left = std::min<int64_t>(32, depth - 32 * step);
            const __mmask32 some = left == 32 ? ~0u : (1u << left) - 1;
            for (int64_t row = 0; row < ROWS; row++) {
                const int64_t token = block * ROWS + row;
                const __m512i values =
                    token < rows ? _mm512_maskz_loadu_epi16(some, from + token * stride + 32 * step)
                                 : _mm512_setzero_si512();
                _mm512_store_si512(to + row * PAIRS, values);
            }
        }
}

// Tiles whose rows become columns: pair p of token t goes to row p, column t.
void transpose_tiles(uint32_t* tiles, int64_t count) {
    alignas(64) uint32_t turned[TILE];
    for (int64_t tile = 0; tile < count; tile++, tiles += TILE) {
        for (int row = 0; row < ROWS; row++)
            for (int column = 0; column < PAIRS; column++)
                turned[row * PAIRS + column] = tiles[column * PAIRS + row];
        std::memcpy(tiles, turned, sizeof turned);
    }
}

// Values: (steps of 32 tokens, columns of 16 channels, 16 pairs of tokens, 16 channels, 2).
void pack_values(const uint16_t* from, int64_t stride, const Shape& shape, uint32_t* to) {
    for (int64_t step = 0; step < shape.long_steps(); step++)
        for (int64_t column = 0; column < shape.columns(); column++, to += TILE) {
            const int64_t left = std::min<int64_t>(16, shape.depth - 16 * column);
            const __mmask16 some = static_cast<__mmask16>((1u << left) - 1);
            for (int64_t pair = 0; pair < 16; pair++) {
                __m512i both[2];
                for (int64_t which = 0; which < 2; which++) {
                    const int64_t token = 32 * step + 2 * pair + which;
                    both[which] = _mm512_setzero_si512();
                    if (token < shape.tokens)
                        both[which] = _mm512_cvtepu16_epi32(
                            _mm256_maskz_loadu_epi16(some, from + token * stride + 16 * column));
                }
                _mm512_store_si512(to + pair * PAIRS,
                                   _mm512_or_si512(both[0], _mm512_slli_epi32(both[1], 16)));
            }
        }
}

// 2^x for x ≤ 0, to 1e-4 of its value, a twentieth of bfloat16's step: 2^whole · 2^part with part in
// [−½, ½].
inline __m512 power_of_two(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
    const __m512 part = _mm512_sub_ps(x, whole);
    __m512 y = _mm512_set1_ps(5.5171669e-2f);
    y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(2.4261411e-1f));
    y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(6.9326098e-1f));
    y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(9.9992807e-1f));
    return _mm512_scalef_ps(y, whole);
}

// Rows of scores become weights in bfloat16, tile after tile; `one` is 1 / their sums.
void softmax(float* scores, const Shape& shape, float scale, uint32_t* weights, float* one) {
    const int64_t width = shape.width(), last = shape.tokens / 16 * 16;
    const __mmask16 beyond = static_cast<__mmask16>(~0u << (shape.tokens - last));
    const __m512 factor = _mm512_set1_ps(scale * 1.44269504f), never = _mm512_set1_ps(-HUGE_VALF);
    for (int row = 0; row < ROWS; row++, scores += width) {
        if (last < width) _mm512_mask_storeu_ps(scores + last, beyond, never);
        if (last + 16 < width) _mm512_storeu_ps(scores + last + 16, never);
        __m512 most = never;
        for (int64_t first = 0; first < width; first += 16)
            most = _mm512_max_ps(most, _mm512_loadu_ps(scores + first));
        const __m512 top = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(most)), factor);
        const auto weight = [&](int64_t first) {
            return power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + first), factor, top));
        };
        __m512 sum = _mm512_setzero_ps();
        for (int64_t step = 0; step < shape.long_steps(); step++) {
            const __m512 low = weight(32 * step), high = weight(32 * step + 16);
            sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
            const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
            _mm512_store_si512(weights + step * TILE + row * PAIRS, (__m512i)both);
        }
        one[row] = 1 / _mm512_reduce_add_ps(sum);
    }
}

// Sums of products of tiles: for each of up to four `blocks`, Σ over steps of a × b, (16, 16)
// float32 with `stride` floats from row to row. Four sums at once, as each product waits for the one
// before it.
void multiply(const uint32_t* a, const uint32_t* b, int64_t b_step, int64_t b_block, int64_t steps,
              int64_t blocks, float* to, int64_t stride) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; step++, a += TILE, b += b_step) {
        _tile_loadd(4, a, 64);
        _tile_loadd(5, b, 64);
        _tile_dpbf16ps(0, 4, 5);
        if (blocks > 1) {
            _tile_loadd(6, b + b_block, 64);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (blocks > 2) {
            _tile_loadd(7, b + 2 * b_block, 64);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (blocks > 3) {
            _tile_loadd(5, b + 3 * b_block, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, to, 4 * stride);
    if (blocks > 1) _tile_stored(1, to + 16, 4 * stride);
    if (blocks > 2) _tile_stored(2, to + 32, 4 * stride);
    if (blocks > 3) _tile_stored(3, to + 48, 4 * stride);
}

void configure_tiles() {
    static const struct alignas(64) {  // static: GCC 12 would leave out part of a local one
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } tiles;
    _tile_loadconfig(&tiles);
}

// Of some heads, numbered through all batches; the outcome (batch, tokens, heads, depth).
void attend(const View& q, const View& k, const View& v, uint16_t* out, const Shape& shape,
            float scale, int64_t begin, int64_t end) {
    const int64_t deep = shape.deep(), width = shape.width(), columns = shape.columns();
    Tiles keys(shape.queries() * deep), values(shape.long_steps() * columns);
    Tiles queries(deep), weights(shape.long_steps());
    std::vector<float> scores(ROWS * width), sums(ROWS * 16 * columns);
    float one[ROWS];
    for (int64_t number = begin; number < end; number++) {
        const int64_t b = number / shape.heads, h = number % shape.heads;
        pack_rows(k.at(b, h), k.token, shape.tokens, shape.depth, keys.at);
        transpose_tiles(keys.at, shape.queries() * deep);
        pack_values(v.at(b, h), v.token, shape, values.at);
        configure_tiles();
        for (int64_t first = 0; first < shape.tokens; first += ROWS) {
            const int64_t rows = std::min<int64_t>(ROWS, shape.tokens - first);
            pack_rows(q.at(b, h) + first * q.token, q.token, rows, shape.depth, queries.at);
            for (int64_t block = 0; block < shape.queries(); block += 4)
                multiply(queries.at, keys.at + block * deep * TILE, TILE, deep * TILE, deep,
                         shape.queries() - block, scores.data() + block * ROWS, width);
            softmax(scores.data(), shape, scale, weights.at, one);
            for (int64_t column = 0; column < columns; column += 4)
                multiply(weights.at, values.at + column * TILE, columns * TILE, TILE,
                         shape.long_steps(), columns - column, sums.data() + column * 16,
                         16 * columns);
            for (int64_t row = 0; row < rows; row++) {
                uint16_t* to =
                    out + ((b * shape.tokens + first + row) * shape.heads + h) * shape.depth;
                for (int64_t column = 0; column < columns; column++) {
                    const int64_t left = std::min<int64_t>(16, shape.depth - 16 * column);
                    const __m512 mean =
                        _mm512_mul_ps(_mm512_loadu_ps(sums.data() + (row * columns + column) * 16),
                                      _mm512_set1_ps(one[row]));
                    _mm256_mask_storeu_epi16(to + 16 * column,
                                             static_cast<__mmask16>((1u << left) - 1),
                                             (__m256i)_mm512_cvtneps_pbh(mean));
                }
            }
        }
        _tile_release();
    }
}
#pragma GCC pop_options

bool may_use_tiles() {  // Linux gives a process the state of tiles when it asks for it
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif  // COMPILED

// Whether this processor, compiler and system have the instructions.
bool available() {
#ifdef COMPILED
    __builtin_cpu_init();
    static const bool has = __builtin_cpu_supports("avx512bf16") &&
                            __builtin_cpu_supports("amx-bf16") && may_use_tiles();
    return has;
#else
    return false;
#endif
}

using Address = uintptr_t;
using Strides = std::tuple<int64_t, int64_t, int64_t>;

// Addresses of bfloat16 values; strides of batches, heads and tokens in values, channels lie side
// by side. The outcome is written as (batch, tokens, heads, depth).
void attention(const std::array<Address, 3>& inputs, const std::array<Strides, 3>& strides,
               Address out, const std::tuple<int64_t, int64_t, int64_t, int64_t>& shape,
               float scale, int64_t threads) {
    if (!available()) throw std::invalid_argument("this processor does not multiply in tiles");
#ifdef COMPILED
    const auto [batch, heads, tokens, depth] = shape;
    const Shape sizes{batch, heads, tokens, depth};
    const auto view = [&](int which) {
        const auto [b, h, t] = strides[which];
        return View{reinterpret_cast<const uint16_t*>(inputs[which]), b, h, t};
    };
    const View q = view(0), k = view(1), v = view(2);
    const auto work = [&, batch = batch, heads = heads](int64_t part) {
        const int64_t all = batch * heads;
        attend(q, k, v, reinterpret_cast<uint16_t*>(out), sizes, scale, all * part / threads,
               all * (part + 1) / threads);
    };
    py::gil_scoped_release release;
    std::vector<std::thread> others;
    for (int64_t part = 1; part < threads; part++) others.emplace_back(work, part);
    work(0);
    for (std::thread& other : others) other.join();
#endif
}

}  // namespace

PYBIND11_MODULE(_attention, module) {
    module.def("available", &available);
    module.def("attention", &attention, py::arg("inputs"), py::arg("strides"), py::arg("out"),
               py::arg("shape"), py::arg("scale"), py::arg("threads"));
}
