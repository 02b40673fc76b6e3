// Values of the classes at one pixel or vertex, in 16 bits each, and their arithmetic in float32.
//
// The filters wait for memory, so values are kept in half of it. A value is a float without its
// sign, its upper three bits of exponent and its lower twelve of fraction: 12 significant bits of
// 2^-19 to 2^13, which two instructions make a float of 2^-126 to 2^-94, on any processor the same.
// Filters are linear, so nothing else needs to know of the factor `ONE`.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#define INLINE inline __attribute__((always_inline))

namespace {

constexpr float ONE = 0x1p-107f;  // what stands for 1
constexpr int DROPPED = 12;       // lower bits of a float

// Float32 values of 2 LANES · COUNT classes.
template <int LANES_, int COUNT_>
struct Values {
    static constexpr int LANES = LANES_, COUNT = COUNT_, CLASSES = 2 * LANES * COUNT;
    typedef float Floats __attribute__((vector_size(4 * LANES)));
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
    Floats first[COUNT] = {}, second[COUNT] = {};

    INLINE void add(float weight, const Values& other) {
        for (int i = 0; i < COUNT; i++) {
            first[i] += weight * other.first[i];
            second[i] += weight * other.second[i];
        }
    }
};

// The same in 16 bits, none of them negative: of each word the upper ones are a value of `first`,
// the lower ones of `second`, so that shifts take them apart, and no lane moves.
template <typename Values>
struct Row {
    typename Values::Words words[Values::COUNT];

    INLINE Values read() const {
        using Floats = typename Values::Floats;
        constexpr uint32_t kept = 0xFFFFu << DROPPED;
        Values values;
        for (int i = 0; i < Values::COUNT; i++) {
            values.first[i] = reinterpret_cast<Floats>((words[i] >> (16 - DROPPED)) & kept);
            values.second[i] = reinterpret_cast<Floats>((words[i] << DROPPED) & kept);
        }
        return values;
    }

    INLINE void write(const Values& values) {
        using Words = typename Values::Words;
        constexpr uint32_t half = 1u << (DROPPED - 1);
        for (int i = 0; i < Values::COUNT; i++) {
            const Words upper = reinterpret_cast<Words>(values.first[i]) + half;
            const Words lower = reinterpret_cast<Words>(values.second[i]) + half;
            words[i] = ((upper << (16 - DROPPED)) & 0xFFFF0000u) | (lower >> DROPPED);
        }
    }
};

template <typename T>
std::unique_ptr<T[]> unset(std::size_t count) {
    return std::unique_ptr<T[]>(new T[count]);  // not set to zero
}

// Floats below 2^-126 are 0 while it lives: processors take a hundred times as long for them.
class NoSubnormals {
#ifdef __SSE__
public:
    NoSubnormals() : before(__builtin_ia32_stmxcsr()) {
        __builtin_ia32_ldmxcsr(before | FLUSHED | READ_AS_ZERO);
    }
    ~NoSubnormals() { __builtin_ia32_ldmxcsr(before); }

private:
    static constexpr unsigned FLUSHED = 1 << 15, READ_AS_ZERO = 1 << 6;
    unsigned before;
#else
public:
    ~NoSubnormals() {}
#endif
};

}  // namespace
